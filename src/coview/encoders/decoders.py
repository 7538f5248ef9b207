"""Networks from features back to a view: pictures and spectrograms by up-convolutions, or numbers of every place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDEST, _LEAST = 256, 4  # channels of the first map, and its shorter side


class Doubled(nn.Module):
    """Maps with every place four times; unlike torch's own, of no samples too."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W) of maps (B, C, H, W)."""
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


class MapDecoder(nn.Module):
    """Maps to planes: doublings, each with a 3 x 3 convolution, until the view is covered; what is too much is cut off.

    Args:
        channels: of the maps.
        places: H and W of the maps; each is doubled as often as the other.
        shape: of the view: (C, H, W), or (C, T, H, W), whose frames are made as channels.
    """

    def __init__(self, channels: int, places: tuple[int, int], shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        *planes, height, width = self.shape
        ratio = max(height / places[0], width / places[1])
        layers: list[nn.Module] = []
        for _ in range(max(0, math.ceil(math.log2(ratio)))):
            narrow = max(channels // 2, 16)
            layers += [Doubled(), nn.Conv2d(channels, narrow, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(narrow), nn.ReLU()]
            channels = narrow
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, math.prod(planes), 3, padding=1))

    def forward(self, maps: Tensor) -> Tensor:
        """Return a view (B, *shape) of maps (B, channels, *places)."""
        height, width = self.shape[-2:]
        planes: Tensor = self.layers(maps)[..., :height, :width]
        return planes.reshape(len(maps), *self.shape)


def start_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return H and W of the smallest map that doublings bring to a view: the shorter side 4 to 7."""
    height, width = shape[-2:]
    share = 2 ** max(0, math.floor(math.log2(min(height, width) / _LEAST)))
    return -(-height // share), -(-width // share)


class PlaneDecoder(MapDecoder):
    """Features to planes: a linear layer to a small map, which is decoded.

    Nothing of the encoder's earlier maps comes in, so that all of the view has to pass through its features.

    Args:
        dim: of the features.
        shape: of the view, as `MapDecoder` takes it.
    """

    def __init__(self, dim: int, shape: Sequence[int]) -> None:
        places = start_of(shape)
        unfold = nn.Linear(dim, WIDEST * math.prod(places))
        super().__init__(WIDEST, places, shape)
        self.start, self.unfold = (WIDEST, *places), unfold

    def forward(self, z: Tensor) -> Tensor:
        """Return a view (B, *shape) of features (B, dim)."""
        return super().forward(torch.relu(self.unfold(z)).reshape(len(z), *self.start))


class Placewise(nn.Sequential):
    """Maps to numbers of every place: doublings by up-convolutions of 4 x 4, convolutions, and a linear layer at last.

    All but the last layer have batch normalisation and ReLU, and keep the maps' size. An even kernel has holes of one
    place, which makes that possible: AlexNet's fc6 to fc8 are `((4096, 6), (4096, 1))`.

    Args:
        channels: of the maps.
        out: numbers of each place.
        hidden: channels and kernel of every layer before the last; the doublings have the first one's channels.
        doublings: how often the maps' sides are doubled first.
    """

    def __init__(self, channels: int, out: int, hidden: Sequence[tuple[int, int]], doublings: int = 0) -> None:
        layers: list[nn.Module] = []
        for _ in range(doublings):
            wide = hidden[0][0] if hidden else channels
            layers += [nn.ConvTranspose2d(channels, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            channels = wide
        for wide, kernel in hidden:
            holes = 2 - kernel % 2
            padding = holes * (kernel - 1) // 2
            conv = nn.Conv2d(channels, wide, kernel, padding=padding, dilation=holes, bias=False)
            layers += [conv, nn.BatchNorm2d(wide), nn.ReLU()]
            channels = wide
        super().__init__(*layers, nn.Conv2d(channels, out, 1))
