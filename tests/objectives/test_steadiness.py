"""Slow and steady terms: golden values (tests/golden/steady-features.npz), known sequences, collapse, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.steadiness import contrast, moments, slow, steady

GOLDEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "steady-features.npz").items()
}
DELTA, LAM, LAM_PRIME = (float(GOLDEN[name]) for name in ("delta", "lam", "lam_prime"))


def terms(z, distance):
    pairs = slow(*z[GOLDEN["pairs"].long()].unbind(1), GOLDEN["p_pairs"] > 0, DELTA, distance)
    triples = steady(*z[GOLDEN["triples"].long()].unbind(1), GOLDEN["p_triples"] > 0, DELTA, distance)
    return pairs, triples


@pytest.mark.parametrize("distance", ["l2", "sq", "l1"])
def test_terms_sums_and_gradients_are_the_known_ones(distance):
    z = GOLDEN["z"].clone().requires_grad_()
    pairs, triples = terms(z, distance)
    total = LAM * (pairs.sum() + LAM_PRIME * triples.sum())
    known = {"R2_terms": pairs, "R3_terms": triples, "R2": pairs.sum(), "R3": triples.sum(), "Ru": total}
    for name, value in known.items():
        torch.testing.assert_close(value, GOLDEN[f"{name}_{distance}"], rtol=0, atol=1e-10)
    if distance != "l1":
        (gradient,) = torch.autograd.grad(total, z)
        torch.testing.assert_close(gradient, GOLDEN[f"grad_numeric_{distance}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("distance", ["l2", "sq", "l1"])
def test_a_straight_line_is_steady(distance):
    line = GOLDEN["line"]
    every = steady(line[:-2], line[1:-1], line[2:], True, DELTA, distance)
    torch.testing.assert_close(every.sum(), GOLDEN["line_R3_positive_sum"], rtol=0, atol=1e-10)


def test_known_sequences():
    v, t = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), torch.arange(9, dtype=torch.float64)[:, None]
    j, k = moments(9, 4)[0].T
    distances = slow(t[j] * v, t[k] * v, True, 1.0, "l2")
    torch.testing.assert_close(distances, (k - j) * v.norm())
    for step in (1, 2, 4):
        l, m, n = ((t**2 * v)[at : len(t) - 2 * step + at] for at in (0, step, 2 * step))  # noqa: E741
        found = steady(l, m, n, True, 1.0, "sq")
        torch.testing.assert_close(found, ((2 * step**2) ** 2 * v.square().sum()).expand_as(found))
    torch.testing.assert_close(steady(n, m, l, True, 1.0, "l2"), steady(l, m, n, True, 1.0, "l2"))  # either way round


@pytest.mark.parametrize("distance", ["l2", "sq", "l1", "drlim"])
@pytest.mark.parametrize("together", [True, False])
def test_gradients_are_those_of_differences(distance, together):
    generator = torch.Generator().manual_seed(0)
    vectors = [(0.4 * torch.randn(5, 3, dtype=torch.float64, generator=generator)).requires_grad_() for _ in range(3)]
    margin = 9.0  # every term is at work
    assert torch.autograd.gradcheck(lambda j, k, _: slow(j, k, together, margin, distance), vectors)
    assert torch.autograd.gradcheck(lambda l, m, n: steady(l, m, n, together, margin, distance), vectors)  # noqa: E741


def test_drlim_squares_both_terms_and_is_a_fourth_loss():
    a, b = torch.zeros(2, 2), torch.tensor([[0.3, 0.4], [3.0, 4.0]])
    torch.testing.assert_close(contrast(a, b, True, 2.0, "drlim"), torch.tensor([0.25, 25.0]))
    torch.testing.assert_close(contrast(a, b, False, 2.0, "drlim"), torch.tensor([2.25, 0.0]))
    torch.testing.assert_close(contrast(a, b, False, 2.0, "sq"), torch.tensor([1.75, 0.0]))
    torch.testing.assert_close(contrast(a, b, False, 2.0, "l2"), torch.tensor([1.5, 0.0]))


@pytest.mark.parametrize("distance", ["l2", "sq", "l1", "drlim"])
def test_beyond_the_margin_nothing_pulls_and_within_it_pushes(distance):
    a = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    b = torch.tensor([[0.1, 0.2], [3.0, 4.0]])
    (apart,) = torch.autograd.grad(contrast(a, b, False, 1.0, distance).sum(), a)
    (near,) = torch.autograd.grad(contrast(a, b, True, 1.0, distance).sum(), a)
    assert not apart[1].any() and (apart[0] * near[0]).sum() < 0


@pytest.mark.parametrize("distance", ["l2", "sq", "l1", "drlim"])
def test_frames_that_are_the_same_have_a_gradient_of_zero(distance):
    z = torch.ones(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(slow(z[:2], z[2:], True, 1.0, distance).sum(), z)
    assert torch.equal(gradient, torch.zeros(4, 3))


def test_without_negatives_constant_features_are_perfect_and_with_them_not():
    z = torch.ones(6, 2)
    assert slow(z, z, True, 1.0, "l2").sum() == 0 and steady(z, z, z, True, 1.0, "l2").sum() == 0
    assert slow(z, z, False, 1.0, "l2").sum() == 6 and steady(z, z, z, False, 1.0, "l2").sum() == 6


def test_white_features_have_differences_of_two_and_six():
    z = torch.randn(3, 20000, 8, generator=torch.Generator().manual_seed(0))
    assert slow(z[0], z[1], True, 1.0, "sq").mean() == pytest.approx(2 * 8, rel=0.02)
    assert steady(*z, True, 1.0, "sq").mean() == pytest.approx(6 * 8, rel=0.02)


def test_half_precision_is_widened_before_differences_are_taken():
    z = torch.tensor([[100.0], [100.5], [101.0]]).bfloat16()
    assert steady(*z, True, 1.0, "l2").dtype == torch.float32


def test_moments_of_a_clip():
    pairs, triplets = moments(5, 1)
    assert len(pairs) == 10 and triplets.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert moments(5, 9)[1].tolist()[3:] == [[0, 2, 4]]
    assert moments(2, 1)[1].shape == (0, 3)
