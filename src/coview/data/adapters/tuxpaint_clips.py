"""Rendering stamps to real MP4 clips: the picture moves and zooms over a smooth random field, and is spoken about."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.adapters import Item, Options, Refused
from coview.data.adapters.tuxpaint_groups import fold, split
from coview.data.adapters.tuxpaint_items import Sound, Stamp, Stamps
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.data.identity import as_text
from coview.errors import MediaError, UsageError
from coview.media.decode import read_audio
from coview.media.encode import write_clip
from coview.media.probe import probe
from coview.randomness import integers, make_key, uniform

SIZE, FPS = 128, 15
SECONDS, SAMPLE_RATE = 2.0, 48_000
ZOOM = (0.44, 0.75)  # the picture's long side as a share of the frame's, at the two ends of the zoom
_RMS, _EDGE, _FRAME = 0.1, 0.03, 0.02

T = TypeVar("T")

_FIELD, _ZOOM, _PATH, _ONSET = range(4)  # streams of a clip's key


def clip_key(seed: int, name: str) -> Tensor:
    """Return the key that everything random about a clip is drawn from."""
    return make_key(seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big"))


def smooth_field(key: Tensor, size: int = SIZE) -> Tensor:
    """Return a smooth random colour field, float32 (3, size, size) in [0, 1]: a 6 x 6 grid, enlarged."""
    grid = uniform(key, _FIELD, 1, 3, 6, 6)
    return functional.interpolate(grid, (size, size), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def film(
    square: Tensor, background: Tensor, key: Tensor, *, seconds: float = SECONDS, zoom: tuple[float, float] = ZOOM
) -> Tensor:
    """Move and zoom a picture over a still background: uint8 (3, 15 frames a second, H, W).

    The picture's side grows through the range `zoom`, as a share of the frame's, or shrinks; its centre moves on a
    line that keeps it inside.

    Args:
        square: float32 (4, S, S), colour multiplied by alpha.
        background: float32 (3, H, W) in [0, 1].
        key: of the clip.
    """
    count = round(seconds * FPS)
    progress = torch.linspace(0, 1, count)
    inward = bool(uniform(key, _ZOOM) < 0.5)
    share = zoom[0] + (zoom[1] - zoom[0]) * (progress if inward else 1 - progress)
    ends = 2 * uniform(key, _PATH, 2, 2) - 1
    centre = (ends[0] + (ends[1] - ends[0]) * progress[:, None]) * (1 - share[:, None])
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0] = transform[:, 1, 1] = 1 / share
    transform[:, :, 2] = -centre / share[:, None]
    grid = functional.affine_grid(transform, [count, 4, *background.shape[1:]], align_corners=False)
    moved = functional.grid_sample(square.expand(count, *square.shape), grid, align_corners=False)
    frames = composite(moved, background).clamp(0, 1)
    return (frames * 255).round().to(torch.uint8).transpose(0, 1)


def speech(path: Path, key: Tensor, seconds: float = SECONDS) -> tuple[Tensor, bool]:
    """Return the spoken part of a recording within `seconds` at 48 kHz, and whether it was cut short.

    Silence at both edges (below 3 % of the loudest 20 ms) is cut off, the RMS becomes 0.1 (less where a peak would
    leave full scale), and the onset is drawn from the key where there is room. A recording's own level names its
    language, so it is not kept.

    Returns:
        waveform: float32 (samples,).
        truncated: the spoken part is longer.

    Raises:
        MediaError: the file cannot be decoded, or is silent (reason "silent").
    """
    known = probe(path)
    whole = read_audio(path, 0.0, known.duration, SAMPLE_RATE)
    spoken = active_part(whole)
    if spoken is None:
        raise MediaError(str(path), "silent", "every sample is zero; expected speech")
    length = round(seconds * SAMPLE_RATE)
    truncated, spoken = len(spoken) > length, spoken[:length]
    spoken = spoken * (_RMS / float(spoken.square().mean().sqrt()))
    spoken = spoken / max(1.0, float(spoken.abs().max()) / 0.99)
    onset = int(integers(key, _ONSET, length - len(spoken) + 1))
    return functional.pad(spoken, (onset, length - len(spoken) - onset)), truncated


def active_part(waveform: Tensor, sample_rate: int = SAMPLE_RATE) -> Tensor | None:
    """Cut a waveform (samples,) to what lies between its first and last frame above 3 % of the peak frame RMS.

    Frames are 20 ms. Returns None for a waveform of zeros.
    """
    step = max(1, round(_FRAME * sample_rate))
    frames = functional.pad(waveform, (0, -len(waveform) % step)).reshape(-1, step).square().mean(1).sqrt()
    if float(frames.max()) == 0:
        return None
    loud = (frames >= _EDGE * frames.max()).nonzero().flatten()
    return waveform[int(loud[0]) * step : (int(loud[-1]) + 1) * step]


def check_language(stamps: Stamps, language: str) -> None:
    """Raise a UsageError that lists the languages when no item has a description in this one."""
    spoken = sorted({sound.language for sound in stamps.sounds if sound.kind == "description"})
    if language not in spoken:
        raise UsageError(f"no stamp is described in {language!r}; choose 'digits' or one of {', '.join(spoken)}")


def render_stamps(
    stamps: Stamps, groups: Mapping[str, str], language: str, out: Path, options: Options
) -> tuple[list[Item], list[Refused]]:
    """Write one clip per group of core items into `out`, with the description in `language`.

    Returns:
        the recordings, and the sounds that cannot be decoded.
    """
    chosen = choose(stamps, groups, language)[: options.count]

    def one(pair: tuple[Stamp, Sound]) -> Item:
        item, sound = pair
        key = clip_key(options.seed, f"{language}/{item.id}")
        waveform, truncated = speech(stamps.folder / sound.path, key)
        path = Path(f"{item.id}.mp4")
        if not (out / path).exists():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            square = fit(read_rgba(stamps.folder / str(item.png)), SIZE)
            frames = film(square, smooth_field(key), key)
            write_clip(out / path, frames, FPS, waveform, SAMPLE_RATE)
        group = groups[item.id]
        flags = [f"fold-{fold(group)}", f"language-{language}"]
        flags += [name for name, holds in (("nomirror", item.nomirror), ("truncated", truncated)) if holds]
        return Item(
            path=path,
            id=item.id,
            label=item.category,
            split=split(group),
            caption=item.captions.get(language),
            group=group,
            flags=tuple(flags),
        )

    return in_threads(one, chosen, options)


def choose(stamps: Stamps, groups: Mapping[str, str], language: str) -> list[tuple[Stamp, Sound]]:
    """Return the first core item of every group that has a PNG and a description in `language`, with that sound."""
    first: dict[str, tuple[Stamp, Sound]] = {}
    for item in stamps.items:
        sound = item.descriptions().get(language)
        if item.core and item.png and sound:
            first.setdefault(groups[item.id], (item, sound))
    return list(first.values())


def in_threads(work: Callable[[T], Item], parts: Sequence[T], options: Options) -> tuple[list[Item], list[Refused]]:
    """Do `work` on all parts, one thread per core: codecs and tensor operations run outside Python's lock.

    Returns:
        what was made, and what could not be: the file of every `MediaError`.
    """

    def one(part: T) -> Item | MediaError:
        try:
            return work(part)
        except MediaError as error:
            return error

    items: list[Item] = []
    refused: list[Refused] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, made in enumerate(pool.map(one, parts), start=1):
            options.progress(done, len(parts))
            if isinstance(made, MediaError):
                refused.append(Refused(path=as_text(made.path), reason=made.reason, message=made.message))
            else:
                items.append(made)
    return items, refused
