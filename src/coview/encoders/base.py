"""What every encoder offers: one view in, features out, with named feature maps on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A backbone from one view to features.

    Attributes:
        dim: length of the feature vector.
        stages: names of the feature maps, from the input upward.
    """

    dim: int
    stages: tuple[str, ...]

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

    def blocks(self) -> list[nn.Module]:
        """Return the parts that can be recomputed or divided over processes one by one, from the input upward."""
        return [module for name, module in self.named_children() if name in self.stages]
