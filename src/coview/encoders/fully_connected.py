"""The whole AlexNet but its classifier: Caffe's convolutions, then two layers that see all of the picture.

Krizhevsky, Sutskever & Hinton 2012. With a classifier of 1000 classes it has the known 60 965 224 parameters.
"""

from __future__ import annotations

from torch import nn

from coview.encoders.caffenet import CaffeNet

_SIDE = 6  # of pool5's maps, for pictures of 224 to 227 pixels


class CaffeNetFC7(CaffeNet):
    """`CaffeNet` and fc6, fc7 as convolutions, on pictures (B, C, H, W) of at least 224 pixels; the mean of fc7.

    56 868 224 parameters for three channels, 4096 features.

    Args:
        channels: of the pictures.
        dropout: after fc6 and fc7.
    """

    stages = (*CaffeNet.stages, "fc6", "fc7")

    def __init__(self, channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__(channels)
        width, self.dim = self.dim, 4096
        for name, seen, side in (("fc6", width, _SIDE), ("fc7", self.dim, 1)):
            layer = nn.Conv2d(seen, self.dim, side)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            self.add_module(name, nn.Sequential(layer, nn.ReLU(inplace=True), nn.Dropout(dropout)))
