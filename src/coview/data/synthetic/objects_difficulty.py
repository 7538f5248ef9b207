"""The difficulty of `objects-av`: how much clips of one object differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """Nuisances that decide how much plain statistics reveal of the object."""

    contrast: tuple[float, float] = (0.12, 0.5)  # of the object over the background, log-uniform
    background: tuple[float, float] = (0.06, 0.25)  # contrast of the noise field
    texture: tuple[float, float] = (0.02, 0.15)  # contrast of the grating on the object
    waves: tuple[float, float] = (0.5, 5.0)  # of the grating over the object's diameter
    edge: tuple[float, float] = (0.35, 2.0)  # width of the outline's blur, pixels, log-uniform
    aspect: float = 0.15  # log of width over height, at most
    bend: float = 0.05  # deviation of the outline from its shape, in radii
    equaliser: float = 0.8  # natural-log amplitude
    mode_deviation: float = 0.9  # natural-log amplitude of the five modes
