"""The VGG-like network of colorful image colorization: 3 x 3 convolutions with holes instead of maxima.

Zhang, Isola & Efros, ECCV 2016 (arXiv 1603.08511), blocks 1 to 7; the eighth is a head: `decoders.Placewise`.
"""

from __future__ import annotations

from torch import Tensor, nn

from coview.encoders.base import Encoder

# Convolutions, channels, stride of the last one, holes.
_BLOCKS = (
    (2, 64, 2, 1),
    (2, 128, 2, 1),
    (3, 256, 2, 1),
    (3, 512, 1, 1),
    (3, 512, 1, 2),
    (3, 512, 1, 2),
    (3, 512, 1, 1),
)


class DilatedVGG(Encoder):
    """Seven blocks on pictures (B, C, H, W), maps of an eighth of their side; 28 872 384 parameters of one channel.

    Every convolution is followed by ReLU, every block by batch normalisation without scale and shift. The mean of the
    last map.
    """

    dim = 512
    stages = tuple(f"block{number}" for number in range(1, 8))

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        for name, (count, width, stride, holes) in zip(self.stages, _BLOCKS, strict=True):
            layers: list[nn.Module] = []
            for number in range(count):
                step = stride if number == count - 1 else 1
                layers += [nn.Conv2d(channels, width, 3, step, holes, holes), nn.ReLU(inplace=True)]
                channels = width
            self.add_module(name, nn.Sequential(*layers, nn.BatchNorm2d(width, affine=False)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the blocks' maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))
