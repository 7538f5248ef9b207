"""Decisive experiments of the systems that learn from the inside of a picture.

`decisive.py` runs them; each yields what it measured, its value, and whether it passes what the card asks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Figures = Iterator[tuple[str, float, bool]]


def denoising(seed: int) -> Figures:
    """Points of a circle: radius that comes out for .5 and 1.5, with noise and without."""
    from test_denoising_autoencoder import radii

    for noise in (0.3, 0.0):
        for start, radius in zip((0.5, 1.5), radii(noise, seed), strict=True):
            away = abs(radius - 1)
            yield f"noise {noise:g}, radius {start:g} becomes", radius, away < 0.15 if noise else away > 0.25


def relative_position(seed: int) -> Figures:
    """What noise and rings tell of the place of a patch: balanced accuracy, chance .125."""
    from test_relative_patches import accuracy, rings

    leak: dict[str, Any] = {"colour": "keep", "wider": 0.01}
    chance = 0.025  # two and a half points either way
    for what, changes, passes in (
        ("noise, red 1 % wider, all colours", leak, lambda found: found > 0.7),
        ("the same, colours dropped", leak | {"colour": "drop"}, lambda found: abs(found - 1 / 8) < chance),
        ("the same, projected", leak | {"colour": "project"}, None),
        ("red and blue 1 % wider, projected", leak | {"colour": "project", "planes": (0, 2)}, None),
        ("noise, no lens, all colours", {"colour": "keep"}, lambda found: abs(found - 1 / 8) < chance),
        ("smooth noise, no gap", {"colour": "keep", "grain": 7, "gap": 0, "jitter": 0}, lambda found: found > 0.2),
        ("smooth noise, gap 8", {"colour": "keep", "grain": 7, "gap": 8}, lambda found: abs(found - 1 / 8) < chance),
        (
            "rings, every shortcut closed",
            {"draw": rings, "gap": 6, "jitter": 2, "shrink": 0.33},
            lambda found: found > 0.5,
        ),
    ):
        value = accuracy(seed, **changes)
        yield what, value, passes is None or passes(value)


def split_brain(seed: int) -> Figures:
    """Textures and hues: a probe of both halves, of each, and of an autoencoder; chance 1/6, of textures alone 1/3."""
    from test_split_brain import autoencoder, experiment

    found = experiment(seed)
    for name, value in found.items():
        yield f"split-brain, probe of {name}", value, found["joint"] > max(found["lightness"], found["colour"])
    for name, shared in (("crosswise", 0.5), ("mixed", 1 / 3)):
        value = experiment(seed, shared=shared)["joint"]
        yield f"one network for both, {name}, probe", value, value < found["joint"]
    value = autoencoder(seed)
    yield "autoencoder of Lab, probe", value, value < found["joint"]
    value = experiment(seed, coloured=False)["colour"]
    yield "class of lightness alone, probe of colour", value, value < 0.42


def colorization(seed: int) -> Figures:
    """Squares that are red or cyan: red's share of the classes, chroma of every form, margin over grey."""
    from test_colorization import experiment

    found = experiment(seed)
    classes, weighted, regression = found["classes"], found["weighted"], found["regression"]
    yield "colorization, share of red", classes["red"], abs(classes["red"] - 0.6) < 0.03
    yield "chroma of classes", classes["chroma"], classes["chroma"] > regression["chroma"] + 10
    yield "chroma of regression", regression["chroma"], classes["chroma"] > regression["chroma"] + 10
    gain = weighted["margin"] - classes["margin"]
    yield "margin over grey gained by weights", gain, gain > 0
    yield "chroma of the background, weighted", weighted["background"], weighted["background"] < 5


def larsson_colorization(seed: int) -> Figures:
    """Discs whose hue follows from their texture: error of hue in turns, chroma, and two controls that go wrong."""
    from test_larsson_colorization import SPECKLE, evenly_weighted, experiment, hue_as_a_number

    found = experiment(seed)
    least = {"chroma of discs": found["chroma of discs"] > 0.3}
    for what, value in found.items():
        yield f"larsson-colorization, {what}", value, least.get(what, value < 1 / 32)
    share = "background's share of the loss"
    weighted = experiment(seed, speckle=SPECKLE)[share]
    yield f"larsson-colorization, speckled, {share}", weighted, weighted < 0.25
    with evenly_weighted():
        value = experiment(seed, speckle=SPECKLE)[share]
    yield f"the same, every place's hue weighs as much, {share}", value, value > 0.5
    with hue_as_a_number():
        value = experiment(seed)["hue error of red"]
    yield "hue regressed as a number, hue error of red", value, value > 1 / 3


def context_discovery(seed: int) -> Figures:
    """Discs whose bar lies at one place in half of the canvases: pairs of members told apart, and mean scores."""
    from test_context_discovery import member_scores, separation

    for name, fixed in (("half at one place", 10), ("all anywhere", 0)):
        with tempfile.TemporaryDirectory() as folder:
            scores = member_scores(Path(folder), seed, fixed)
        first, second = float(scores[:10].mean()), float(scores[10:].mean())
        told = separation(scores)
        yield f"context-discovery, bars {name}, told apart", told, told > 0.9 if fixed else 0.2 < told < 0.8
        yield f"context-discovery, bars {name}, mean of the first ten", first, first > 100 if fixed else first < 100
        yield f"context-discovery, bars {name}, mean of the others", second, second < 100
        yield f"context-discovery, bars {name}, least of the first ten", float(scores[:10].min()), True


def context_encoder(seed: int) -> Figures:
    """Stripes: error left in the middle of the hole, of the mean colour's. Black or white holes: distance from grey."""
    from test_context_encoder import boldness, left_over

    for middle, steps in (("channelwise", 200), ("dense", 200), ("local", 100)):
        hole, inner = left_over(seed, middle=middle, steps=steps)
        yield f"stripes, {middle}, whole hole", hole, hole < 0.5
        yield f"stripes, {middle}, its middle", inner, abs(inner - 1) < 0.1 if middle == "local" else inner < 0.4
    grey, side = boldness(seed, adversary=0.0), boldness(seed, adversary=0.9, critic=16, critic_rate=0.5)
    yield "black or white, error alone", grey, grey < 0.3
    yield "black or white, with a critic", side, side > 0.5


def image_transfer(seed: int) -> Figures:
    """Boxes and masks of made shapes from four starts of one small network: mAP (area) and mIU, each above the next."""
    from test_shapes_transfer import FIGURES, experiment

    with tempfile.TemporaryDirectory() as folder:
        found = experiment(seed, Path(folder))
    for figure in FIGURES:
        values = [measured[figure].value for measured in found.values()]
        for place, (start, value) in enumerate(zip(found, values, strict=True)):
            yield f"{figure}, {start}", value, place == 0 or value < values[place - 1]
