"""Procedural worlds: clips made from (seed, split, index), for training, tests and demonstrations.

`parse_world` turns a name such as "digits-av:C" into a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.data.synthetic.world import World
    from coview.data.views import ViewSpec

NOISY_DIGITS = "noisy-digits"  # pictures or features: `noisy_digits.NoisyDigits`
COUNTS = {
    "digits-av": {"train": 5000, "validation": 1000, "test": 1500},
    "objects-av": {"train": 6000, "validation": 1000, "test": 1000},
    "pushes": {"train": 6000, "validation": 1000, "test": 1000},
}


def is_world(name: str) -> bool:
    """Tell whether `name` is a world's name, with or without a variant after a colon."""
    return name.partition(":")[0] in COUNTS


def parse_world(
    name: str,
    split: str = "train",
    count: int | None = None,
    seed: int = 0,
    views: Mapping[str, ViewSpec] | None = None,
) -> World:
    """Return the world called `name`.

    Args:
        name: "digits-av" (level A), "digits-av:LEVEL", "objects-av" (sharing the object), "objects-av:FACTOR+FACTOR" or
            "pushes".
        split: "train", "validation" or "test".
        count: clips; None means the world's usual number for this split.
        seed: another seed gives other clips.
        views: what is cut; None means whole clips.

    Raises:
        UsageError: the name, the variant, the split or a view is not possible.
    """
    from coview.data.synthetic.digits import DigitsWorld
    from coview.data.synthetic.objects import ObjectsWorld
    from coview.data.synthetic.pushes import PushesWorld

    family, _, variant = name.partition(":")
    if family not in COUNTS:
        raise UsageError(f"no world is called {name!r}: use one of {', '.join(COUNTS)}")
    if count is None:
        count = COUNTS[family].get(split, 1)  # an impossible split is refused by the world itself
    if family == "digits-av":
        return DigitsWorld(variant or "A", split, count, seed, views)
    if family == "pushes":
        if variant:
            raise UsageError(f"pushes has no variants, found {variant!r}: leave out what follows the colon")
        return PushesWorld(split, count, seed, views)
    return ObjectsWorld(tuple(variant.split("+")) if variant else ("object",), split, count, seed, views)
