"""CorrAE's and DistAE's terms, Gaussian terms and triplets: golden values, limits, gradients, world sizes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.testing import assert_close

from coview import parallel
from coview.objectives.paired import paired_correlation, relative_distance, squared_error
from coview.objectives.triplet import hardest_triplets
from coview.objectives.variational import draw, gaussian_kl

STORED = np.load(Path(__file__).parents[1] / "golden" / "dcca-loss.npz")
DCCA = {name: torch.from_numpy(np.asarray(value)) for name, value in STORED.items()}
X, Y = (DCCA[name][:, : int(DCCA["peer_dim"])] for name in ("H1", "H2"))
LABEL = torch.arange(64) % 5


def test_golden():
    assert_close(-paired_correlation(X, Y), DCCA["corrae_term"], rtol=0, atol=1e-9)
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    value = relative_distance(x, y)
    value.backward()
    assert_close(value.detach(), DCCA["distae_term"], rtol=0, atol=1e-9)
    assert_close(x.grad, DCCA["distae_g1"], rtol=0, atol=1e-10)
    assert_close(y.grad, DCCA["distae_g2"], rtol=0, atol=1e-10)


def test_limits_of_correlation():
    assert_close(paired_correlation(X, 3 * X + 1).item(), 6.0)
    assert_close(paired_correlation(X, -X).item(), -6.0)
    still = X.clone().requires_grad_()
    value = paired_correlation(still * 0, Y)
    value.backward()
    assert value == 0
    assert still.grad.isfinite().all()


def test_limits_of_distance():
    assert relative_distance(X, X) == 0
    assert_close(relative_distance(X, -X).item(), 2.0)
    assert_close(relative_distance(5 * X, 5 * Y), relative_distance(X, Y))


def test_squared_error_sums_over_everything_a_row_holds():
    assert squared_error(torch.zeros(2, 3, 4), torch.ones(2, 3, 4)).tolist() == [12.0, 12.0]


def test_gaussian_terms():
    mean, log_variance = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    ours = torch.distributions.Normal(mean, (log_variance / 2).exp())
    unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    assert_close(gaussian_kl(mean, log_variance), torch.distributions.kl_divergence(ours, unit).sum(1))
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    kl = gaussian_kl(zero, zero)
    kl.sum().backward()
    assert kl.tolist() == [0.0, 0.0]
    assert not zero.grad.any()
    assert_close(draw(mean, log_variance, torch.ones_like(mean)), mean + ours.stddev)


def test_triplets():
    angle = torch.tensor([0.0, 0.4, 1.0, 2.0], dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    label = torch.tensor([0, 0, 1, 1])
    loss = hardest_triplets(x, x, label, 0.3)
    # The first anchor: its furthest partner of the class is at 0.4, its nearest stranger at 1.0.
    assert_close(loss[0].item(), max(0.0, 0.3 + (1 - math.cos(0.4)) - (1 - math.cos(1.0))))
    assert_close(loss[2].item(), 0.3 + (1 - math.cos(1.0)) - (1 - math.cos(0.6)))
    assert hardest_triplets(x, x, torch.zeros(4, dtype=torch.int64), 0.3).tolist() == [0.0] * 4


@pytest.mark.parametrize("function", [paired_correlation, relative_distance])
def test_gradcheck(function):
    assert torch.autograd.gradcheck(function, [v[:8, :3].clone().requires_grad_() for v in (X, Y)])


def share(sizes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    x, y = X[own].clone().requires_grad_(), Y[own].clone().requires_grad_()
    triplets = parallel.mean_over_world(hardest_triplets(x, y, LABEL[own], 0.4))
    terms = torch.stack([paired_correlation(x, y), relative_distance(x, y), triplets])
    terms.sum().backward()
    return terms.detach(), x.grad, y.grad


@pytest.mark.parametrize("sizes", [[32, 32], [16, 16, 16, 16], [30, 0, 14, 20]])
def test_world_size(sizes):
    expected, world = share([64]), len(sizes)
    results = worlds.run(world, share, sizes)
    assert_close(sum(result[0] for result in results) / world, expected[0], rtol=0, atol=1e-10)
    for place in (1, 2):
        joined = torch.cat([result[place] for result in results]) / world
        assert_close(joined, expected[place], rtol=0, atol=1e-10)
