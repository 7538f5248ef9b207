"""Hypercolumns: their length, the activations themselves at a layer's own places, and gradients that sum to one."""

import pytest
import torch
from torch.testing import assert_close

from coview.encoders import build_image
from coview.encoders.hypercolumns import channels_of, hypercolumns


def test_vgg_16_has_12417_channels_with_the_picture():
    with torch.device("meta"):
        net = build_image("vgg-16", 1)
        assert 1 + channels_of(net, 1) == 12_417
        maps = net.eval().feature_maps(torch.empty(1, 1, 352, 352))
    strides = {name: 352 // value.shape[2] for name, value in maps.items()}
    assert len(maps) == 15
    assert [strides[name] for name in ("conv1_2", "conv2_1", "conv3_3", "conv4_1", "conv5_3", "fc6", "fc7")] == [
        1, 2, 4, 8, 16, 32, 32
    ]  # fmt: skip
    assert sum(p.numel() for p in net.parameters()) == 134_246_976


def test_counting_channels_leaves_no_trace():
    net = build_image("image-tiny", 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert channels_of(net, 1) == 16 + 32 + 64 + 128
    assert net.training
    assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_at_a_layers_own_places_they_are_the_activations():
    maps = [torch.randn(2, 3, 32, 32), torch.randn(2, 5, 8, 8), torch.randn(2, 4, 1, 1)]
    places = torch.tensor([[[0, 0], [4, 8], [28, 12]], [[16, 16], [0, 28], [8, 4]]])
    found = hypercolumns(maps, places, 32)
    assert found.shape == (2, 3, 12)
    for sample in range(2):
        for number, (row, column) in enumerate(places[sample].tolist()):
            expected = [maps[0][sample, :, row, column], maps[1][sample, :, row // 4, column // 4]]
            assert_close(found[sample, number], torch.cat([*expected, maps[2][sample, :, 0, 0]]))


@pytest.mark.parametrize("place", [[5, 7], [31, 31], [30.5, 2.25]])
def test_a_place_is_a_mean_of_four_cells(place):
    values = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    hypercolumns([values], torch.tensor([[place]]), 32).sum().backward()
    assert_close(values.grad.sum((2, 3)), torch.ones(1, 3, dtype=torch.float64))
    assert ((values.grad != 0).sum((2, 3)) <= 4).all()


def test_gradient():
    values = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    places = torch.tensor([[[3, 9], [15, 0]]])
    assert torch.autograd.gradcheck(lambda x: hypercolumns([x], places, 16), values)
