"""What every encoder offers: one view in, features out, with named feature maps on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A backbone from one view to features.

    Attributes:
        dim: length of the feature vector.
        stages: names of the feature maps, from the input upward.
        origin: of a tower from a folder (`learning`): the folder, the kind of view, and what describes it; else None.
    """

    dim: int
    stages: tuple[str, ...]
    origin: tuple[str, str, dict[str, Any]] | None = None

    @abstractmethod
    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return stage name -> map, (B, C, T, H, W) for video and (B, C, H, W) for sound, B = 0 allowed."""

    @abstractmethod
    def pool(self, maps: Tensor) -> Tensor:
        """Reduce the last stage's maps to features (B, dim)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, dim) of a view (B, channels, ...)."""
        return self.pool(self.feature_maps(x)[self.stages[-1]])

    def through_stages(self, x: Tensor) -> dict[str, Tensor]:
        """Return what each of the submodules called as the stages yields, one run on the output of the other."""
        maps = {}
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps[name] = x
        return maps

    def side_heads(self) -> dict[str, nn.Module]:
        """Build what classifiers on the way to the top see, stage -> network of its maps with `.dim`; here none.

        They are no part of the encoder: whoever trains with them keeps them.
        """
        return {}

    def rate(self, name: str) -> float:
        """Return the factor on the learning rate of its parameter `name`."""
        return 1.0

    def blocks(self) -> list[nn.Module]:
        """Return the parts that can be recomputed or divided over processes one by one, from the input upward."""
        return [module for name, module in self.named_children() if name in self.stages]


class Wrapped(Encoder):
    """Any network as an encoder: from a view (B, ...) to features (B, dim), or to maps (B, dim, ...) that are averaged.

    Args:
        network: gives a row for each sample, also for none.
        dim: length of its features, or channels of its maps.
    """

    stages = ("network",)

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__()
        self.network, self.dim = network, dim

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return what the network makes of the view."""
        return {"network": self.network(x)}

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean of maps; features are returned as they are."""
        return maps.flatten(2).mean(2) if maps.ndim > 2 else maps


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode for a while; each of its parts then has the mode that it had."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def take_channels(encoder: nn.Module, more: int) -> None:
    """Draw the first convolution anew for `more` channels than it was written for (or fewer)."""
    name, old = next((n, m) for n, m in encoder.named_modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)))
    settings = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    bias = old.bias is not None
    new = type(old)(old.in_channels + more, old.out_channels, bias=bias, **settings)
    parent, _, last = name.rpartition(".")
    encoder.get_submodule(parent).add_module(last, new)
