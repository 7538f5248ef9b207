"""Many crops of one picture or clip through one network: views, settings and the pass that SwAV's family shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from coview.data.views import Batch, ImageView, VideoView, ViewSpec
from coview.encoders import build_for, mlp
from coview.methods.parts.batch import unit
from coview.objectives.precision import in_float32

TINY_IMAGE = ImageView(size=32, margin=1.0, normalise="clip", area=(0.5, 1.0))


@dataclass(frozen=True, kw_only=True)
class SmallCrops:
    """Crops of lower resolution that see a small part of the picture."""

    number: int = 6  # of them
    size: int = 96  # side in pixels
    area: tuple[float, float] = (0.05, 0.14)  # share of the frame

    def __post_init__(self) -> None:
        if self.number < 1 or self.size < 8 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError("small crops need number >= 1, size >= 8 and 0 < area <= 1")


def crop_views(view: ImageView | VideoView, large: int, small: SmallCrops | None) -> dict[str, ViewSpec]:
    """Return `large` crops like `view` and the small ones, all of one raw view; the first has the view's stream as
    its name, and is the one that is embedded later.
    """
    name: str = view.stream
    again = dataclasses.replace(view, of=name)
    views: dict[str, ViewSpec] = {name: view, **{f"{name}_{number + 1}": again for number in range(1, large)}}
    if small is not None:
        little = dataclasses.replace(again, size=small.size, area=small.area)
        views |= {f"{name}_small_{number + 1}": little for number in range(small.number)}
    return views


def crop_networks(settings: Any, name: str) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Build the encoder and the head of all crops, both under the name of the first."""
    encoder = build_for(settings.view, settings.encoder)
    head = mlp((encoder.dim, *settings.hidden, settings.embedding), batchnorm=settings.head_batchnorm)
    return nn.ModuleDict({name: encoder}), nn.ModuleDict({name: head})


def embed_crops(encoder: nn.Module, head: nn.Module, views: Mapping[str, ViewSpec], batch: Batch) -> Tensor:
    """Return unit embeddings (V, N, D) of all crops, in the order of `views`.

    Crops of one size go through the encoder together, and everything through the head at once, as in SwAV: the
    encoder's batch normalisation sees one size at a time, the head's all crops.
    """
    groups = [list(group) for _, group in groupby(views, key=lambda name: views[name].shape)]
    features = [encoder(torch.cat([batch.views[name] for name in group])) for group in groups]
    z = unit(head(torch.cat(features)))
    return z.view(len(views), len(batch), z.shape[1])


class Prototypes(nn.Module):
    """K directions of unit length, compared with embeddings by their cosine.

    The rows are brought to unit length by `normalise`, after the optimiser's step and outside its gradient.
    """

    def __init__(self, number: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.functional.normalize(torch.randn(number, dim), dim=1))

    def forward(self, z: Tensor, frozen: bool = False) -> Tensor:
        """Return the cosines (..., K) of unit vectors z (..., D); `frozen` prototypes get a gradient of zero."""
        return _cosines(z, self.weight.detach() + 0 * self.weight if frozen else self.weight)

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every row to unit length, wherever the rows lie."""
        self.weight.div_(torch.linalg.vector_norm(self.weight, dim=1, keepdim=True))


@in_float32
def _cosines(z: Tensor, weight: Tensor) -> Tensor:
    return z @ weight.T
