"""GoogLeNet, of torchvision's parts: nine inceptions, and the two classifiers on the way to the top.

Szegedy et al., CVPR 2015 (arXiv 1409.4842), with batch normalisation after every convolution, as torchvision has it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.googlenet import BasicConv2d, googlenet

from coview.encoders.base import Encoder
from coview.encoders.heads import Head

_SIDES = {"inception4a": 512, "inception4d": 528}  # channels of the maps that the auxiliary classifiers see
_SIDE_WIDTH, _SIDE_PLACES, _SIDE_DIM, _SIDE_DROPOUT = 128, 4, 1024, 0.7


class GoogLeNet(Encoder):
    """Convolutions and inceptions on pictures (B, C, H, W); torchvision's names of weights.

    5 599 904 parameters for three channels; the mean of the last map, 1024 features. The auxiliary classifiers see
    2 163 968 and 2 166 016 parameters more (`side_heads`).
    """

    dim = 1024
    stages = (
        "conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3", "inception4a",
        "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4", "inception5a", "inception5b",
    )  # fmt: skip

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        net = googlenet(weights=None, aux_logits=False, init_weights=True)
        if channels != 3:
            net.conv1 = BasicConv2d(channels, 64, kernel_size=7, stride=2, padding=3)
        for name in self.stages:
            self.add_module(name, getattr(net, name))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every stage's maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))

    def side_heads(self) -> dict[str, nn.Module]:
        """Return the networks in front of both auxiliary classifiers, stage -> features (B, 1024) of its maps."""
        return {
            stage: Head(
                _SIDE_DIM,
                nn.AdaptiveAvgPool2d(_SIDE_PLACES),
                BasicConv2d(channels, _SIDE_WIDTH, kernel_size=1),
                nn.Flatten(),
                nn.Linear(_SIDE_WIDTH * _SIDE_PLACES**2, _SIDE_DIM),
                nn.ReLU(inplace=True),
                nn.Dropout(_SIDE_DROPOUT),
            )
            for stage, channels in _SIDES.items()
        }
