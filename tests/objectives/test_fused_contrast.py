"""Terms of CLOVEN: golden values (tests/golden/cloven.npz), known cases, what changes nothing, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.encoders.residual_fusion import GroupHead, ResidualFusion, normalised_perceptron
from coview.objectives.fused_contrast import (
    closeness_to_corners,
    divergence_clustering,
    gaussian_kernel,
    group_contrast,
    imbalance,
    off_diagonal_mean,
    pair_contrast,
    separation,
)
from coview.objectives.variation_weights import next_course, no_course, variation_weights

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "cloven.npz").items()
}
T = float(GOLDEN["temperature"])
VIEWS = [GOLDEN[f"hp.{view}"].double() for view in (0, 1)]
SAID = [GOLDEN[f"h_cluster_logits.{view}"].double().softmax(1) for view in (0, 1)]


def same(found, name):
    torch.testing.assert_close(found, GOLDEN[name], rtol=0, atol=1e-9)


def test_contrast_of_samples_golden():
    fused = GOLDEN["zp"].double().requires_grad_()
    each = [pair_contrast(fused, view, T).mean() for view in VIEWS]
    between = pair_contrast(*VIEWS, T).mean()
    same(sum(each), "inst_sum")
    same(sum(each) / 2, "inst_mean_over_views")
    same(between, "inst_views_only")
    same(sum(each) + between, "inst_sum_symmetric")
    same(sum(pair_contrast(fused, view, T, unit=True).mean() for view in VIEWS), "inst_sum_l2normalised")
    same(torch.autograd.grad(sum(each), fused)[0], "grad_zp_inst_sum")


def test_contrast_and_balance_of_groups_golden():
    fused = GOLDEN["z_cluster_logits"].double().softmax(1).requires_grad_()
    contrast = sum(group_contrast(fused, said, T) for said in SAID)
    balance = sum(imbalance(fused) + imbalance(said) for said in SAID)
    same(contrast, "cluster_contrast_part")
    same(balance, "cluster_entropy_part")
    same(contrast + balance, "cluster_sum")
    same((contrast + balance) / 2, "cluster_mean_over_views")
    same(torch.autograd.grad(contrast + balance, fused)[0], "grad_p_cluster_sum")


def test_geometry_golden():
    hidden, said = GOLDEN["ddc_hidden"].double(), GOLDEN["z_cluster_logits"].double().softmax(1)
    kernel = gaussian_kernel(hidden)
    same(kernel, "ddc_kernel")
    same(separation(said, kernel), "ddc_l1")
    same(off_diagonal_mean(said.T @ said), "ddc_l2_flipped")
    same(off_diagonal_mean(said @ said.T), "ddc_l2_plain")
    same(separation(closeness_to_corners(said), kernel), "ddc_l3")
    same(divergence_clustering(hidden, said), "ddc_total")
    plain = GOLDEN["ddc_total"] - GOLDEN["ddc_l2_flipped"] + GOLDEN["ddc_l2_plain"]
    torch.testing.assert_close(divergence_clustering(hidden, said, over_samples=True), plain, rtol=0, atol=1e-9)


def test_fusion_golden():
    ours = {
        "fusion.map_layer": "join", "fusion.fusion_modules": "blocks", "linear1": "wide", "linear2": "back",
        "linear3": "narrow", "linear4": "forth", "fusion.norm": "norm",
    }  # fmt: skip
    weights = {}
    for theirs, value in GOLDEN.items():
        if theirs.startswith("fusion."):
            name = theirs
            for old, new in ours.items():
                name = name.replace(old, new)
            weights[name] = value
    fusion = ResidualFusion(2, 16, 2)
    fusion.load_state_dict(weights)
    fusion.double()
    same(fusion.eval()(VIEWS), "fusion_out_eval")
    same(fusion.train()(VIEWS), "fusion_out_train")


def test_weights_of_losses_golden():
    course = no_course(3)
    for losses, weights, total in zip(GOLDEN["cov_losses"], GOLDEN["cov_alphas"], GOLDEN["cov_weighted"], strict=True):
        found = variation_weights(course)
        torch.testing.assert_close(found, weights, rtol=0, atol=1e-4)
        torch.testing.assert_close((found * losses).sum().double(), total, rtol=0, atol=1e-4)
        course = next_course(course, losses)
    torch.testing.assert_close(course[1], GOLDEN["cov_losses"].mean(0))


def test_known_cases():
    groups = 5
    sure = torch.eye(groups, dtype=torch.float64).repeat(4, 1)
    known = math.log(1 + (2 * groups - 2) * math.exp(-1 / T))
    assert float(group_contrast(sure, sure, T)) == pytest.approx(known, abs=1e-9)
    assert float(imbalance(sure)) == pytest.approx(0, abs=1e-12)
    assert float(off_diagonal_mean(sure.T @ sure)) == 0
    flat = torch.full((7, groups), 1 / groups, dtype=torch.float64)
    assert float(group_contrast(flat, flat, T)) == pytest.approx(math.log(2 * groups - 1), abs=1e-9)
    assert float(imbalance(flat)) == pytest.approx(0, abs=1e-12)
    alike = torch.ones(6, 3, dtype=torch.float64)
    torch.testing.assert_close(pair_contrast(alike, alike, T), torch.full((6,), math.log(11), dtype=torch.float64))


def test_an_empty_group_is_the_worst_balance_and_has_a_gradient():
    lopsided = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    cost = imbalance(lopsided)
    (gradient,) = torch.autograd.grad(cost, lopsided)
    assert float(cost.detach()) == pytest.approx(math.log(2)) and gradient.isfinite().all()


def test_vectors_that_are_all_alike_keep_the_geometry_finite():
    hidden = torch.ones(6, 4, requires_grad=True)
    cost = divergence_clustering(hidden, torch.randn(6, 3).softmax(1))
    (gradient,) = torch.autograd.grad(cost, hidden)
    assert cost.isfinite() and not gradient.any()


def test_order_of_samples_names_of_groups_and_turns_change_nothing():
    generator = torch.Generator().manual_seed(0)
    order, names = torch.randperm(8, generator=generator), torch.randperm(5, generator=generator)
    turn = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64, generator=generator))[0]
    fused, hidden = GOLDEN["zp"].double(), GOLDEN["ddc_hidden"].double()
    a, b = GOLDEN["z_cluster_logits"].double().softmax(1), SAID[0]
    losses = pair_contrast(fused, VIEWS[0], T)
    torch.testing.assert_close(pair_contrast(fused[order] @ turn, VIEWS[0][order] @ turn, T), losses[order])
    torch.testing.assert_close(pair_contrast(VIEWS[0], fused, T), losses)
    changed = [assigned[order][:, names] for assigned in (a, b)]
    torch.testing.assert_close(group_contrast(*changed, T), group_contrast(a, b, T))
    torch.testing.assert_close(imbalance(changed[0]), imbalance(a))
    for over_samples in (False, True):
        found = divergence_clustering(3 * hidden[order] + 1, changed[0], over_samples)
        torch.testing.assert_close(found, divergence_clustering(hidden, a, over_samples))


def test_gradients_are_those_of_differences():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: pair_contrast(x, y, T), (x, y))
    assert torch.autograd.gradcheck(lambda x, y: pair_contrast(x, y, T, unit=True), (x, y))
    assert torch.autograd.gradcheck(lambda x, y: group_contrast(x.softmax(1), y.softmax(1), T), (x, y))
    assert torch.autograd.gradcheck(lambda x: imbalance(x.softmax(1)), (x,))
    assert torch.autograd.gradcheck(lambda y: separation(y.softmax(1), GOLDEN["ddc_kernel"][:5, :5]), (y,))
    kernel = gaussian_kernel(x).detach()
    assert torch.autograd.gradcheck(lambda y: separation(closeness_to_corners(y.softmax(1)), kernel), (y,))
    # The kernel's width is held fixed, which no difference shows.
    squares = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square().detach()
    (found,) = torch.autograd.grad(gaussian_kernel(x).sum(), x)
    by_hand = -2 * (kernel[:, :, None] * (x[:, None] - x).detach()).sum(1) / (0.15 * squares.median())
    torch.testing.assert_close(found, by_hand)


def test_half_precision_is_widened():
    fused, view = GOLDEN["zp"].bfloat16(), GOLDEN["hp.0"].bfloat16()
    assert pair_contrast(fused, view, T).dtype == torch.float32
    assert gaussian_kernel(fused).dtype == imbalance(view.float().softmax(1).bfloat16()).dtype == torch.float32


def test_heads():
    hidden, shares = GroupHead(16, 8, 5)(VIEWS[0].float())
    assert hidden.shape == (8, 8)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    projector = normalised_perceptron((16, 16, 16, 4))
    assert projector.dim == 4 and projector(VIEWS[0].float()).mean(0).abs().max() < 1e-5
    assert [type(layer).__name__ for layer in projector][-2:] == ["Linear", "BatchNorm1d"]
