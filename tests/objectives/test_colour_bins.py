"""The 313 colours, soft labels, weights and decoders: golden values, limits, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.objectives.colour import srgb_to_lab
from coview.objectives.colour_bins import (
    EXCEPTIONS,
    annealed_mean,
    colour_bins,
    colour_loss,
    colourful,
    lightness_bins,
    mean_colour,
    rarity,
    smoothed_prior,
    soft_labels,
)


def stored(name):
    values = np.load(Path(__file__).parents[1] / "golden" / f"{name}.npz")
    return {key: torch.from_numpy(np.asarray(value)) for key, value in values.items()}


GOLDEN, SPLIT = stored("colorization"), stored("split-brain")
BINS = colour_bins().double()


def places(ab):
    return ab.movedim(1, -1).reshape(-1, 2)


def test_golden_bins_by_their_rule():
    assert torch.equal(colour_bins().long(), GOLDEN["pts"].long())
    assert colour_bins().sum(0).tolist() == [4910, 2090]
    assert colour_bins()[120].tolist() == [0, 0]
    assert sorted(EXCEPTIONS) == sorted(map(tuple, GOLDEN["corner_rule_exceptions"].tolist()))


def test_no_colour_inside_the_cube_lies_in_a_cell_that_its_faces_miss():
    inner = torch.arange(3, 255, 7) / 255
    rgb = torch.stack(torch.meshgrid(inner, inner, inner, indexing="ij"), -1).reshape(-1, 3).double()
    ab = srgb_to_lab(rgb)[:, 1:]
    cells = torch.floor(ab / 10).long().unique(dim=0) * 10
    known = set(map(tuple, colour_bins().long().tolist()))
    corners = {(a + i, b + j) for a, b in cells.tolist() for i in (0, 10) for j in (0, 10)}
    assert {node for node in corners if max(map(abs, node)) <= 110} <= known
    nearest = (torch.round(ab / 10).long().unique(dim=0)[:, None] * 10 == colour_bins().long()).all(-1)
    assert nearest.any(1).all()
    assert not (nearest.any(0) & ~GOLDEN["reachable_as_nearest"]).any()


@pytest.mark.parametrize("image", ["img", "mix"])
@pytest.mark.parametrize("count", [1, 5, 10])
def test_golden_soft_labels(image, count):
    index, weight = soft_labels(places(GOLDEN[f"{image}_ab"]), BINS, count)
    clear = ~GOLDEN[f"{image}_tie_K{count}"]
    dense, expected = torch.zeros(len(index), 313).double(), torch.zeros(len(index), 313).double()
    dense.scatter_(1, index, weight)
    name = f"{image}_enc_K{count}_s5"
    expected.scatter_(1, GOLDEN[f"{name}_idx"].long(), GOLDEN[f"{name}_w"])
    assert clear.any()
    assert_close(dense[clear], expected[clear], rtol=0, atol=1e-6)
    decoded = places(GOLDEN[f"{image}_dec_K{count}_s5"])
    assert_close(mean_colour(index, weight, BINS)[clear], decoded[clear], rtol=0, atol=1e-5)


def test_golden_decoders():
    for temperature in (1, 0.77, 0.58, 0.38, 0.29, 0.14, 0.01):
        found = annealed_mean(GOLDEN["logits"], BINS, temperature)
        assert_close(found, GOLDEN[f"annealed_T{temperature:g}"], rtol=0, atol=1e-6)
    assert_close(BINS[GOLDEN["logits"].argmax(1)], GOLDEN["mode"])


def test_golden_weights():
    for mixed in (0, 0.5, 1):
        assert_close(rarity(GOLDEN["prior"], mixed), GOLDEN[f"w_prior_lam{mixed:g}"], rtol=0, atol=1e-6)
    for mixed in (0.5, 1):
        found = rarity(GOLDEN["prior_with_zeros"], mixed)
        assert_close(found, GOLDEN[f"w_prior_with_zeros_lam{mixed:g}"], rtol=0, atol=1e-6)


def test_golden_loss_and_gradient():
    logits = GOLDEN["ce_logits"].clone().requires_grad_()
    index, weight = soft_labels(places(GOLDEN["ce_ab"]), BINS, 10)
    importance = GOLDEN["ce_v"].flatten()
    assert_close(rarity(GOLDEN["prior"])[index[:, 0]], importance, rtol=0, atol=1e-6)
    flat = logits.movedim(1, -1).reshape(-1, 313)
    assert_close(colour_loss(flat, index, weight).sum().detach(), GOLDEN["ce_unweighted_sum"], rtol=0, atol=1e-6)
    loss = colour_loss(flat, index, weight, importance).sum()
    loss.backward()
    assert_close(loss.detach(), GOLDEN["ce_weighted_sum"], rtol=0, atol=1e-5)
    assert_close(logits.grad.float(), GOLDEN["ce_grad_sum_reduction"], rtol=0, atol=1e-6)


def test_golden_greys_and_split_brain_labels():
    assert torch.equal(colourful(GOLDEN["gray_ab"]), GOLDEN["gray_mask"].bool())
    assert torch.equal(lightness_bins(SPLIT["L"]), SPLIT["L_bin50"].long())
    assert_close(2.0 * lightness_bins(SPLIT["L"]).double() + 1, SPLIT["L_bin_centre"])
    assert torch.equal(soft_labels(SPLIT["ab"], BINS, 1)[0][:, 0], SPLIT["ab_bin_nearest"].long())


def test_there_and_back():
    ab = srgb_to_lab(torch.rand(2000, 3, dtype=torch.float64, generator=torch.manual_seed(0)))[:, 1:]
    for count, mean in ((5, 0.3), (10, 0.3)):
        error = (mean_colour(*soft_labels(ab, BINS, count), BINS) - ab).norm(dim=1)
        assert error.mean() < mean
        assert error.max() < 0.8
    node = torch.tensor([[20.0, 30.0]], dtype=torch.float64)
    assert_close(mean_colour(*soft_labels(node, BINS), BINS), node)
    assert_close(soft_labels(node, BINS)[1][0, :2], torch.tensor([0.64879, 0.08780]).double(), rtol=0, atol=1e-5)


def test_ties_go_to_the_lower_number_and_order_changes_nothing():
    index, _ = soft_labels(torch.tensor([[25.0, 35.0]], dtype=torch.float64), BINS, 4)
    assert index[0].tolist() == sorted(index[0].tolist())
    order = torch.randperm(313, generator=torch.manual_seed(1))
    ab, logits = places(GOLDEN["mix_ab"])[20:], torch.randn(40, 313, dtype=torch.float64)
    plain = colour_loss(logits, *soft_labels(ab, BINS, 3))
    moved = colour_loss(logits[:, order], *soft_labels(ab, BINS[order], 3))
    assert_close(moved, plain)


def test_weights_of_a_prior():
    prior = smoothed_prior(places(GOLDEN["img_ab"]), BINS)
    assert_close(prior.sum(), torch.tensor(1.0).double())
    assert_close(rarity(prior, 1.0), torch.ones(313).double())
    for mixed in (0.1, 0.5, 0.9):
        weight = rarity(prior, mixed)
        assert weight.isfinite().all()
        assert_close((prior * weight).sum(), torch.tensor(1.0).double())


def test_gradient_is_weighted_softmax_minus_label_and_large_scores_stay_finite():
    logits = torch.randn(3, 313, dtype=torch.float64, requires_grad=True)
    index, weight = soft_labels(places(GOLDEN["mix_ab"])[30:33], BINS)
    importance = torch.tensor([1.0, 2.0, 0.0]).double()
    assert torch.autograd.gradcheck(lambda value: colour_loss(value, index, weight, importance), logits)
    colour_loss(logits, index, weight, importance).sum().backward()
    label = torch.zeros(3, 313).double().scatter_(1, index, weight)
    assert_close(logits.grad, importance[:, None] * (logits.detach().softmax(1) - label))
    assert annealed_mean(1e4 * logits.detach().half(), BINS).isfinite().all()
    two = torch.full((1, 313), -1e9)
    two[0, 5], two[0, 200] = np.log(0.6), np.log(0.4)
    share = torch.softmax(two / 0.38, 1)
    assert_close(share[0, 5], torch.tensor(0.744), rtol=0, atol=1e-3)


@pytest.mark.parametrize("count", [1, 5, 10])
def test_many_colours_have_the_neighbours_that_each_has_alone(count):
    generator = torch.Generator().manual_seed(0)
    lattice = (torch.rand(300, 2, generator=generator) * 200 - 100).div(5).round() * 5  # ties
    far = torch.randn(300, 2, generator=generator) * 200
    colours = srgb_to_lab(torch.rand(600, 3, generator=generator))[:, 1:]
    ab = torch.cat([lattice, far, colours])
    parts = [soft_labels(part, BINS, count) for part in torch.split(ab, 50)]  # too few for cells
    for whole, each in zip(soft_labels(ab, BINS, count), zip(*parts, strict=True), strict=True):
        assert_close(whole, torch.cat(each), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_among_many_colours_one_that_is_not_finite_spoils_itself_alone(value):
    ab = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * 100 - 50
    index, _ = soft_labels(ab, BINS)
    ab[7, 1] = value
    found, weight = soft_labels(ab, BINS)
    others = torch.arange(1000) != 7
    assert bool(weight[7].isnan().all()) and torch.equal(found[others], index[others])
