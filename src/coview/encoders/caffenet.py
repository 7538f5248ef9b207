"""AlexNet as Caffe trains it, with local response or batch normalisation, and the form of it that looks at patches.

Krizhevsky, Sutskever & Hinton 2012; Pathak et al., CVPR 2016 (arXiv 1604.07379) take the first form up to pool5, Owens
et al., ECCV 2016 (arXiv 1608.07017) the one with batch normalisation, Doersch, Gupta & Efros, ICCV 2015 (arXiv
1505.05192) that for patches. Maxima keep what hangs over the border, as in Caffe.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from coview.encoders.base import Encoder

# Channels, kernel, stride, padding, and groups of the first form.
_CONVS = {
    "conv1": (96, 11, 4, 0, 1),
    "conv2": (256, 5, 1, 2, 2),
    "conv3": (384, 3, 1, 1, 1),
    "conv4": (384, 3, 1, 1, 2),
    "conv5": (256, 3, 1, 1, 2),
}


class CaffeNet(Encoder):
    """Five convolutions and three maxima on pictures (B, C, H, W), the first two maxima normalised over channels.

    227 pixels give pool5 maps (256, 6, 6); 2 334 080 parameters for three channels, and 256 features, the mean; or all
    of them, 9216, where the net is `whole`. With batch normalisation all of the maps are features, 9216; 2 335 456
    parameters. In the form for patches, 96 pixels give maps (256, 3, 3), all of which are features, 2304; 3 746 176
    parameters.

    Args:
        channels: of the pictures.
        patches: no groups, the first convolution padded, and after the last three batch normalisation without scale
            and shift, since a learned scale can silence a layer early on.
        batchnorm: batch normalisation after every convolution, and no other.
        whole: every place of the last maps is a feature.
    """

    stages: tuple[str, ...] = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")

    def __init__(self, channels: int = 3, patches: bool = False, batchnorm: bool = False, whole: bool = False) -> None:
        super().__init__()
        self.places = 6 if batchnorm or whole else 3 if patches else 1  # along each side of the features
        for name in self.stages:
            if name in _CONVS:
                width, kernel, stride, padding, groups = _CONVS[name]
                if patches:
                    padding, groups = kernel // 2, 1
                bare = patches and name > "conv2"
                norm = [nn.BatchNorm2d(width, affine=batchnorm)] if batchnorm or bare else []
                conv = nn.Conv2d(channels, width, kernel, stride, padding, groups=groups, bias=not norm)
                most = (3 / conv.weight[0].numel()) ** 0.5
                nn.init.uniform_(conv.weight, -most, most)
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
                self.add_module(name, nn.Sequential(conv, *norm, nn.ReLU(inplace=True)))
                channels = width
            else:
                local = [] if batchnorm or name == "pool5" else [nn.LocalResponseNorm(5)]
                self.add_module(name, nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), *local))
        self.dim = channels * self.places**2

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean over the places that are features, in raster order for each channel."""
        return adaptive_avg_pool2d(maps, self.places).flatten(1)
