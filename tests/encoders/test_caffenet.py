"""Sizes of Caffe's AlexNet and of the form that looks at patches: maps and numbers of weights as published."""

import pytest
import torch
from torch import nn

from coview.encoders import build_image

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")


@pytest.mark.parametrize(
    ("name", "size", "sides", "weights", "dim"),
    [
        ("caffenet", 227, (55, 27, 27, 13, 13, 13, 13, 6), (34944, 307456, 885120, 663936, 442624), 256),
        ("caffenet-pool5", 227, (55, 27, 27, 13, 13, 13, 13, 6), (34944, 307456, 885120, 663936, 442624), 9216),
        ("caffenet-batchnorm", 227, (55, 27, 27, 13, 13, 13, 13, 6), (35040, 307712, 885504, 664320, 442880), 9216),
        ("caffenet-patches", 96, (24, 12, 12, 6, 6, 6, 6, 3), (34944, 614656, 884736, 1327104, 884736), 2304),
    ],
)
def test_published_sizes(name, size, sides, weights, dim):
    with torch.device("meta"):
        net = build_image(name)
        maps = net.feature_maps(torch.empty(2, 3, size, size))
        assert net.pool(maps["pool5"]).shape == (2, dim)
    assert tuple(m.shape[-1] for m in maps.values()) == sides
    assert tuple(sum(p.numel() for p in net.get_submodule(layer).parameters()) for layer in CONVS) == weights
    assert net.dim == dim


def test_features_of_a_patch_are_its_last_map_and_no_layer_has_a_scale():
    net = build_image("caffenet-patches", 1).eval()
    x = torch.randn(2, 1, 96, 96)
    assert torch.equal(net(x), net.feature_maps(x)["pool5"].flatten(1))
    assert not any(p.ndim == 1 for layer in CONVS[2:] for p in net.get_submodule(layer).parameters())
    assert net(torch.randn(2, 1, 160, 160)).shape == (2, 2304)


def test_no_pictures_are_no_features():
    assert build_image("caffenet").eval()(torch.zeros(0, 3, 227, 227)).shape == (0, 256)


def test_normalisation_is_caffes():
    local = build_image("caffenet").pool1[1]
    assert isinstance(local, nn.LocalResponseNorm)
    assert (local.size, local.alpha, local.beta, local.k) == (5, 1e-4, 0.75, 1.0)
