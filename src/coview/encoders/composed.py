"""Encoders made of encoders: the lower part of one, and two whose features stand beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from coview.encoders.base import Encoder
from coview.errors import UsageError


def stages_from(encoder: nn.Module, stage: str) -> tuple[str, ...]:
    """Return the names of an encoder's stages from one of them upward.

    Raises:
        UsageError: the encoder has no such stage, or the stages are no parts of it that could be told apart.
    """
    known = tuple(getattr(encoder, "stages", ()))
    if stage not in known:
        raise UsageError(f"{type(encoder).__name__} has no stage {stage!r}; it has {', '.join(known) or 'none'}")
    if missing := set(known) - {name for name, _ in encoder.named_children()}:
        raise UsageError(f"{type(encoder).__name__}: {', '.join(sorted(missing))} cannot be told from its other layers")
    return known[known.index(stage) :]


class UpTo(Encoder):
    """An encoder up to one of its stages; the mean of that stage's maps over places.

    Args:
        whole: the encoder; what lies above the stage is computed and not used.
        stage: the last one.
        shape: of one view, to find the number of channels.

    Attributes:
        unread: parameters that learn, and that the stage does not depend on.

    Raises:
        UsageError: there is no such stage.
    """

    def __init__(self, whole: Encoder, stage: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        if stage not in whole.stages:
            raise UsageError(f"{type(whole).__name__} has no stage {stage!r}; it has {', '.join(whole.stages)}")
        self.whole, self.stages = whole, whole.stages[: whole.stages.index(stage) + 1]
        training, learning = whole.training, [p for p in whole.parameters() if p.requires_grad]
        with torch.enable_grad():
            maps = whole.eval().feature_maps(next(whole.parameters()).new_zeros(1, *shape))[stage]
        whole.train(training)
        self.dim = maps.shape[1]
        reached: Sequence[Tensor | None] = [None] * len(learning)
        if maps.requires_grad:
            reached = torch.autograd.grad(maps.sum(), learning, allow_unused=True)
        self.unread = tuple(p for p, gradient in zip(learning, reached, strict=True) if gradient is None)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of the stages that are left."""
        maps = self.whole.feature_maps(x)
        return {name: maps[name] for name in self.stages}

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean over all places."""
        return maps.flatten(2).mean(2)


class Beside(Encoder):
    """An encoder that learns, and behind its features those of a given one, which stays as it is.

    Feature augmentation: what the second network knows is an input more.
    """

    def __init__(self, new: Encoder, given: Encoder) -> None:
        super().__init__()
        self.new, self.given, self.stages = new, given, new.stages
        self.dim = new.dim + given.dim
        self.given.requires_grad_(False)

    def train(self, mode: bool = True) -> Beside:
        """Set the mode of the one that learns; the given one keeps that of evaluation."""
        super().train(mode)
        self.given.eval()
        return self

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of the one that learns."""
        return self.new.feature_maps(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Reduce maps as the one that learns does."""
        return self.new.pool(maps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of both, (B, dim)."""
        with torch.no_grad():
            known = self.given(x)
        return torch.cat([self.new(x), known], dim=1)


class Amid(Encoder):
    """One of several views, as a network sees it that sees them all: in its own channels, with 0 in the others'.

    Args:
        whole: network of the channels of all views; those of the other views may share it.
        before: channels of the views before this one.
        after: channels of the views after it.
    """

    def __init__(self, whole: Encoder, before: int, after: int) -> None:
        super().__init__()
        self.whole, self.stages, self.dim = whole, whole.stages, whole.dim
        self.before, self.after = before, after

    def among(self, x: Tensor) -> Tensor:
        """Return what the network is shown of a view (B, C, H, W): (B, before + C + after, H, W)."""
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the network's maps."""
        return self.whole.feature_maps(self.among(x))

    def pool(self, maps: Tensor) -> Tensor:
        """Reduce as the network does."""
        return self.whole.pool(maps)

    def side_heads(self) -> dict[str, nn.Module]:
        """Build what the network has beside it."""
        return self.whole.side_heads()

    def blocks(self) -> list[nn.Module]:
        """Return the network's parts."""
        return self.whole.blocks()
