"""What is varied from one look at a recording to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Random changes of pictures and sounds; the defaults are xID's. One set of factors serves a whole clip.

    Pairs are ranges; a single number x of a jitter stands for the range 1 - x to 1 + x (hue: -x to x turns).
    """

    crop_area: tuple[float, float] | None = (0.08, 1.0)  # share of the frame's area; None: no random crop
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the crop
    flip: float = 0.5  # probability of left-right
    brightness: float = 0.4  # of the frames, as a factor
    contrast: float = 0.4  # around the frame's mean grey, as a factor
    saturation: float = 0.4  # away from the frame's grey, as a factor
    hue: float = 0.2  # turns of the colour circle
    jitter: float = 1.0  # probability that the colours are changed at all
    grey: float = 0.0  # probability of taking all colour away
    blur: float = 0.0  # probability of a Gaussian blur
    blur_radius: tuple[float, float] = (0.1, 2.0)  # its deviation in pixels
    shift: int = 0  # pixels, at most, both ways; the edge is repeated
    reverse: float = 0.0  # probability of playing the frames backwards
    noise: float = 0.0  # after normalisation: deviation of normal noise on every value
    volume: tuple[float, float] = (0.7, 1.0)  # factor on the sound, whose peak was brought to 0.95
    sound_shift: int = 0  # spectrogram frames, at most, both ways, cyclic
    tilt: float = 0.0  # rise over the whole spectrum, at most, in the spectrogram's unit
    sound_noise: float = 0.0  # after normalisation: deviation of normal noise on the spectrogram
    time_masked: tuple[float, float] = (0.0, 0.2)  # share of the frames that masks may cover
    time_mask: int = 5  # frames, longest mask
    band_masked: tuple[float, float] = (0.0, 0.2)  # share of the bands that masks may cover
    band_mask: int = 3  # bands, widest mask

    def __post_init__(self) -> None:
        ranges = {"crop_ratio": self.crop_ratio, "volume": self.volume, "blur_radius": self.blur_radius}
        ranges |= {"time_masked": self.time_masked, "band_masked": self.band_masked}
        if self.crop_area is not None:
            ranges["crop_area"] = self.crop_area
        wrong = [name for name, (low, high) in ranges.items() if not 0 <= low <= high]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: a range needs 0 <= low <= high")
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError("crop_area is a share of the frame: 0 < low <= high <= 1")
        if self.time_mask < 1 or self.band_mask < 1:
            raise ValueError("time_mask and band_mask are lengths of at least 1")


def with_changes(augment: AugmentSettings, changes: Mapping[str, float]) -> AugmentSettings:
    """Return the augmentation with some numbers changed.

    Raises:
        ValueError: there is no such number.
    """
    numbers = {one.name: one.default for one in fields(augment)}
    known: dict[str, Any] = {name: type(value) for name, value in numbers.items() if isinstance(value, (int, float))}
    wrong = sorted(set(changes) - set(known))
    if wrong:
        raise ValueError(f"augment: no number is called {', '.join(wrong)}; there are {', '.join(known)}")
    return replace(augment, **{name: known[name](value) for name, value in changes.items()})


_STILL = AugmentSettings(
    crop_area=None,
    flip=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    volume=(1.0, 1.0),
    time_masked=(0.0, 0.0),
    band_masked=(0.0, 0.0),
)

# Recipes by name: xID's, SwAV's (its views say the crops' areas), that of the small procedural worlds (nothing makes
# another digit of one), and no change.
PRESETS = {
    "xid": AugmentSettings(),
    "swav": AugmentSettings(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, jitter=0.8, grey=0.2, blur=0.5),
    "digits": replace(_STILL, shift=3, reverse=0.5, noise=0.05, sound_shift=6, tilt=0.4, band_masked=(0.08, 0.08)),
    "none": _STILL,
}
