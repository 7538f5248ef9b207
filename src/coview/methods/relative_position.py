"""Relative position: which of eight neighbours of a patch is this other patch of the same picture?

Doersch, Gupta & Efros, "Unsupervised visual representation learning by context prediction", ICCV 2015 (arXiv
1505.05192). With f the trunk and its first head layer, h the rest, (i, j) all ordered neighbours in the grids of
patches that are laid over each picture and o(i, j) the place of j around i,

    loss = mean over (i, j) of  -log softmax(h(f(p_i), f(p_j)))[o(i, j)]

Each patch passes the trunk once, whatever its number of pairs. A grid holds more neighbours side by side than at the
corners (two to one in 2 x 2 patches), so that a guess costs less than ln 8; the accuracy is therefore the mean over the
eight places, of which chance is .125 in any grid. What would give the answer away without a look at the
content is taken from the patches: borders (gap and jitter), grain (a share is shrunk and enlarged), the lens's coloured
fringes (`colour`), brightness and contrast (mean and root mean square). The head's batch normalisation has no scale,
since a learned one can silence a layer early on.

Released: the code lays grids that begin in the first 144 pixels and cover the picture; here the grid has as many
patches as fit wherever it begins, so that every picture weighs the same. `as_released` sums the loss over the pairs,
scales patches to a root mean square of 50, and puts uniform noise of one grey level in the place of dropped colours.
Probes see whole pictures in all colours, which the trunk has not seen in training with "drop"; nor had the paper's.

Recipe of the released code: SGD without momentum or decay, rate 1e-5 on the sum, which is 0.015 on the mean over 32
pictures of 48 pairs (512 patches). The paper adds momentum up to .999 [M]. Its trunk is the encoder "caffenet-patches".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.augment import PRESETS
from coview.data.augment.video import IMAGENET_STD
from coview.data.views import Batch, ImageView, ViewSpec
from coview.encoders import Head, build_for
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.towers import dim_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.objectives.relative_position import (
    OFFSETS,
    chroma_projection,
    cut_patches,
    drop_colours,
    grid_corners,
    grid_pairs,
    shrink,
    shrinkings,
    to_rms,
)
from coview.parallel import mean_over_world, row_counts
from coview.randomness import make_key

_GRID, _SHRINK, _COLOUR = 7400, 7410, 7420  # streams of a picture's or a patch's key
_RELEASED_RMS = 50.0


@dataclass(frozen=True, kw_only=True)
class RelativePositionSettings:
    """The picture, the grid of patches, what is done to them, and the networks; lengths in pixels of the view."""

    image: ImageView = field(default_factory=lambda: ImageView(size=384))
    image_encoder: str = "resnet-18"  # network of patches
    patch: int = 96  # side of a patch
    gap: int = 48  # between patches
    jitter: int = 7  # each patch is moved by so much at most, on both axes
    grids: int = 4  # laid over each picture
    shrink: float = 0.33  # share of the patches that lose their grain
    # One colour is kept, or the axis of chromatic aberration is taken out, or all is kept, lens included.
    colour: Literal["drop", "project", "keep"] = "drop"
    hidden: int = 4096  # width of the head's layers
    as_released: bool = False  # reproduce what the released code does otherwise than the paper

    def __post_init__(self) -> None:
        if min(self.patch, self.grids, self.hidden) < 1 or self.patch < 4 or min(self.gap, self.jitter) < 0:
            raise ValueError("relative-position needs patch >= 4, grids >= 1, hidden >= 1, gap >= 0 and jitter >= 0")
        if not 0 <= self.shrink <= 1:
            raise ValueError("shrink is a share of the patches, from 0 to 1")
        if self.side < 2:
            least = 2 * (self.patch + self.gap) + self.patch - 1
            raise ValueError(
                f"a picture of {self.image.size} pixels is smaller than a grid of 2 x 2 patches wherever it begins: "
                f"raise image.size to {least}, or make patch ({self.patch}) or gap ({self.gap}) smaller"
            )
        if self.image.normalise not in ("imagenet", "none"):
            raise ValueError("patches are scaled one by one: image.normalise must be imagenet or none")
        if self.image.space != "rgb" and self.colour != "keep":
            raise ValueError(f"a picture's {self.image.space} has no colours to drop or project: use colour=keep")

    @property
    def side(self) -> int:
        """Patches along each side of a grid."""
        return (self.image.size - self.patch + 1) // (self.patch + self.gap)

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: one grid of 2 x 2 patches."""
        image = ImageView(size=64, margin=1.0)
        return cls(image=image, image_encoder="image-tiny", patch=16, gap=6, jitter=2, grids=1, hidden=64)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the picture."""
        return {"image": self.image}


class RelativePosition(Method):
    """A trunk of patches, one layer that is kept with it, and the layers that compare two patches."""

    about = About(
        slug="relative-position",
        title="Relative position of two patches of a picture",
        paper="Doersch, Gupta & Efros, ICCV 2015; arXiv 1505.05192",
        family="context",
        state="verified: labels, pairs and the colour projection equal values of the official rules",
    )
    Settings = RelativePositionSettings
    settings: RelativePositionSettings
    coupling: Coupling = "none"
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.015, momentum=0.0, weight_decay=0.0),
        schedule=ScheduleSettings(kind="constant"),
        augment=replace(PRESETS["none"], crop_area=(1 / 3, 1.0), crop_ratio=(1.0, 1.0)),
        batch_size=32,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleSettings(kind="cosine"),
        augment=PRESETS["none"],
    )

    def __init__(self, settings: RelativePositionSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        wide = settings.hidden
        self.encoders["image"] = build_for(settings.image, settings.image_encoder)
        self.projectors["image"] = Head(wide, *_layer(dim_of(self.encoders["image"]), wide))
        self.compare = nn.Sequential(
            *_layer(2 * wide, wide), nn.Linear(wide, wide), nn.ReLU(inplace=True), nn.Linear(wide, len(OFFSETS))
        )
        pairs, labels = grid_pairs(settings.side, settings.side)
        scale = IMAGENET_STD if settings.image.normalise == "imagenet" else (1.0, 1.0, 1.0)
        known = {"pairs": pairs, "labels": labels, "scale": torch.tensor(scale), "maps": shrinkings(settings.patch)}
        for name, value in known.items():
            self.register_buffer(name, value, persistent=False)

    def learn(self, batch: Batch) -> Step:
        """Return the loss; part: accuracy, mean over the eight places, of which chance is .125.

        Embeddings are means over a picture's patches.
        """
        grids, (pairs, labels) = self.settings.grids, (self.get_buffer(name) for name in ("pairs", "labels"))
        features = self.projectors["image"](self.encoders["image"](self.patches(batch.views["image"], batch.key)))
        features = features.unflatten(0, (len(batch), grids, self.settings.side**2))
        both = torch.cat([features[:, :, pairs[:, 0]], features[:, :, pairs[:, 1]]], -1)
        scores = self.compare(both.flatten(0, 2))
        truth = labels.repeat(len(batch) * grids)
        rows = (len(batch), grids * len(pairs))
        losses = in_float32(cross_entropy)(scores, truth, reduction="none").view(rows).mean(1)
        share = 1 / (len(OFFSETS) * grids * labels.bincount(minlength=len(OFFSETS))[truth])
        right = ((scores.detach().argmax(1) == truth) * share).view(rows).sum(1)
        loss = mean_over_world(losses)
        if self.settings.as_released:
            loss = loss * sum(row_counts(batch.row)) * rows[1]
        embeddings = {"image": features.detach().flatten(1, 2).mean(1)}
        return Step(loss, {"accuracy": mean_over_world(right)}, embeddings)

    @torch.no_grad()
    def patches(self, x: Tensor, key: Tensor) -> Tensor:
        """Return treated patches (B grids side^2, C, P, P) of pictures (B, C, H, W), grid by grid in raster order."""
        settings, size = self.settings, self.settings.patch
        pitch, last = size + settings.gap, x.shape[-1] - size
        corners = grid_corners(key, _GRID, settings.grids, settings.side, pitch, settings.jitter, last).flatten(1, 2)
        own = make_key(key[:, None], torch.arange(corners.shape[1], device=key.device)).flatten()
        patches = shrink(cut_patches(x, corners, size), own, _SHRINK, settings.shrink, self.get_buffer("maps").to(x))
        patches = self._colours(patches, own)
        return to_rms(patches, _RELEASED_RMS if settings.as_released else 1.0)

    def _colours(self, patches: Tensor, key: Tensor) -> Tensor:
        scale = self.get_buffer("scale").to(patches)
        if self.settings.colour == "drop":
            return drop_colours(patches, key, _COLOUR, 1 / (255 * scale) if self.settings.as_released else None)
        patches = patches - patches.mean((2, 3), keepdim=True)
        if self.settings.colour == "project":  # in red, green and blue as they are stored
            turn = scale[:, None] * chroma_projection(scale.dtype).to(scale) / scale
            patches = torch.einsum("nchw,cd->ndhw", patches, turn)
        return patches

    def chance_loss(self, global_batch: int) -> float | None:
        """Return the loss of a guess by how often each place occurs; None where the loss is a sum over pairs."""
        share = self.get_buffer("labels").bincount() / len(self.get_buffer("labels"))
        return None if self.settings.as_released else float(-(share * share.log()).sum())


def _layer(wide: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Linear(wide, out, bias=False), nn.BatchNorm1d(out, affine=False), nn.ReLU(inplace=True)
