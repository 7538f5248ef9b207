"""Rescaling by data: golden values, what is computed stays as it was, what cannot be scaled is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from coview.encoders.alexnet import AlexNet
from coview.encoders.rescaling import absorb_batchnorm, balance, normalise_within
from coview.errors import UsageError

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "magic-init.npz").items()
}
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def _network(when="before"):
    layers = [nn.Conv2d(3, 6, 5, 2), nn.Conv2d(6, 8, 3), nn.Linear(128, 10)]
    for number, layer in enumerate(layers):
        layer.double().load_state_dict({"weight": GOLDEN[f"w{number}_{when}"], "bias": GOLDEN[f"b{number}_{when}"]})
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.Flatten(), layers[2])


def test_golden_balance():
    network, x = _network(), GOLDEN["x"].double()
    assert_close(network(x).detach(), GOLDEN["y_before"], **CLOSE)
    gradients = GOLDEN["top_grads"]
    found = balance(network, x, iterations=len(gradients), tolerance=0, gradient=lambda number, _: gradients[number])
    assert_close(found.ratios, GOLDEN["ratios"], **CLOSE)
    assert_close(found.output_std, GOLDEN["output_std"], **CLOSE)
    for number, place in enumerate((0, 2, 5)):
        assert_close(network[place].weight.detach(), GOLDEN[f"w{number}_after"], **CLOSE)
        assert_close(network[place].bias.detach(), GOLDEN[f"b{number}_after"], **CLOSE)
    after = network(x).detach()
    assert_close(after, GOLDEN["y_after"], **CLOSE)
    assert_close(after / GOLDEN["y_before"], (after / GOLDEN["y_before"])[:1, :1].expand_as(after), rtol=1e-8, atol=0)


def test_golden_fresh_layer():
    layer = nn.Conv2d(3, 6, 5, 2).double()
    layer.load_state_dict({"weight": GOLDEN["wl_w_raw"], "bias": torch.randn(6).double()})
    normalise_within(layer, GOLDEN["x"].double())
    assert_close(layer.weight.detach(), GOLDEN["wl_w"], **CLOSE)
    assert_close(layer.bias.detach(), GOLDEN["wl_b"], **CLOSE)
    out = layer(GOLDEN["x"].double()).detach().transpose(0, 1).flatten(1)
    assert_close(out.mean(1), torch.full((6,), 0.1).double())
    assert_close(out.std(1, correction=0), torch.ones(6).double())
    with pytest.raises(UsageError, match="no bias"):
        normalise_within(nn.Linear(3, 2, bias=False), torch.rand(4, 3))


def test_five_orders_of_magnitude_are_brought_together():
    torch.manual_seed(0)
    network = _network()
    x = torch.rand(32, 3, 16, 16).double()
    before = network(x).detach()
    found = balance(network, x, tolerance=0)
    spread = found.ratios.amax(1) / found.ratios.amin(1)
    assert float(spread[0]) > 1e4 and float(spread[-1]) < 2  # what is left is noise of the drawn gradients
    assert float(found.output_std[-1]) == pytest.approx(1, abs=0.05)
    factor = network(x).detach() / before
    assert_close(factor, factor.mean().expand_as(factor), rtol=1e-8, atol=0)
    again = balance(network, x, tolerance=0.5)
    assert len(again.ratios) < 10 and len(again.output_std) == len(again.ratios) + 1


def test_absorbed_batch_normalisation_computes_the_same():
    torch.manual_seed(0)
    network = AlexNet(3, share=0.125)
    network(torch.rand(8, 3, 64, 64))
    network.eval()
    x = torch.rand(2, 3, 64, 64)
    before = {name: maps.detach() for name, maps in network.feature_maps(x).items()}
    with pytest.raises(UsageError, match=r"conv1\.1: a BatchNorm2d"):
        balance(network, x)
    assert absorb_batchnorm(network) == 5 and absorb_batchnorm(network) == 0
    for name, maps in network.feature_maps(x).items():
        assert_close(maps.detach(), before[name], rtol=1e-4, atol=1e-5)
    chain = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3)).double()
    chain(torch.rand(16, 4).double())
    chain.eval()
    rows = torch.rand(5, 4).double()
    expected = chain(rows).detach()
    assert absorb_batchnorm(chain) == 1
    assert_close(chain(rows).detach(), expected)


def test_a_batch_normalisation_that_keeps_nothing_is_left():
    chain = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert absorb_batchnorm(chain) == 0
