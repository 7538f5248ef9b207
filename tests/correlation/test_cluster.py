"""Cluster-CCA: golden values, the pair loop, limits, partners permuted within classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from coview.correlation.cca import CCA
from coview.correlation.cluster import ClusterCCA
from coview.errors import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "supervised-dcca.npz")
X, Y, LABELS = (GOLDEN[name] for name in ("X", "Y", "y"))
RIDGE, COMPONENTS = float(GOLDEN["r"]), int(GOLDEN["k"])
SHARES = {"pair": 1.0, "cluster": 0.0, "mixed": float(GOLDEN["beta"])}


def precision(queries, gallery, query_labels, gallery_labels):
    unit = [scores / np.linalg.norm(scores, axis=1, keepdims=True) for scores in (queries, gallery)]
    similarity = unit[0] @ unit[1].T
    hits = query_labels[:, None] == gallery_labels
    return np.mean([average_precision_score(hit, row) for hit, row in zip(hits, similarity, strict=True)])


@pytest.mark.parametrize("form", SHARES)
def test_golden(form):
    model = ClusterCCA(COMPONENTS, beta=SHARES[form], ridge=RIDGE).fit([X, Y], LABELS)
    np.testing.assert_allclose(model.spectrum_, GOLDEN[f"{form}_sv"], atol=1e-9)
    np.testing.assert_allclose(model.weights_[0], GOLDEN[f"{form}_Wx"], atol=1e-8)
    np.testing.assert_allclose(model.weights_[1], GOLDEN[f"{form}_Wy"], atol=1e-8)
    x, y = model.transform([GOLDEN["X_test"], GOLDEN["Y_test"]])
    labels = GOLDEN["y_test"]
    both = [precision(x, y, labels, labels), precision(y, x, labels, labels)]
    np.testing.assert_allclose(both, GOLDEN[f"{form}_map"], atol=1e-12)


def test_strict_form_is_the_pair_loop():
    x, y = X - X.mean(0), Y - Y.mean(0)
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if LABELS[i] == LABELS[j]]
    left, right = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    blocks = [a.T @ b / len(pairs) for a, b in ((x[left], x[left]), (x[left], y[right]), (y[right], y[right]))]
    roots = [np.linalg.inv(np.linalg.cholesky(block + RIDGE * np.eye(8))) for block in (blocks[0], blocks[2])]
    values = np.linalg.svd(roots[0] @ blocks[1] @ roots[1].T, compute_uv=False)
    model = ClusterCCA(COMPONENTS, beta=0.0, ridge=RIDGE, strict=True).fit([X, Y], LABELS)
    np.testing.assert_allclose(model.spectrum_, values, atol=1e-10)


def test_limits():
    np.testing.assert_allclose(
        ClusterCCA(2, beta=1.0, ridge=0.1).fit([X, Y], LABELS).weights_[0], CCA(2, ridge=0.1).fit(X, Y).weights_[0]
    )
    alone = ClusterCCA(2, beta=0.0, ridge=0.1).fit([X, Y], np.arange(len(X)))
    pairs = CCA(2, ridge=0.1).fit(X, Y).singular_values_ * (len(X) - 1) / len(X)
    np.testing.assert_allclose(alone.singular_values_, pairs, atol=1e-12)
    one = ClusterCCA(2, beta=0.0).fit([X, Y], np.zeros(len(X)))
    np.testing.assert_allclose(one.singular_values_, 0.0, atol=1e-12)
    tensors = [torch.from_numpy(X), torch.from_numpy(Y)]
    words = ClusterCCA(2).fit(tensors, [f"class {label}" for label in LABELS])
    np.testing.assert_allclose(words.weights_[0], ClusterCCA(2).fit([X, Y], LABELS).weights_[0], atol=1e-12)


def test_partners_permuted_within_classes():
    """Ten classes and strong nuisance: cluster-CCA does not see the permutation, CCA is left with the class means."""
    draw = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    shared = draw.normal(size=(1000, 4))
    latent = np.hstack([0.7 * draw.normal(size=(10, 3))[labels], shared])
    x, y = (latent @ draw.normal(size=(7, 12)) + draw.normal(size=(1000, 12)) for _ in "xy")
    partner = np.arange(1000)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        partner[rows] = draw.permutation(rows)
    before, after = (ClusterCCA(3, beta=0.0).fit([x, other], labels) for other in (y, y[partner]))
    np.testing.assert_allclose(after.singular_values_, before.singular_values_, atol=1e-12)
    np.testing.assert_allclose(after.weights_[1], before.weights_[1], atol=1e-10)
    paired, broken = CCA(7).fit(x, y), CCA(7).fit(x, y[partner])
    assert paired.correlations_[6] > 0.3
    assert broken.correlations_[6] < 0.15


def test_errors():
    with pytest.raises(InputError, match="labels"):
        ClusterCCA(2).fit([X, Y])
    with pytest.raises(InputError, match="60 labels for 120 rows"):
        ClusterCCA(2).fit([X, Y], LABELS[:60])
    with pytest.raises(InputError, match="beta is 2"):
        ClusterCCA(2, beta=2).fit([X, Y], LABELS)
