"""Image networks: torchvision's ResNets."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from coview.encoders.base import Encoder

DEPTHS = {18: resnet18, 50: resnet50}


class ResNet(Encoder):
    """ResNet (He et al., CVPR 2016) of depth 18 or 50 on pictures (B, C, H, W); torchvision's names of weights.

    11 176 512 or 23 508 032 parameters for three channels; the mean of the last map, 512 or 2048 features.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, depth: int = 50, channels: int = 3) -> None:
        super().__init__()
        net = DEPTHS[depth](weights=None)
        self.dim = net.fc.in_features
        if channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
        self.conv1, self.bn1 = net.conv1, net.bn1
        for name in self.stages:
            self.add_module(name, getattr(net, name))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the four stages' maps (B, C, H', W')."""
        x = self.bn1(self.conv1(x.contiguous(memory_format=torch.channels_last))).relu()
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))
