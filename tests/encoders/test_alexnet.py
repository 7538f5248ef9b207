"""AlexNet of the colour systems: golden sizes of its maps and probes, and halves that hold half of the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.encoders import build_image
from coview.encoders.alexnet import AlexNet
from coview.encoders.decoders import Placewise
from coview.evaluation.stages import Stage

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "split-brain.npz")
HEAD = ((4096, 6), (4096, 1))


def weights(*modules):
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)


def test_golden_sizes_in_training():
    with torch.device("meta"):
        net = build_image("alexnet").eval()
        maps = net.feature_maps(torch.empty(1, 3, 180, 180))
        head = Placewise(net.dim, 313, HEAD).eval()
        said = [layer.shape[2] for layer in _through(head, maps["pool5"])[::3]]
    assert [180, *(value.shape[2] for value in maps.values()), *said] == GOLDEN["alexnet_pretrain_sizes_180"].tolist()


def _through(layers, x):
    found = []
    for layer in layers:
        x = layer(x)
        found.append(x)
    return found


def test_golden_sizes_and_probes_in_evaluation():
    with torch.device("meta"):
        maps = AlexNet(padded=False).eval().feature_maps(torch.empty(1, 3, 227, 227))
    assert [227, *(value.shape[2] for value in maps.values())] == GOLDEN["alexnet_eval_sizes_227"].tolist()
    for (name, value), side, dim in zip(maps.items(), GOLDEN["probe_side"], GOLDEN["probe_dim"], strict=True):
        pooled = Stage(name=name, pooling="mean", grid=(int(side), int(side))).pool(torch.zeros(value.shape))
        assert pooled.shape == (1, dim)


def test_two_halves_hold_half_of_the_weights():
    with torch.device("meta"):
        whole, half = AlexNet(3), AlexNet(3, share=0.5)
        heads = Placewise(256, 313, HEAD), Placewise(128, 313, ((2048, 6), (2048, 1)))
    assert weights(whole) == 3_745_824
    kept = [f"conv{number}" for number in range(2, 6)]
    one = weights(*(whole.get_submodule(name) for name in kept), *list(heads[0])[:-1])
    other = weights(*(half.get_submodule(name) for name in kept), *list(heads[1])[:-1])
    assert 2 * (2 * other) == one
    assert 2 * half.dim == whole.dim


def test_golden_groups_are_two_halves():
    x, weight, y = (torch.from_numpy(GOLDEN[name]) for name in ("x", "w_group2", "y"))
    halves = []
    for number in range(2):
        conv = torch.nn.Conv2d(2, 3, 3, bias=False).double()
        conv.weight.data.copy_(weight.chunk(2)[number])
        halves.append(conv(x.chunk(2, 1)[number]))
    assert_close(torch.cat(halves, 1).detach(), y, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("hidden", "doublings", "side"), [((), 0, 5), (((8, 3),), 2, 20), (((8, 6), (4, 1)), 1, 10)])
def test_numbers_of_every_place(hidden, doublings, side):
    head = Placewise(6, 7, hidden, doublings)
    assert head(torch.randn(2, 6, 5, 5)).shape == (2, 7, side, side)
    assert head.eval()(torch.zeros(0, 6, 5, 5)).shape == (0, 7, side, side)
