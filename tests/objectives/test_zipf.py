"""Zipf's law of clusters: golden values (tests/golden/elo.npz), known cases, what changes nothing, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.errors import UsageError
from coview.objectives.zipf import divergence, posterior, zipf, zipf_divergence, zipf_fit

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "elo.npz").items()
}
X, CENTROIDS, S = GOLDEN["x"].double(), GOLDEN["centroids"].double(), float(GOLDEN["s"])


def same(found, name):
    torch.testing.assert_close(found, GOLDEN[name], rtol=0, atol=1e-9)


def test_golden():
    given = posterior(X, CENTROIDS)
    shares = given.mean(0)
    counts = torch.bincount(given.argmax(1), minlength=len(CENTROIDS)).double() / len(X)
    same(given, "p_given_x")
    same(shares, "p_clusters")
    same(zipf(len(CENTROIDS), S), "zipf")
    same(zipf_divergence(shares, S), "kl_soft_sorted")
    same(zipf_divergence(counts, S), "kl_hard_sorted")
    same(zipf_divergence(torch.full_like(shares, 1 / len(shares)), S), "kl_uniform")
    same(divergence(shares, zipf(len(shares), S)), "kl_soft_unsorted")


def test_golden_in_float32():
    torch.testing.assert_close(
        posterior(X.float(), CENTROIDS.float()).double(), GOLDEN["p_given_x"], rtol=1e-4, atol=1e-6
    )


def test_known_values():
    assert 1 / float(zipf(10)[0]) == pytest.approx(2.9289683, abs=1e-7)
    uniform = torch.full((10,), 0.1, dtype=torch.float64)
    closed = math.log(2.9289682539682538) - math.log(10) + math.lgamma(11) / 10
    assert float(zipf_divergence(uniform)) == pytest.approx(closed, abs=1e-12) == pytest.approx(0.2825064, abs=1e-7)
    assert float(zipf_divergence(zipf(7, 1.3).flip(0), 1.3)) == pytest.approx(0, abs=1e-12)
    p = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(0)
    entropy = -float((p * p.log()).sum())
    assert float(zipf_divergence(p, 0.0)) == pytest.approx(math.log(6) - entropy)  # to Zipf's law without a slope


def test_which_cluster_is_which_does_not_matter_and_empty_ones_are_finite():
    p = posterior(X, CENTROIDS).mean(0)
    assert float(zipf_divergence(p.flip(0))) == pytest.approx(float(zipf_divergence(p)))
    assert float(zipf_divergence(torch.tensor([1.0, 0.0, 0.0]))) == pytest.approx(-math.log(6 / 11))


def test_gradient():
    x = X[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: zipf_divergence(posterior(x, CENTROIDS / 4).mean(0)), (x / 4,))


def clouds(counts, dim=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return 20 * torch.randn(len(counts), dim, generator=draw)[label] + torch.randn(
        len(label), dim, generator=draw
    ), label


def test_clusters_of_zipfs_sizes_are_fitter_than_equal_ones():
    fit, even = (zipf_fit(clouds(counts)[0], 4) for counts in ([120, 60, 40, 30], [60, 60, 60, 60]))
    assert fit.hard < 0.001 < 0.1 < even.hard and fit.soft < 0.05 < even.soft


def test_the_scale_and_the_place_of_every_number_change_nothing():
    x = clouds([50, 20, 10])[0].double()
    turned = x * torch.tensor([1e-3, 1.0, 7.0, -1.0, 1e4]) + 5
    assert zipf_fit(turned, 3).soft == pytest.approx(zipf_fit(x, 3).soft, rel=1e-6)


def test_features_that_are_all_one_have_a_finite_fit_and_others_are_refused():
    assert math.isfinite(zipf_fit(torch.ones(30, 4), 5).soft)
    with pytest.raises(UsageError, match="not finite"):
        zipf_fit(torch.full((30, 4), torch.nan), 5)
    with pytest.raises(UsageError, match="at least as many"):
        zipf_fit(torch.randn(3, 4), 5)
