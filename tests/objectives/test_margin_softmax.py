"""Masked margin softmax and clusters by the cosine: published MCN values, limits, processes, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.objectives.cosine_clusters import cluster_loss, cosine_lloyd, nearest_by_cosine
from coview.objectives.margin_softmax import margin_softmax

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "mcn.npz").items()
}


@pytest.mark.parametrize("case", [0, 1, 2])
def test_margin_softmax_golden(case):
    scores = GOLDEN[f"mms{case}_S"].clone().requires_grad_()
    margin = float(np.float32(GOLDEN[f"mms{case}_margin"]))  # the reference holds the margin in float32
    loss = margin_softmax(scores, torch.eye(len(scores), dtype=torch.float64), margin).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), GOLDEN[f"mms{case}_loss"], rtol=1e-9, atol=0)
    torch.testing.assert_close(scores.grad, GOLDEN[f"mms{case}_grad"], rtol=0, atol=1e-10)


def test_whole_loss_golden():
    views = {name: GOLDEN[name].clone().requires_grad_() for name in ("video", "audio", "text")}
    v, a, t = views.values()
    # The fixture's margin is the reference's, held in float32.
    margin = float(np.float32(0.001))
    contrast = sum(margin_softmax(*pair, margin).mean() for pair in ((t, v), (a, t), (a, v)))
    fused = torch.stack([v, a, t]).mean(0).detach()
    points = GOLDEN["km_points"]
    torch.testing.assert_close(points[-len(fused) :], fused, rtol=1e-12, atol=0)
    label, centroids = GOLDEN["km_labels"][-len(fused) :], GOLDEN["km_centroids"]
    clusters = torch.stack([cluster_loss(x, centroids, label).mean() for x in views.values()]).mean()
    (contrast + clusters).backward()
    torch.testing.assert_close(contrast.detach(), GOLDEN["loss_mms"], rtol=1e-8, atol=0)
    torch.testing.assert_close(clusters.detach(), GOLDEN["loss_cluster"], rtol=1e-8, atol=0)
    torch.testing.assert_close((contrast + clusters).detach(), GOLDEN["loss_total"], rtol=1e-8, atol=0)
    for name, x in views.items():
        torch.testing.assert_close(x.grad, GOLDEN[f"grad_{name}"], rtol=1e-6, atol=1e-8)


def test_lloyd_golden():
    labels, centroids = cosine_lloyd(GOLDEN["km_points"], GOLDEN["km_init"], int(GOLDEN["km_iters"]), 1e-4)
    assert torch.equal(labels, GOLDEN["km_labels"])
    torch.testing.assert_close(centroids, GOLDEN["km_centroids"], rtol=1e-9, atol=0)
    assert torch.equal(nearest_by_cosine(GOLDEN["km_points"], centroids), GOLDEN["km_reassign"])


def test_empty_clusters_take_the_points_that_fit_worst():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.7, 0.7], [0.0, 1.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0], [-1.0, -1.0], [-1.0, -0.9]], dtype=torch.float64)
    labels, centroids = cosine_lloyd(points, start)
    assert labels.bincount(minlength=3).min() > 0
    assert labels[3] != labels[0] != labels[4]
    assert centroids.isfinite().all()


def test_limits():
    nothing = torch.zeros(5, 3, dtype=torch.float64)
    value = margin_softmax(nothing, nothing, 0.0)
    torch.testing.assert_close(value, torch.full_like(value, 2 * math.log(5)))
    x = torch.randn(5, 3, dtype=torch.float64)
    one = torch.randn(1, 3, dtype=torch.float64)
    assert not cluster_loss(x, one, torch.zeros(5, dtype=torch.int64)).any()
    equal = cluster_loss(x, one.expand(7, -1), torch.arange(5), margin=0.0)
    torch.testing.assert_close(equal, torch.full_like(equal, math.log(7)))


def test_views_may_be_exchanged_and_a_common_shift_changes_nothing():
    x, y = torch.randn(2, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(margin_softmax(x, y, 0.1), margin_softmax(y, x, 0.1))
    wide_x = torch.cat([x, torch.ones(6, 1).double()], 1)
    wide_y = torch.cat([y, torch.full((6, 1), 3.0).double()], 1)  # all products grow by 3
    torch.testing.assert_close(margin_softmax(wide_x, wide_y, 0.1), margin_softmax(x, y, 0.1))


def on_a_rank(x, y, sizes):
    start = sum(sizes[: parallel.rank()])
    share = slice(start, start + sizes[parallel.rank()])
    x, y = (part[share].requires_grad_() for part in (x, y))
    loss = parallel.mean_over_world(margin_softmax(x, y, 0.1))
    loss.backward()
    return loss.detach(), x.grad, y.grad


@pytest.mark.parametrize("sizes", [[4, 4], [3, 0, 4, 1]])
def test_processes_equal_one(sizes):
    x, y = torch.randn(2, 8, 4, dtype=torch.float64)
    expected = on_a_rank(x.clone(), y.clone(), [8])
    results = worlds.run(len(sizes), on_a_rank, x, y, sizes)
    torch.testing.assert_close(sum(result[0] for result in results) / len(sizes), expected[0])
    for index in (1, 2):
        torch.testing.assert_close(torch.cat([result[index] for result in results]) / len(sizes), expected[index])


def test_gradchecks():
    x, y = (torch.randn(4, 3, dtype=torch.float64).requires_grad_() for _ in "xy")
    assert torch.autograd.gradcheck(lambda x, y: margin_softmax(x, y, 0.1), (x, y))
    centroids, label = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 4, 2, 2])
    assert torch.autograd.gradcheck(lambda x: cluster_loss(x, centroids, label, 0.1), (x,))
