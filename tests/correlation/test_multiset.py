"""GCCA and MCCA: golden values, the two-view limits, invariances."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.correlation.cca import CCA
from coview.correlation.multiset import GCCA, MCCA
from coview.errors import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "cca.npz")
VIEWS = [GOLDEN[f"train{view}"] for view in range(3)]
SHRINKAGE = tuple(float(c) for c in GOLDEN["gcca_c"])


def test_gcca_golden():
    model = GCCA(4, shrinkage=SHRINKAGE).fit(VIEWS)
    np.testing.assert_allclose(model.eigenvalues_, GOLDEN["gcca_eig"], atol=1e-10)
    shared = model.shared(VIEWS)
    signs = np.sign((shared * GOLDEN["gcca_T"]).sum(0))  # the file's signs follow T, ours the first view's weights
    np.testing.assert_allclose(shared * signs, GOLDEN["gcca_T"], atol=1e-8)
    for view, weights in enumerate(model.weights_):
        np.testing.assert_allclose(weights * signs, GOLDEN[f"gcca_W{view}"], atol=1e-8)
    as_tensor = model.shared([torch.from_numpy(view) for view in VIEWS])
    np.testing.assert_allclose(as_tensor.numpy(), shared, atol=1e-12)


def test_mcca_golden():
    model = MCCA(4, shrinkage=SHRINKAGE).fit(VIEWS)
    np.testing.assert_allclose(model.eigenvalues_, GOLDEN["mcca_eig"], atol=1e-10)


def test_two_views_are_cca():
    pair, cca = VIEWS[:2], CCA(4).fit(*VIEWS[:2])
    np.testing.assert_allclose(GCCA(4).fit(pair).eigenvalues_, 1 + cca.singular_values_, atol=1e-10)
    model = MCCA(4).fit(pair)
    np.testing.assert_allclose(model.eigenvalues_, cca.singular_values_, atol=1e-10)
    for ours, theirs in zip(model.weights_, cca.weights_, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    np.testing.assert_allclose(model.correlations_, cca.correlations_, atol=1e-10)


@pytest.mark.parametrize("kind", [GCCA, MCCA])
def test_invariances(kind):
    model = kind(3).fit(VIEWS)
    draw = np.random.default_rng(0)
    turned = [view @ draw.normal(size=(view.shape[1],) * 2) + 7 for view in VIEWS]
    np.testing.assert_allclose(kind(3).fit(turned).eigenvalues_, model.eigenvalues_, atol=1e-9)
    np.testing.assert_allclose(kind(3).fit(VIEWS[::-1]).eigenvalues_, model.eigenvalues_, atol=1e-10)
    same = kind(3).fit([VIEWS[0]] * 4)
    np.testing.assert_allclose(same.correlations_, 1.0, atol=1e-10)
    np.testing.assert_allclose(same.eigenvalues_, 4 if kind is GCCA else 3, atol=1e-9)


def test_view_weights():
    equal, doubled = GCCA(2).fit(VIEWS), GCCA(2, view_weights=[2.0, 2.0, 2.0]).fit(VIEWS)
    np.testing.assert_allclose(doubled.eigenvalues_, 2 * equal.eigenvalues_, atol=1e-10)
    np.testing.assert_allclose(doubled.shared(VIEWS), equal.shared(VIEWS), atol=1e-9)
    # The same view twice is the view with double weight.
    twice, heavy = GCCA(2).fit([VIEWS[0], *VIEWS]), GCCA(2, view_weights=[2.0, 1.0, 1.0]).fit(VIEWS)
    np.testing.assert_allclose(twice.eigenvalues_, heavy.eigenvalues_, atol=1e-9)
    with pytest.raises(InputError, match="3 numbers"):
        GCCA(2, view_weights=[1.0, 1.0]).fit(VIEWS)
