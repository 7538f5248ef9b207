"""Clips of real handwritten digits, moving, with the digit spoken by a recorded voice in one of 22 languages.

Pictures: the 1,797 images of scikit-learn's `load_digits`, the first 1,200 for training, the rest as gallery. Voices:
the 210 recordings that tuxpaint-stamps-default attaches to its digits. Digits are coupled by class only: picture and
voice of a clip are drawn independently given the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from coview.data.adapters import Item, Made, Options
from coview.data.adapters.tuxpaint_clips import FPS, SAMPLE_RATE, SIZE, clip_key, film, in_threads, smooth_field, speech
from coview.data.adapters.tuxpaint_items import USUAL_FOLDER, Stamps, walk
from coview.errors import UsageError
from coview.media.encode import write_clip
from coview.randomness import make_key, normal, uniform

TRAIN_IMAGES, TURNS = 1200, 2
SECONDS = 1.0  # no recording is longer
LANGUAGE_FOLDS = 5
# Two variants of one language share words and even voices: they are never on two sides of a split.
_TOGETHER = {"en_GB": "en", "nn": "nb"}
_DIGITS = "symbols/math/"
_ORDER = 0x6F72646572
_NOISE, _ROOM = 16, 0.001  # stream of a clip's key, and RMS: a recorded room is never digitally silent


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A recording of a digit."""

    digit: int
    language: str
    path: str


def spoken_digits(stamps: Stamps) -> list[Spoken]:
    """Return the recordings of the ten digits, ordered by digit and language; a digit's effect is its English name."""
    found = []
    for item in stamps.items:
        name = item.id.removeprefix(_DIGITS)
        if item.id.startswith(_DIGITS) and len(name) == 1 and name.isdigit():
            for sound in item.sounds:
                if sound.kind != "description":
                    found.append(Spoken(digit=int(name), language=sound.language or "en", path=sound.path))
    return sorted(found, key=lambda spoken: (spoken.digit, spoken.language, spoken.path))


def language_folds(languages: Sequence[str]) -> dict[str, int]:
    """Return language -> fold, 0 to 4: the k-th in alphabetical order is in fold k mod 5, variants together."""
    units = sorted({_TOGETHER.get(language, language) for language in languages})
    return {language: units.index(_TOGETHER.get(language, language)) % LANGUAGE_FOLDS for language in languages}


def pair(labels: Sequence[int], voices: Sequence[Spoken], seed: int) -> list[tuple[int, int, Spoken]]:
    """Return (image, turn, recording) of every clip, one clip of each image in each turn.

    Within a digit, and within the training and the gallery images apart, the recordings are dealt out in turn in an
    order drawn from the seed: each occurs equally often, up to one.

    Raises:
        UsageError: a digit has no recording.
    """
    pairs: list[tuple[int, int, Spoken]] = []
    for part, images in enumerate((range(TRAIN_IMAGES), range(TRAIN_IMAGES, len(labels)))):
        for digit in range(10):
            mine = [voice for voice in voices if voice.digit == digit]
            if not mine:
                raise UsageError(f"no recording of the digit {digit} was found below {_DIGITS}")
            turns = [(image, turn) for turn in range(TURNS) for image in images if labels[image] == digit]
            rounds = torch.arange(-(-len(turns) // len(mine)))
            order = uniform(make_key(seed, _ORDER, part, digit, rounds), 0, len(mine)).argsort(1).flatten().tolist()
            pairs += [(image, turn, mine[order[k]]) for k, (image, turn) in enumerate(turns)]
    return sorted(pairs, key=lambda one: one[:2])


def digit_square(image: Tensor, size: int = SIZE) -> Tensor:
    """Return a handwritten digit as a bright, transparent picture: float32 (4, size, size), colour times alpha.

    Args:
        image: (8, 8) in [0, 16].
        size: side of the square; a margin of one eighth is left.
    """
    inner = round(size * 0.75)
    ink = functional.interpolate(image.float()[None, None] / 16, (inner, inner), mode="bicubic", align_corners=False)
    ink = functional.pad(ink[0, 0].clamp(0, 1), [(size - inner) // 2, size - inner - (size - inner) // 2] * 2)
    return ink.expand(4, size, size).clone()


def render_digits(out: Path, options: Options) -> Made:
    """Write two clips of 1 s per image into `out` and return the recordings, labelled by digit.

    A recording that cannot be decoded is in quarantine, once for every clip it was to be in.

    Raises:
        UsageError: the package is not installed.
    """
    stamps = walk(options.folder or USUAL_FOLDER)
    voices = spoken_digits(stamps)
    data = load_digits()
    pairs = pair([int(label) for label in data.target], voices, options.seed)[: options.count]
    folds = language_folds([voice.language for voice in voices])

    def one(image: int, turn: int, voice: Spoken) -> Item:
        name = f"digit-{image:04d}-{turn}-{voice.language}"
        key = clip_key(options.seed, name)
        waveform, truncated = speech(stamps.folder / voice.path, key, SECONDS)
        waveform = (waveform + _ROOM * normal(key, _NOISE, len(waveform))).clamp(-1, 1)
        path = Path(f"{name}.mp4")
        if not (out / path).exists():
            square = digit_square(torch.from_numpy(data.images[image]))
            # A dark field: a bright digit stands out everywhere.
            frames = film(square, smooth_field(key) * 0.3, key, seconds=SECONDS, zoom=(0.7, 0.95))
            write_clip(out / path, frames, FPS, waveform, SAMPLE_RATE)
        flags = [f"language-{voice.language}", f"language-fold-{folds[voice.language]}", "nomirror"]
        return Item(
            path=path,
            id=name,
            label=str(voice.digit),
            split="train" if image < TRAIN_IMAGES else "test",
            caption=str(voice.digit),
            flags=(*flags, "truncated") if truncated else tuple(flags),
        )

    items, refused = in_threads(lambda clip: one(*clip), pairs, options)
    report = {
        "recordings of digits": len(voices),
        "languages": sorted(folds),
        "language folds": [[name for name in sorted(folds) if folds[name] == k] for k in range(LANGUAGE_FOLDS)],
        "clips": len(items),
    }
    return Made(items=items, root=out, refused=refused, report=report)
