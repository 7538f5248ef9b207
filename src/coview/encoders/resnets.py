"""Residual networks of clips and spectrograms as torchvision has them, without their classifiers.

R(2+1)D: Tran et al., CVPR 2018 (arXiv 1711.11248). ResNet: He et al., CVPR 2016 (arXiv 1512.03385).
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as PictureNet
from torchvision.models.video import r2plus1d_18

from coview.encoders.base import Encoder

BLOCKS = {9: (1, 1, 1, 1), 18: (2, 2, 2, 2)}
STAGES = ("layer1", "layer2", "layer3", "layer4")


class WideR2Plus1D(Encoder):
    """R(2+1)D-18 with widened middle channels on clips (B, 3, T, H, W); 31 300 125 parameters.

    The mean of the last map; 30 frames of 112 pixels give maps (512, 4, 7, 7). The reduced form of AVID is `R2Plus1D`.
    """

    dim = 512
    stages = ("stem", *STAGES)

    def __init__(self) -> None:
        super().__init__()
        net = r2plus1d_18(weights=None)
        for name in self.stages:
            self.add_module(name, getattr(net, name))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the five stages' maps (B, C, T', H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3, 4))


class AudioResNet(Encoder):
    """ResNet of depth 9 or 18 on spectrograms (B, 1, H, W); 4 899 520 or 11 170 240 parameters.

    The mean of the last map.
    """

    dim = 512
    stages = STAGES

    def __init__(self, depth: int = 18) -> None:
        super().__init__()
        net = PictureNet(BasicBlock, list(BLOCKS[depth]))
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = net.bn1
        for name in self.stages:
            self.add_module(name, getattr(net, name))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the four stages' maps (B, C, H', W')."""
        return self.through_stages(nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1))

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))
