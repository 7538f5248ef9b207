"""Heads: from a backbone's features into the space where views are compared; each knows its `dim`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class Head(nn.Sequential):
    """Layers that end in `dim` numbers."""

    def __init__(self, dim: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.dim = dim


class LinearHead(nn.Linear):
    """One linear layer to `dim` numbers."""

    @property
    def dim(self) -> int:
        """Length of the output."""
        return self.out_features


def mlp(sizes: Sequence[int], *, batchnorm: bool = False) -> Head:
    """Build linear layers through `sizes` with ReLU between them, after batch normalisation if asked.

    (512, 512, 512, 128) is the projector of AVID and xID, 590 976 parameters; (512, 4096, 4096, 4096) with batch
    normalisation is AV-SSRL's VICReg expander, 35 680 256 parameters. Every linear layer has a bias.
    """
    layers: list[nn.Module] = []
    for index, (wide, out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(wide, out))
        if index < len(sizes) - 2:
            layers += [nn.BatchNorm1d(out), nn.ReLU(inplace=True)] if batchnorm else [nn.ReLU(inplace=True)]
    return Head(sizes[-1], *layers)
