"""Pictures as regions: what a detector found beforehand, or the cells of a grid; codes of regions by k-means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from coview.data.views import Batch
from coview.encoders import Encoder
from coview.errors import InputError, UsageError
from coview.methods.parts.batch import or_zeros
from coview.objectives.kmeans import assign, kmeans
from coview.objectives.precision import in_float32

_OFF = 0.05  # that the shares of a region's classes may miss 1 by, rounded as they were stored
_ROWS_PER_CODE = 64  # regions that each code is made of, about


@dataclass(frozen=True)
class Regions:
    """Regions of B pictures, R of each.

    Attributes:
        features, boxes: (B, R, D), and (B, R, 4): left, top, right and bottom as shares of width and height.
        there: bool (B, R), which regions there are.
    """

    features: Tensor
    boxes: Tensor
    there: Tensor


def stored_regions(batch: Batch) -> Regions:
    """Return the regions that lie in the views "regions" and "boxes"; none of pictures that lack one of the two.

    Raises:
        InputError: a recording has not as many boxes, or distributions over classes, as regions.
    """
    there = batch.mask("regions")
    for name in ("boxes", "classes"):
        if name in batch.length and name in batch.views:
            both = batch.present["regions"] & batch.present[name]
            if bool((batch.mask(name) != there)[both].any()):
                raise InputError(f"{name}: expected as many as regions of every recording; write them anew together")
    there = there & (batch.present["regions"] & batch.present["boxes"])[:, None]
    return Regions(or_zeros(batch, "regions"), or_zeros(batch, "boxes"), there)


def require_shares(batch: Batch, name: str) -> None:
    """Raise UsageError where a box of the source `name` does not lie inside of its picture."""
    boxes = batch.views["boxes"][batch.mask("boxes") & batch.present["boxes"][:, None]]
    if bool(((boxes < -1e-3) | (boxes > 1 + 1e-3)).any()):
        raise UsageError(
            f"{name}: boxes lie between {float(boxes.min()):g} and {float(boxes.max()):g}; expected left, top, right "
            "and bottom as shares of the picture's width and height: divide by them"
        )


def require_distributions(batch: Batch, name: str) -> None:
    """Raise UsageError where the classes of a region of the source `name` are no distribution."""
    classes = batch.views["classes"][batch.mask("classes") & batch.present["classes"][:, None]]
    total = classes.sum(1)
    if bool(((classes < 0).any(1) | ((total - 1).abs() > _OFF)).any()):
        raise UsageError(
            f"{name}: classes lie between {float(classes.min()):g} and {float(classes.max()):g}, and sum to "
            f"{float(total.min()):g} to {float(total.max()):g} a region; expected distributions: softmax of the scores"
        )


class GridRegions(nn.Module):
    """Cells of a grid over the view "image": means of a frozen encoder's last maps.

    Args:
        encoder: of pictures; it does not learn.
        side: cells in a row, and rows.
    """

    boxes: Tensor

    def __init__(self, encoder: Encoder, side: int) -> None:
        super().__init__()
        self.encoder, self.side = encoder.requires_grad_(False).eval(), side
        at = torch.arange(side) / side
        top, left = (each.flatten() for each in torch.meshgrid(at, at, indexing="ij"))
        boxes = torch.stack([left, top, left + 1 / side, top + 1 / side], 1)
        self.register_buffer("boxes", boxes, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Leave the encoder in evaluation mode: what is frozen has no statistics to follow."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Regions:
        """Return the cells of a batch's pictures, row by row; none of pictures that are absent.

        Raises:
            UsageError: the encoder makes no maps.
        """
        maps = self.encoder.feature_maps(or_zeros(batch, "image"))[self.encoder.stages[-1]]
        if maps.ndim != 4:
            raise UsageError("a grid needs an image_encoder with maps, such as resnet-50; this one yields one vector")
        features = adaptive_avg_pool2d(maps, self.side).flatten(2).transpose(1, 2)
        there = batch.present["image"][:, None].expand(-1, features.shape[1])
        return Regions(features, self.boxes.to(features).expand(len(features), -1, -1), there)


class RegionCodes(nn.Module):
    """K codes of region features by k-means: visual tokens, and how likely each is where codes are equal round clouds.

    Args:
        codes: K.
        dim: D, of the features.
    """

    centroids: Tensor
    variance: Tensor

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.zeros(codes, dim))
        self.register_buffer("variance", torch.ones(()))

    @torch.no_grad()
    def fit(self, pictures: Iterable[Regions], seed: int) -> None:
        """Find the codes among the first 64 K regions of each process; the same on all of them.

        Raises:
            UsageError: there are fewer different regions than codes.
        """
        found, count = [], 0
        for regions in pictures:
            found.append(regions.features[regions.there].float())
            count += len(found[-1])
            if count >= _ROWS_PER_CODE * len(self.centroids):
                break
        clusters = kmeans(torch.cat([self.centroids[:0], *found]), len(self.centroids), seed=seed)
        self.centroids.copy_(clusters.centroids)
        self.variance.fill_(max(clusters.inertia / (int(clusters.counts.sum()) * self.centroids.shape[1]), 1e-12))

    def forward(self, features: Tensor) -> Tensor:
        """Return the nearest code (...) of features (..., D), int64."""
        return assign(features.flatten(0, -2).float(), self.centroids)[0].view(features.shape[:-1])

    def posterior(self, features: Tensor) -> Tensor:
        """Return how likely each code is (..., K), of features (..., D): softmax of - distance^2 / (2 variance)."""
        return _posterior(features, self.centroids.to(features), self.variance.to(features))


@in_float32
def _posterior(features: Tensor, centroids: Tensor, variance: Tensor) -> Tensor:
    centred = features.flatten(0, -2) - centroids.mean(0)
    distance = torch.cdist(centred, centroids - centroids.mean(0), compute_mode="donot_use_mm_for_euclid_dist")
    likely: Tensor = (-distance.square() / (2 * variance)).softmax(1)
    return likely.view(*features.shape[:-1], likely.shape[1])
