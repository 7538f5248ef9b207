"""Robust CCA: golden optima of both forms, limits, invariances, and what it is for: gross errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.correlation.cca import CCA
from coview.correlation.lowrank import explain, project_jointly, separate, shrink_singular_values, soft
from coview.correlation.robust import RobustCCA
from coview.errors import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "robust-cca.npz")


def golden(name):
    return torch.from_numpy(np.array(GOLDEN[name]))


def nuclear(x):
    return float(torch.linalg.matrix_norm(x, "nuc"))


def projection_objective(x, y, p, q, l1, l2, mu):
    errors = l1 * (x - x @ p.T).abs().sum() + l2 * (y - y @ q.T).abs().sum()
    return nuclear(p) + nuclear(q) + float(errors + mu / 2 * (x @ p.T - y @ q.T).square().sum())


def test_projection_golden():
    x, y = golden("small_X").T.contiguous(), golden("small_Y").T.contiguous()
    l1, l2, mu = (float(GOLDEN[f"small_{name}"]) for name in ("l1", "l2", "mu"))
    found = project_jointly(x, y, (l1, l2), mu)
    value, best = projection_objective(x, y, *found.maps, l1, l2, mu), float(GOLDEN["small_obj_cvx"])
    assert best - 1e-7 <= value <= best * (1 + 1e-5)
    torch.testing.assert_close(found.maps[0], golden("small_P"), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.maps[1], golden("small_Q"), rtol=0, atol=1e-5)
    identity = torch.eye(8, dtype=torch.float64)
    for name, end in (("zero", 0 * identity), ("identity", identity)):
        expected = float(GOLDEN[f"small_obj_at_{name}"])
        assert projection_objective(x, y, end, end, l1, l2, mu) == pytest.approx(expected)
    assert found.history[-1].max() < 1e-7 < found.history[0].max()


def test_joint_golden():
    joined = torch.cat([golden("joint_X").T, golden("joint_Y").T], dim=1)
    sparsity = float(GOLDEN["joint_lambda"])
    found = separate(joined, sparsity)
    value, best = nuclear(found.low_rank) + sparsity * float(found.errors.abs().sum()), float(GOLDEN["joint_obj"])
    assert best - 1e-5 <= value <= best * (1 + 1e-5)
    torch.testing.assert_close(found.low_rank.T, golden("joint_L"), rtol=0, atol=1e-4)
    halves = found.low_rank.split(16, dim=1)
    correlations = CCA(4, ridge=float(GOLDEN["joint_ridge"])).fit(list(halves)).singular_values_
    np.testing.assert_allclose(correlations, GOLDEN["joint_cca_corr"], atol=1e-3)


@pytest.mark.slow
def test_limits_of_the_projection_form():
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 3, dtype=torch.float64, generator=draw) for _ in "xy")
    x, y = x @ torch.randn(3, 6, dtype=torch.float64, generator=draw), y @ torch.randn(3, 6, dtype=torch.float64)
    whole = project_jointly(x, y, (1e3, 1e3), 0.0)
    projector = torch.linalg.svd(x, full_matrices=False)[2][:3]
    torch.testing.assert_close(whole.maps[0], projector.T @ projector, rtol=0, atol=1e-4)
    # Without coupling a view's map does not depend on the other view, nor on its weight.
    alone, other = project_jointly(x, y, (0.1, 0.1), 0.0), project_jointly(x, -2 * x, (0.1, 0.3), 0.0)
    torch.testing.assert_close(alone.maps[0], other.maps[0], rtol=0, atol=1e-4)
    nothing = project_jointly(x, y, (1e-4, 1e-4), 0.0)
    torch.testing.assert_close(nothing.maps[0], torch.zeros(6, 6, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30), (8, 7)])
def test_proximal_maps(shape):
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    expected = u * (s - 2).clamp(min=0) @ vt
    torch.testing.assert_close(shrink_singular_values(x, 2.0), expected)
    torch.testing.assert_close(soft(torch.tensor([-3.0, -1.0, 0.5, 2.0]), 1.0), torch.tensor([-2.0, 0.0, 0.0, 1.0]))


def factors(rows, share, seed=0, dim=20):
    """3 shared and 2 private factors, uniform errors of up to 6 deviations in a share of the cells."""
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(rows, 3))
    views = []
    for _ in "xy":
        latent = np.hstack([shared, draw.normal(size=(rows, 2))])
        view = latent @ draw.normal(size=(5, dim))
        view = view / view.std(0) + 0.05 * draw.normal(size=(rows, dim))
        bad = draw.random(view.shape) < share
        views.append(np.where(bad, view + draw.uniform(-6, 6, size=view.shape), view))
    return shared, views


def recovered(model, views, shared):
    """Mean squared canonical correlation of the true factors with those found."""
    scores = np.hstack(model.transform(views))[:, : model.n_components]
    return float((CCA(3).fit(shared, scores).correlations_ ** 2).mean())


def test_gross_errors():
    """The decisive experiment: 5 % of the cells at 6 deviations."""
    shared, views = factors(300, 0.05)
    plain = CCA(3).fit(views)
    robust = RobustCCA(3).fit(views)
    assert recovered(plain, views, shared) < 0.85
    clean = CCA(3, ridge=1e-3).fit(robust.clean_)
    assert recovered(clean, robust.clean_, shared) > 0.99
    np.testing.assert_allclose(robust.clean_[0] + robust.errors_[0], views[0], atol=1e-9)
    assert robust.history_.shape == (robust.n_iter_, 2)
    # Rows that were not there in training.
    shared, views = factors(600, 0.05)
    robust = RobustCCA(3).fit([view[:300] for view in views])
    new = [view[300:] for view in views]
    assert recovered(robust, robust.clean(new), shared[300:]) > recovered(robust, new, shared[300:]) + 0.1
    assert recovered(robust, robust.clean(new), shared[300:]) > 0.98


def test_without_errors_robust_is_plain():
    shared, views = factors(300, 0.0)
    np.testing.assert_allclose(RobustCCA(3).fit(views).correlations_, CCA(3).fit(views).correlations_, atol=1e-2)
    projected = RobustCCA(3, form="projection").fit(views)
    assert recovered(projected, views, shared) > 0.99


def test_invariances():
    _, views = factors(200, 0.05)
    model = RobustCCA(2).fit(views)
    order = np.random.default_rng(0).permutation(200)
    mixed = RobustCCA(2).fit([view[order] for view in views])
    np.testing.assert_allclose(mixed.singular_values_, model.singular_values_, rtol=1e-6)
    flipped = [3 - views[0], views[1] * 10]
    moved = RobustCCA(2).fit(flipped)
    np.testing.assert_allclose(moved.singular_values_, model.singular_values_, rtol=1e-6)
    ours, theirs = moved.transform(flipped)[0], model.transform(views)[0]
    np.testing.assert_allclose(ours * np.sign((ours * theirs).sum(0)), theirs, atol=1e-4)


def test_explain_is_a_least_absolute_fit():
    draw = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(30, 3, dtype=torch.float64, generator=draw))[0]
    truth = torch.randn(50, 3, dtype=torch.float64, generator=draw) @ basis.T
    rows = truth.clone()
    rows[torch.rand(50, 30, generator=draw) < 0.1] += 20
    torch.testing.assert_close(explain(rows, basis), truth, rtol=0, atol=1e-4)


def test_errors():
    _, views = factors(50, 0.0)
    with pytest.raises(InputError, match="reduce both by PCA"):
        RobustCCA(2, form="projection").fit([views[0], views[1][:, :10]])
    with pytest.raises(InputError, match="'joint' or 'projection'"):
        RobustCCA(2, form="both").fit(views)
    with pytest.warns(Warning, match="raise max_iter"):
        RobustCCA(2, max_iter=5).fit(views)
