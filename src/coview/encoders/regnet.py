"""RegNetY at the sizes of SEER.

Radosavovic et al., "Designing network design spaces", CVPR 2020 (arXiv 2003.13678); sizes of Goyal et al. 2021
(arXiv 2103.01988) and 2022 (arXiv 2202.08360). Blocks are torchvision's, and so are the names of weights.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.regnet import BlockParams, RegNet

from coview.encoders.base import Encoder

# Depth, initial width, slope, quantisation and group width of the generator.
SIZES: dict[str, tuple[int, int, float, float, int]] = {
    "tiny": (5, 16, 16.0, 2.0, 8),  # for tests
    "8gf": (17, 192, 76.82, 2.19, 56),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
    "64gf": (20, 352, 147.48, 2.4, 328),
    "128gf": (27, 456, 160.83, 2.52, 264),
    "256gf": (27, 640, 230.83, 2.53, 373),
    "10b": (27, 1744, 620.83, 2.52, 1010),
}
STEM = 32  # channels


class RegNetY(Encoder):
    """RegNetY on pictures (B, C, H, W): bottleneck blocks of grouped convolutions with squeeze and excitation.

    The mean of the last map. Trunks of 37.4 M (8gf) to 9.3 G (10b) parameters; `SIZES` names them.
    """

    def __init__(self, size: str, channels: int = 3) -> None:
        super().__init__()
        depth, width, slope, quantisation, group = SIZES[size]
        with torch.device("cpu"):  # the generator computes with tensors, also where the network is built without any
            params = BlockParams.from_init_params(depth, width, slope, quantisation, group, se_ratio=0.25)
        net = RegNet(params, num_classes=1, stem_width=STEM, norm_layer=partial(nn.BatchNorm2d, eps=1e-5, momentum=0.1))
        if channels != 3:
            net.stem[0] = nn.Conv2d(channels, STEM, 3, 2, 1, bias=False)
            nn.init.normal_(net.stem[0].weight, std=(2 / (9 * STEM)) ** 0.5)  # as torchvision's own
        self.stem, self.trunk_output = net.stem, net.trunk_output
        self.stages = tuple(name for name, _ in self.trunk_output.named_children())
        self.dim = params.widths[-1]

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every stage's maps (B, C, H', W')."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = {}
        for name in self.stages:
            x = self.trunk_output.get_submodule(name)(x)
            maps[name] = x
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))

    def blocks(self) -> list[nn.Module]:
        """Return the residual blocks of all stages."""
        return [block for stage in self.trunk_output.children() for block in stage.children()]
