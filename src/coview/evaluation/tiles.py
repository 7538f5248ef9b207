"""The tiles of a page: recordings to look at and listen to, each embedded once, as the recording is itself."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.source import Source, excerpt
from coview.embedding.extract import Features
from coview.errors import MediaError
from coview.evaluation.sheets import as_uri
from coview.evaluation.spectrogram import colours
from coview.media.cuts import Excerpt
from coview.media.encode import AAC_RATES, write_clip
from coview.media.sounds import resample

SECONDS = 3.0  # of a recording that are played, at most
SIDE = 160  # pixels of a shown clip, at most
_SMALL = 64  # pixels of a side below which a clip is written with finer steps
_QUALITY, _FINE = 26, 16  # constant rate factors
_RATE = 48000  # of sound whose own rate AAC does not have


@dataclass(frozen=True)
class Clip:
    """What a tile shows: `key` of the page's clips, "" where it does not play; a still as a data URI, "" for none."""

    key: str
    still: str
    picture: bool
    length: str = ""  # how much of the recording is played, where it is not all of it


@dataclass(frozen=True)
class Tile:
    """One recording; `verdict` is "pair" (the query's own), "class" (another of its class), "other" or "" (unknown)."""

    id: str
    label: str
    clip: Clip
    similarity: float | None = None
    verdict: str = ""


def tile(
    features: Features, clips: Clips, place: int, asked: int | None = None, similarity: float | None = None
) -> Tile:
    """Return the tile of the recording at `place`, judged against the query at `asked`."""
    label, verdict = int(features.labels[place]), ""
    if asked == place:
        verdict = "pair"
    elif asked is not None and label >= 0 and int(features.labels[asked]) >= 0:
        verdict = "class" if label == int(features.labels[asked]) else "other"
    clip = clips.get(int(features.rows[place]))
    return Tile(features.ids[place], features.classes[label] if label >= 0 else "", clip, similarity, verdict)


class Clips:
    """Clips of a source as small MP4 files, each made once; what no longer fits the budget is shown as a still.

    Args:
        budget: bytes of all clips.

    Attributes:
        media: key -> data URI of every clip that plays.
        size: bytes of all of them.
        said: facts about what tiles play, for `played`.
    """

    def __init__(self, source: Source, budget: int) -> None:
        self.source, self.budget, self.size = source, budget, 0
        self.media: dict[str, str] = {}
        self.said: set[str] = set()
        self._made: dict[int, Clip] = {}

    @property
    def full(self) -> bool:
        """Whether the budget is spent."""
        return self.size >= self.budget

    def get(self, row: int) -> Clip:
        """Return what is shown of a recording, with its picture and its sound; nothing where it cannot be read."""
        if row not in self._made:
            try:
                self._made[row] = self._make(row, excerpt(self.source, row, SECONDS, SIDE))
            except MediaError:
                self._made[row] = Clip("", "", picture=False)
        return self._made[row]

    @property
    def played(self) -> list[str]:
        """Sentences that say what tiles play and show, true of every one that was made so far."""
        whole, cut = "whole" in self.said, "cut" in self.said
        part = f"the {SECONDS:g} seconds in the middle of a recording"
        said = ["A tile plays the whole recording."] if whole and not cut else []
        said += [f"A tile plays the recording, or {part} that is longer."] if whole and cut else []
        said += [f"A tile plays {part}."] if cut and not whole else []
        if "given" in self.said:
            said.append("A tile plays what the model is given: one cut of the recording, at the model's own size.")
        if "square" in self.said:
            said.append(f"Of a picture the square in the middle is shown, at most {SIDE} pixels wide.")
        if "sound" in self.said:
            said.append(
                "A recording without a picture shows its spectrogram: time to the right, frequency upwards (mel)."
            )
        if "still" in self.said:
            said.append("Further recordings are shown and do not play, so that the page stays small.")
        return said

    def _make(self, row: int, piece: Excerpt) -> Clip:
        frames = None if piece.frames is None else _small(piece.frames)
        still = "" if frames is None else as_uri(frames[:, frames.shape[1] // 2].permute(1, 2, 0).contiguous().numpy())
        if frames is not None:
            self.said.add("square")
        elif piece.waveform is not None and piece.rate:
            still = as_uri(colours(piece.waveform, piece.rate))
            self.said.add("sound")
        moves = piece.waveform is not None or (frames is not None and frames.shape[1] > 1)
        if not moves:
            return Clip("", still, frames is not None)
        if self.full:
            self.said.add("still")
            return Clip("", still, frames is not None)
        content = _encoded(frames, piece)
        self.size += len(content)
        self.media[str(row)] = "data:video/mp4;base64," + base64.b64encode(content).decode()
        cut = piece.whole is not None and piece.whole > piece.seconds + 0.05
        self.said.add("given" if piece.whole is None else "cut" if cut else "whole")
        return Clip(str(row), still, frames is not None, f"{piece.seconds:.1f} of {piece.whole:.1f} s" if cut else "")


def _encoded(frames: Tensor | None, piece: Excerpt) -> bytes:
    fine = frames is not None and frames.shape[-1] <= _SMALL
    waveform, rate = piece.waveform, piece.rate
    if waveform is not None and rate and rate not in AAC_RATES:  # as a prepared copy may have it
        waveform, rate = torch.from_numpy(resample(waveform.float().numpy(), rate, _RATE)), _RATE
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        fps = None if frames is None else piece.fps
        write_clip(file, frames, fps, waveform, rate, crf=_FINE if fine else _QUALITY)
        return file.read_bytes()


def _small(frames: Tensor) -> Tensor:
    """Scale uint8 (3, T, H, W) to a square of at most `SIDE` pixels, an even number, as H.264 wants it."""
    side = min(SIDE, max(2, frames.shape[-1] // 2 * 2))
    if frames.shape[-2:] == (side, side):
        return frames.contiguous()
    scaled = interpolate(frames.transpose(0, 1), size=(side, side), mode="bilinear", antialias=True)
    return scaled.transpose(0, 1).contiguous()
