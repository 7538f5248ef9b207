"""Features of named stages: what a frozen encoder knows on the way up, each stage with its own pooling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.views import Batch, cut_from
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.model import Model

Pooling = Literal["max", "mean"]
Normalise = Literal["standardise", "unit", "none"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How a stage's maps become a vector.

    Attributes:
        name: the encoder's name of the stage, such as "conv4x".
        pooling: largest or mean value in each cell.
        grid: cells, (time, height, width) for video and (height, width) for sound; all 1 takes the whole map.
        normalise: by the training rows' mean and deviation, each vector to length 1, or not at all.
    """

    name: str
    pooling: Pooling = "max"
    grid: tuple[int, ...] = (1,)
    normalise: Normalise = "standardise"

    def __str__(self) -> str:
        return f"{self.name}:{self.pooling}:{'x'.join(map(str, self.grid))}:{self.normalise}"

    def pool(self, maps: Tensor) -> Tensor:
        """Return (B, C x cells) of maps (B, C, T, H, W) or (B, C, H, W)."""
        axes = maps.ndim - 2
        grid = (1,) * (axes - len(self.grid)) + self.grid if len(self.grid) <= axes else self.grid[-axes:]
        pools: dict[tuple[str, int], Callable[..., Tensor]] = {
            ("max", 2): functional.adaptive_max_pool2d,
            ("max", 3): functional.adaptive_max_pool3d,
            ("mean", 2): functional.adaptive_avg_pool2d,
            ("mean", 3): functional.adaptive_avg_pool3d,
        }
        return pools[self.pooling, axes](maps.float().contiguous(), grid).flatten(1)


# AVID's linear probe on Kinetics (maximum) and its probe of sounds (mean): about 9 000 features of every stage.
_CELLS = {"conv2x": 12, "conv3x": 8, "conv4x": 6, "conv5x": 4}
AVID_STAGES = tuple(Stage(name=name, pooling="max", grid=(1, side, side)) for name, side in _CELLS.items())
AVID_SOUND_STAGES = tuple(Stage(name=name, pooling="mean", grid=(side, side)) for name, side in _CELLS.items())


def parse_stage(text: str) -> Stage:
    """Read "conv4x", "conv4x:mean", "conv4x:max:1x6x6" or "conv4x:max:1x6x6:unit".

    Raises:
        UsageError: it cannot be read.
    """
    name, *rest = text.split(":")
    pooling, grid, normalise = [*rest, *["max", "1", "standardise"][len(rest) :]][:3]
    cells = grid.split("x")
    wrong = len(rest) > 3 or pooling not in get_args(Pooling) or normalise not in get_args(Normalise)
    if wrong or not all(cell.isdecimal() and int(cell) for cell in cells) or len(cells) > 3:
        raise UsageError(
            f"stage {text!r}: expected NAME, NAME:max|mean, NAME:max|mean:CELLS such as 1x6x6, and behind a further "
            "colon standardise, unit or none"
        )
    return Stage(name=name, pooling=pooling, grid=tuple(map(int, cells)), normalise=normalise)  # type: ignore[arg-type]


def known_stages(model: Model, view: str) -> tuple[str, ...]:
    """Return the names of a view's stages; none where an embedding is made of several views or its network has none."""
    encoders = model.method.encoders
    return tuple(getattr(encoders[view], "stages", ())) if view in encoders else ()


def stages_of(model: Model, view: str, wanted: Sequence[str]) -> tuple[Stage, ...]:
    """Return the stages that a view's encoder has among `wanted`; "avid" stands for AVID's four, "all" for all.

    Raises:
        UsageError: a stage cannot be read.
    """
    known = known_stages(model, view)
    found: list[Stage] = []
    for text in wanted:
        if text == "all":
            found += [Stage(name=name) for name in known]
        elif text == "avid":
            found += AVID_STAGES if model.views[view].stream == "video" else AVID_SOUND_STAGES
        else:
            found.append(parse_stage(text))
    return tuple(stage for stage in found if stage.name in known)


def stage_features(
    model: Model, stages: Mapping[str, Sequence[Stage]], *, augmented: bool = False
) -> Callable[[Batch], dict[str, Tensor]]:
    """Return a function from a raw batch to "<view>/<stage>" -> float32 (B, D), in one pass through each encoder."""

    @torch.no_grad()
    def embed(batch: Batch) -> dict[str, Tensor]:
        found = {}
        cuts = {cut_from(view, model.views[view]) for view in stages}
        asked = {cut: batch.views[cut] for cut in cuts}
        for view, maps in model.feature_maps(dataclasses.replace(batch, views=asked), augmented).items():
            for stage in stages.get(view, ()):
                values = stage.pool(maps[stage.name])
                found[f"{view}/{stage}"] = functional.normalize(values, dim=1) if stage.normalise == "unit" else values
        return found

    return embed
