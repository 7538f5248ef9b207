"""t-SNE: the gradient is that of the divergence, perplexities are met, maps are as near as those of scikit-learn."""

import math

import pytest
import torch
from sklearn.manifold import TSNE

from coview.evaluation.tsne import conditional, gradient_of, tsne


def distances(x):
    return (x[:, None] - x[None]).square().sum(2)


def divergence(together, y):
    near = (1 / (1 + distances(y))).fill_diagonal_(0)
    others = ~torch.eye(len(y), dtype=torch.bool)
    p = together[others]
    return (p * (p / (near / near.sum())[others]).log()).sum()


def joint(x, perplexity):
    p = conditional(distances(x), perplexity)
    return ((p + p.T) / (2 * len(x))).clamp(min=1e-12)


@pytest.fixture
def points():
    noise = torch.randn(60, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return noise + 4 * torch.eye(16, dtype=torch.float64)[torch.arange(60) % 3]


def test_rows_have_the_perplexity(points):
    p = conditional(distances(points), 12.0)
    torch.testing.assert_close(p.sum(1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(torch.special.entr(p).sum(1), torch.full((60,), math.log(12.0), dtype=torch.float64))
    assert (p.diagonal() == 0).all()


def test_the_gradient_is_that_of_the_divergence(points):
    p = joint(points, 12.0)
    p = (p / p.fill_diagonal_(0).sum()).clamp(min=0)
    y = torch.randn(60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    near = 1 / (1 + distances(y))
    q = near / (near.sum() - len(y))
    others = ~torch.eye(60, dtype=torch.bool)
    (p[others] * (p[others] / q[others]).log()).sum().backward()
    torch.testing.assert_close(gradient_of(y.detach(), p), y.grad)


def test_a_map_is_as_good_as_that_of_scikit_learn(points):
    ours = tsne(points, 15.0)
    theirs = torch.from_numpy(TSNE(perplexity=15.0, init="pca", random_state=0).fit_transform(points.numpy()))
    p = joint(points, 15.0)
    assert divergence(p, ours.double()) < 1.05 * divergence(p, theirs.double())
    assert ours.shape == (60, 2) and ours.isfinite().all() and torch.equal(ours, tsne(points, 15.0))
    nearest = distances(ours).fill_diagonal_(math.inf).argmin(1)
    assert float((nearest % 3 == torch.arange(60) % 3).float().mean()) > 0.9


def test_points_that_are_all_the_same_have_a_map():
    assert tsne(torch.ones(20, 8), 6.0).isfinite().all()
