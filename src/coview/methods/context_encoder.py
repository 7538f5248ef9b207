"""Context encoder: a picture with a hole is encoded, and what was in the hole has to come out.

Pathak, Krähenbühl, Donahue, Darrell & Efros, "Context encoders: feature learning by inpainting", CVPR 2016 (arXiv
1604.07379). With x the picture in -1 to 1, M its hole, G the networks and D a critic that never sees the hole's place,

    loss = (1 - a) error(x, G(x outside M), M) - a log D(G(.)) + [- log D(x) - log(1 - D(G(.)))],     a = `adversary`

One loss and one backward pass serve both players: the first two terms move G alone, what is in brackets D alone, both
from weights of before the step, which is what the released code computes too. The error is the mean over the hole; for
the hole in the middle, over a square that is larger by `overlap` on each side, whose border counts tenfold. The hole is
filled with the mean colour before anything looks at it. What is embedded is whole.

Released: the code has the net for the middle and for free holes, not the one for features. `as_released` has its mean
colour (channels in another order), and for free holes one hole for the whole batch, an error over the whole picture
(with `overlap`, ten times for the context) and a critic that sees the context as it was made; here it sees the true
one.

Recipe of the released code: Adam at 2e-3, the critic's at a tenth of it, first beta .5, batch 64, 500 epochs; the crops
are ours. For features the paper found no critic that converged [M]: `adversary=0` builds none. Its trunks are the
encoders "caffenet" (227 pixels, channelwise) and "strided" (128, dense); the decoders here double maps until they cover
the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.augment.video import IMAGENET_MEAN, IMAGENET_STD
from coview.data.views import Batch, ImageView, ViewSpec
from coview.encoders import Encoder, build_for
from coview.encoders.channelwise import ChannelwiseLinear
from coview.encoders.decoders import WIDEST, MapDecoder, PlaneDecoder, start_of
from coview.encoders.strided import Critic
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.reading import Paints
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.inpainting import (
    block_masks,
    border_weight,
    centre_mask,
    free_masks,
    hole_error,
    real_or_made,
    taken_for_real,
)
from coview.parallel import mean_over_world
from coview.randomness import make_key

_HOLE = 7500  # stream of a picture's key
_RELEASED_MEAN = (117 / 255, 104 / 255, 123 / 255)


@dataclass(frozen=True, kw_only=True)
class ContextEncoderSettings:
    """The picture, its hole, and the networks."""

    image: ImageView = field(default_factory=lambda: ImageView(size=128))
    image_encoder: str = "resnet-18"  # short name of the trunk
    # The square in the middle, five squares that may overlap, or islands of smooth noise; all about a quarter.
    hole: Literal["centre", "blocks", "free"] = "free"
    overlap: int = 0  # centre: pixels of the border that is shown and made all the same; 4 in the code, 7 in the paper
    # Between encoder and decoder: each channel's places mixed, then the channels; one code of all; or no place mixed,
    # which is a control that can fill no more than a rim.
    middle: Literal["channelwise", "dense", "local"] = "channelwise"
    code: int = 4000  # dense: length of the code
    adversary: float = 0.001  # weight a of the critic's word; 0: no critic
    critic: int = 64  # width of the critic's first layer
    critic_rate: float = 0.1  # its learning rate, as a share of the others'
    as_released: bool = False  # the released code's mean colour and free holes, see above

    def __post_init__(self) -> None:
        if not 0 <= self.adversary < 1 or self.critic_rate <= 0 or min(self.code, self.critic) < 1:
            raise ValueError("context-encoder needs 0 <= adversary < 1, critic_rate > 0, code >= 1 and critic >= 1")
        if not 0 <= self.overlap < self.image.size // 4:
            raise ValueError(
                f"overlap is from 0 to {self.image.size // 4 - 1} pixels: nothing would be left of the hole"
            )
        if self.overlap and self.hole != "centre" and not self.as_released:
            raise ValueError(f"overlap is for the hole in the centre, and this one is {self.hole}")
        if self.image.normalise not in ("imagenet", "none"):
            raise ValueError("what is made is judged in colours: image.normalise must be imagenet or none")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        return cls(image=ImageView(size=32, margin=1.0), image_encoder="image-tiny", code=64, critic=8)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the picture."""
        return {"image": self.image}


class ContextEncoder(Method):
    """An encoder, a middle, a decoder, and in training a critic."""

    about = About(
        slug="context-encoder",
        title="Context encoder: filling holes in pictures",
        paper="Pathak, Krähenbühl, Donahue, Darrell & Efros, CVPR 2016; arXiv 1604.07379",
        family="reconstruction",
        state="verified: the layer, masks, both losses and the gradient equal independent values",
    )
    Settings = ContextEncoderSettings
    settings: ContextEncoderSettings
    coupling: Coupling = "none"
    paints: ClassVar[Paints | None] = "holes"
    published = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=2e-3, weight_decay=0.0, betas=(0.5, 0.999)),
        schedule=ScheduleSettings(kind="constant"),
        augment=replace(PRESETS["none"], crop_area=(0.5, 1.0), crop_ratio=(1.0, 1.0), flip=0.5),
        batch_size=64,
        epochs=500,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=2e-3, weight_decay=0.0, betas=(0.5, 0.999)),
        schedule=ScheduleSettings(kind="cosine"),
        augment=PRESETS["none"],
    )

    def __init__(self, settings: ContextEncoderSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        shape = settings.image.shape
        self.encoders["image"] = encoder = build_for(settings.image, settings.image_encoder)
        with torch.no_grad():  # in evaluation, so that no statistic moves
            _, channels, *places = _last_map(encoder.eval(), torch.zeros(1, *shape)).shape
        encoder.train()
        self.makers["image"] = _maker(settings, channels, (places[0], places[1]))
        side = shape[1] // 2 if settings.hole == "centre" else shape[1]
        self.side = side  # of what the critic sees, in the middle
        self.critic = Critic((shape[0], side, side), settings.critic) if settings.adversary and facts.training else None
        rgb = settings.image.space == "rgb"
        mean, std = (
            (IMAGENET_MEAN, IMAGENET_STD) if rgb and settings.image.normalise == "imagenet" else ((0.0,), (1.0,))
        )
        fill = (_RELEASED_MEAN if settings.as_released else IMAGENET_MEAN) if rgb else (0.0,)
        known = {
            "mean": mean,
            "std": std,
            "fill": [(f - m) / s for f, m, s in zip(fill, 3 * mean, 3 * std, strict=False)],
        }
        for name, value in known.items():
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def lr_scale(self, name: str) -> float:
        """See `Method.lr_scale`: the critic has a rate of its own."""
        return self.settings.critic_rate if name.startswith("critic.") else 1.0

    def learn(self, batch: Batch) -> Step:
        """Return the loss; parts: error (of the hole, unweighted), and with a critic its loss and how it is fooled."""
        settings, x = self.settings, batch.views["image"]
        holes = self.holes(batch)
        maps = _last_map(self.encoders["image"], self.dug(x, holes))
        made, true = self.makers["image"](maps), self.tones(x)
        judged, weight = self._judged(holes)
        error = mean_over_world(hole_error(true, made, judged, weight=weight))
        loss, parts = (
            (1 - settings.adversary) * error,
            {"error": mean_over_world(hole_error(true, made.detach(), holes))},
        )
        if self.critic is not None:
            shown = made if settings.as_released or settings.hole == "centre" else torch.where(holes, made, true)
            seen, real = self._middle(shown), self._middle(true)
            told = mean_over_world(real_or_made(self.critic(real), self.critic(seen.detach())))
            with held(self.critic):
                fooled = mean_over_world(taken_for_real(self.critic(seen)))
            loss = loss + settings.adversary * fooled + told
            parts |= {"critic": told.detach(), "fooled": fooled.detach()}
        pooled = cast(Encoder, self.encoders["image"]).pool(maps.detach())
        return Step(loss, parts, {"image": pooled.detach()})

    def holes(self, batch: Batch) -> Tensor:
        """Return the holes of a batch's pictures, bool (B, 1, S, S)."""
        settings, key, size = self.settings, batch.key, self.settings.image.size
        if settings.hole == "centre":
            return centre_mask(size, settings.overlap).to(key.device).expand(len(key), 1, -1, -1)
        if settings.hole == "blocks":
            return block_masks(key, _HOLE, size)[:, None]
        if settings.as_released:
            key = make_key(batch.epoch, batch.step).to(key.device).expand_as(key)
        return free_masks(key, _HOLE, size)[:, None]

    def dug(self, x: Tensor, holes: Tensor) -> Tensor:
        """Return pictures (B, C, S, S) with the mean colour in their holes."""
        return torch.where(holes, self.get_buffer("fill").to(x), x)

    def tones(self, x: Tensor) -> Tensor:
        """Return pictures of the view in -1 to 1."""
        if self.settings.image.space != "rgb":
            return x
        return 2 * (x * self.get_buffer("std").to(x) + self.get_buffer("mean").to(x)) - 1

    def canvas(self) -> str:
        """See `Method.canvas`."""
        if (space := self.settings.image.space) != "rgb":
            raise UsageError(
                f"holes are filled in photographs by a model of image.space rgb, and this is one of {space}"
            )
        return "image"

    @torch.no_grad()
    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Return pictures of the view (B, C, S, S) with what the networks make in the holes, bool (B, 1, S, S).

        Raises:
            UsageError: there are no holes, or a picture is nothing but hole.
        """
        if holes is None:
            raise UsageError("say where the holes are")
        if bool(holes.flatten(1).all(1).any()):
            raise UsageError("a hole covers its whole picture, and nothing is left to fill it from; make it smaller")
        made: Tensor = self.makers["image"](_last_map(self.encoders["image"], self.dug(x, holes)))
        if self.settings.image.space == "rgb":
            made = ((made + 1) / 2 - self.get_buffer("mean").to(made)) / self.get_buffer("std").to(made)
        return torch.where(holes, made.to(x), x)

    def _middle(self, x: Tensor) -> Tensor:
        first = x.shape[-1] // 4 if self.side < x.shape[-1] else 0
        return x[..., first : first + self.side, first : first + self.side]

    def _judged(self, holes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return where the error is taken, bool, and its weights there; None: 1."""
        settings = self.settings
        if settings.hole == "centre":
            weight = torch.ones_like(holes[:1], dtype=torch.float32)
            self._middle(weight).copy_(border_weight(self.side, settings.overlap))
            return centre_mask(holes.shape[-1]).to(holes.device).expand_as(holes), weight
        if not settings.as_released:
            return holes, None
        return torch.ones_like(holes), torch.where(holes, 1.0, 10.0) if settings.overlap else None


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _last_map(encoder: nn.Module, x: Tensor) -> Tensor:
    return cast(Encoder, encoder).feature_maps(x)[cast(Encoder, encoder).stages[-1]]


def _maker(settings: ContextEncoderSettings, channels: int, places: tuple[int, int]) -> nn.Sequential:
    """Build what makes a picture in -1 to 1 of an encoder's last maps (B, channels, *places)."""
    shape = settings.image.shape
    if settings.middle == "dense":
        code = nn.Linear(channels * places[0] * places[1], settings.code, bias=False)
        norm = nn.BatchNorm1d(settings.code)
        return nn.Sequential(nn.Flatten(), code, norm, nn.LeakyReLU(0.2), PlaneDecoder(settings.code, shape), nn.Tanh())
    mixed: list[nn.Module] = []
    if settings.middle == "channelwise":
        mixed, places = [ChannelwiseLinear(channels, places, start_of(shape))], start_of(shape)
    wide = min(channels, WIDEST)
    mixed += [nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*mixed, MapDecoder(wide, places, shape), nn.Tanh())
