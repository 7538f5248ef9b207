"""AlexNet without groups and local normalisation, for pictures of any number of channels.

Krizhevsky, Sutskever & Hinton 2012, as Zhang, Isola & Efros (ECCV 2016; CVPR 2017, arXiv 1611.09842) train it: batch
normalisation before every ReLU, and padding everywhere, so that every map covers the whole picture. What follows
pool5 (fc6 to fc8) is a head: `decoders.Placewise`.
"""

from __future__ import annotations

from torch import Tensor, nn

from coview.encoders.base import Encoder

_CONVS = {"conv1": (96, 11, 4), "conv2": (256, 5, 1), "conv3": (384, 3, 1), "conv4": (384, 3, 1), "conv5": (256, 3, 1)}


class AlexNet(Encoder):
    """Five convolutions, maxima over 3 x 3 after the first two and the last, on pictures (B, C, H, W).

    180 pixels give maps of 45, 23, 12 and 12; 3 748 576 parameters for three channels. The mean of the last map.

    Args:
        channels: of the pictures.
        share: of the channels of each layer: two halves hold half of the whole network's weights.
        padded: as trained; otherwise with the first convolution and the maxima unpadded and pool5 of stride 2, as the
            papers evaluate its layers on pictures of 227 pixels. Weights fit both.
    """

    stages = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")

    def __init__(self, channels: int = 3, share: float = 1.0, padded: bool = True) -> None:
        super().__init__()
        for name in self.stages:
            if name in _CONVS:
                width, kernel, stride = _CONVS[name]
                width = round(share * width)
                padding = kernel // 2 if padded or stride == 1 else 0
                conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
                self.add_module(name, nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
                channels = width
            else:
                self.add_module(name, nn.MaxPool2d(3, 1 if padded and name == "pool5" else 2, 1 if padded else 0))
        self.dim = channels

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))
