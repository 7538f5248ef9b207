"""Holes, the error in them, the two players' losses, the channel-wise layer: golden values, limits, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.data.source import sample_keys
from coview.encoders.channelwise import ChannelwiseLinear
from coview.objectives.inpainting import (
    block_masks,
    border_weight,
    centre_mask,
    free_masks,
    hole_error,
    real_or_made,
    taken_for_real,
)

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "context-encoder.npz").items()
}
KEYS = sample_keys(0, 0, torch.arange(256))


def filled_layer():
    layer = ChannelwiseLinear(3, (4, 4)).double()
    layer.load_state_dict({"weight": GOLDEN["cfc_w"], "bias": GOLDEN["cfc_b"]})
    return layer


def test_golden_channelwise_layer():
    assert_close(filled_layer()(GOLDEN["cfc_x"]), GOLDEN["cfc_y"], rtol=0, atol=1e-9)


def test_golden_counts():
    with torch.device("meta"):
        for channels, side, narrow, full in GOLDEN["param_counts_m_n_cfc_full"].tolist():
            layer = ChannelwiseLinear(channels, (side, side))
            assert layer.weight.numel() == narrow
            assert layer.bias.numel() == channels * side**2
            assert full == narrow * channels


def test_golden_masks_and_weights():
    assert torch.equal(centre_mask(32, 4), GOLDEN["centre_mask"].bool())
    assert_close(border_weight(16, 4).double(), GOLDEN["overlap_weight_centre"])


def test_golden_losses_and_gradient():
    pred, target, share = GOLDEN["pred"].clone().requires_grad_(), GOLDEN["target"], GOLDEN["wtl2"]
    everywhere = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    assert_close(hole_error(target, pred, everywhere, "picture").mean(), GOLDEN["mse"], rtol=0, atol=1e-9)
    weighted = (border_weight(16, 4).double() * (pred - target).square()).mean()
    assert_close(weighted, GOLDEN["mse_weighted"], rtol=0, atol=1e-9)
    adversary = taken_for_real(3 * pred.mean((1, 2, 3))).mean()
    assert_close(adversary, GOLDEN["adv_g"], rtol=0, atol=1e-9)
    total = share * weighted + (1 - share) * adversary
    total.backward()
    assert_close(total.detach(), GOLDEN["total_weighted"], rtol=0, atol=1e-9)
    assert_close(pred.grad, GOLDEN["grad"], rtol=0, atol=1e-9)


def test_golden_error_in_the_hole():
    x, out, mask = GOLDEN["m_x"], GOLDEN["m_out"], GOLDEN["m_mask"].bool()
    assert_close(hole_error(x, out, mask, "sum").sum(), GOLDEN["masked_l2_sum"], rtol=0, atol=1e-9)
    assert_close(hole_error(x, out, mask, "picture").mean(), GOLDEN["masked_l2_mean_all"], rtol=0, atol=1e-9)
    holes = mask.flatten(1).sum(1).double()
    mean = (hole_error(x, out, mask, "hole") * holes).sum() / holes.sum()
    assert_close(mean, GOLDEN["masked_l2_mean_masked"], rtol=0, atol=1e-9)


def test_nothing_outside_the_hole_counts_and_no_hole_costs_nothing():
    x, out = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[0, :, 2:5, 3:6] = True
    out.requires_grad_()
    hole_error(x, out, mask).sum().backward()
    assert torch.equal(out.grad != 0, mask.expand_as(out))
    assert hole_error(x, out, mask)[1] == 0
    changed = torch.where(mask, x, 7.0)
    assert_close(hole_error(changed, out, mask), hole_error(x, out, mask))
    unread = torch.where(mask, out.detach(), math.nan)
    assert hole_error(x, unread, mask).isfinite().all(), "what lies outside may be anything"


def test_players_that_cannot_tell():
    zero = torch.zeros(3)
    assert_close(real_or_made(zero, zero), torch.full((3,), 2 * math.log(2)))
    assert_close(taken_for_real(zero), torch.full((3,), math.log(2)))
    extreme = torch.tensor([-1e4, 1e4])
    assert real_or_made(extreme, extreme).isfinite().all()
    logits = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: real_or_made(value, 2 * value), logits)
    assert torch.autograd.gradcheck(taken_for_real, logits)


def test_gradient_of_the_hole():
    x, mask = torch.rand(2, 2, 4, 4, dtype=torch.float64), torch.rand(2, 1, 4, 4) < 0.5
    out = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    for normalise in ("sum", "picture", "hole"):
        assert torch.autograd.gradcheck(lambda value, how=normalise: hole_error(x, value, mask, how), out)


@pytest.mark.parametrize("size", [64, 128])
def test_shares_of_the_masks(size):
    assert centre_mask(size).float().mean() == 0.25
    assert int(centre_mask(size, 7).sum()) == (size // 2 - 14) ** 2
    blocks = block_masks(KEYS, 0, size).float().mean((1, 2))
    assert blocks.min() > 0
    assert blocks.max() <= 0.25
    free = free_masks(KEYS, 0, size).float().mean((1, 2))
    assert free.min() > 0.199
    assert free.max() < 0.301
    assert abs(free.mean() - 0.25) < 0.01
    assert torch.equal(free_masks(KEYS[9:12], 0, size), free_masks(KEYS, 0, size)[9:12])


def test_the_layer_mixes_places_and_keeps_channels_apart():
    layer = filled_layer()
    impulse = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    reached = layer(impulse)
    impulse[0, 1, 0, 3] = 1.0
    moved = layer(impulse) != reached
    assert moved[0, 1].all()
    assert not moved[0, [0, 2]].any()
    order = [2, 0, 1]
    turned = ChannelwiseLinear(3, (4, 4)).double()
    turned.load_state_dict({name: value[order] for name, value in layer.state_dict().items()})
    assert_close(turned(GOLDEN["cfc_x"][:, order]), layer(GOLDEN["cfc_x"])[:, order])
    same = ChannelwiseLinear(3, (4, 4)).double()
    same.load_state_dict({"weight": torch.eye(16).repeat(3, 1, 1), "bias": torch.zeros(3, 16)})
    assert_close(same(GOLDEN["cfc_x"]), GOLDEN["cfc_x"])
