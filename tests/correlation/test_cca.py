"""CCA: golden values in every form, invariances, limits, degenerate views, scikit-learn's checks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from coview.correlation.cca import CCA
from coview.correlation.kernel import KernelCCA
from coview.correlation.kernel_features import KernelFeatureCCA
from coview.correlation.multiset import GCCA, MCCA
from coview.correlation.robust import RobustCCA
from coview.errors import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "cca.npz")
X, Y = GOLDEN["train0"], GOLDEN["train1"]
FORMS = {
    "cca": {},
    "ridge": {"ridge": (float(GOLDEN["ridge_rx"]), float(GOLDEN["ridge_ry"]))},
    "shrink": {"shrinkage": tuple(float(c) for c in GOLDEN["shrink_c"])},
    "pls": {"shrinkage": 1.0},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["numpy", "torch", "list"])
def test_golden(form, kind):
    views = (X, Y) if kind != "torch" else (torch.from_numpy(X), torch.from_numpy(Y))
    model = CCA(4, **FORMS[form])
    model = model.fit(list(views)) if kind == "list" else model.fit(*views)
    values = GOLDEN["cca_corr"] if form == "cca" else GOLDEN[f"{form}_sv"]
    np.testing.assert_allclose(model.spectrum_, values, atol=1e-10)
    np.testing.assert_allclose(model.weights_[0], GOLDEN[f"{form}_Wx"], atol=1e-8)
    np.testing.assert_allclose(model.weights_[1], GOLDEN[f"{form}_Wy"], atol=1e-8)
    if form != "pls":
        held_out = model.held_out_correlations(GOLDEN["test0"], GOLDEN["test1"])
        np.testing.assert_allclose(held_out, GOLDEN[f"{form}_test_corr"], atol=1e-10)
        assert model.score(GOLDEN["test0"], GOLDEN["test1"]) == pytest.approx(held_out.mean())


def test_golden_scores_in_the_kind_that_came_in():
    model = CCA(4).fit(X, Y)
    scores = model.transform(GOLDEN["test0"], GOLDEN["test1"])
    for score, name in zip(scores, "xy", strict=True):
        np.testing.assert_allclose(score, GOLDEN[f"cca_test_scores_{name}"], atol=1e-8)
    tensor = model.transform([None, torch.from_numpy(GOLDEN["test1"]).float()])[1]
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), scores[1], atol=1e-5)
    assert model.transform(GOLDEN["test0"].astype(np.float32)).dtype == np.float32


def test_invariances():
    model = CCA(4).fit(X, Y)
    np.testing.assert_allclose(model.correlations_, model.singular_values_, atol=1e-12)
    draw = np.random.default_rng(0)
    turned = CCA(4).fit(X @ draw.normal(size=(12, 12)) + 5, Y @ draw.normal(size=(9, 9)) * 100)
    np.testing.assert_allclose(turned.spectrum_, model.spectrum_, atol=1e-10)
    order = draw.permutation(len(X))
    np.testing.assert_allclose(CCA(4).fit(X[order], Y[order]).weights_[0], model.weights_[0], atol=1e-10)
    swapped = CCA(4).fit(Y, X)
    signs = np.sign((swapped.weights_[1] * model.weights_[0]).sum(0))
    np.testing.assert_allclose(swapped.weights_[1] * signs, model.weights_[0], atol=1e-10)
    np.testing.assert_allclose(CCA(12).fit(X, X).spectrum_, 1.0, atol=1e-10)
    scores = model.transform(X, Y)
    np.testing.assert_allclose(np.cov(np.hstack(scores).T)[:4, :4], np.eye(4), atol=1e-10)
    np.testing.assert_allclose(np.cov(np.hstack(scores).T)[:4, 4:], np.diag(model.singular_values_), atol=1e-10)


def test_both_regularised_forms_share_directions_but_not_values():
    c, r = 0.2, 0.25
    shrunk, ridged = CCA(4, shrinkage=c).fit(X, Y), CCA(4, ridge=r).fit(X, Y)
    np.testing.assert_allclose(shrunk.spectrum_ * (1 - c), ridged.spectrum_, atol=1e-12)
    np.testing.assert_allclose(shrunk.weights_[0] * (1 - c) ** 0.5, ridged.weights_[0], atol=1e-12)
    np.testing.assert_allclose(shrunk.correlations_, ridged.correlations_, atol=1e-12)


def test_dependent_and_constant_columns_change_nothing():
    model = CCA(4).fit(GOLDEN["rankdef_X"], Y)
    np.testing.assert_allclose(model.spectrum_, GOLDEN["rankdef_corr"], atol=1e-10)
    assert model.ranks_ == (int(GOLDEN["rankdef_rank"]), 9)
    assert all(np.isfinite(weight).all() for weight in model.weights_)
    odd = np.hstack([X, X[:, :1], np.full((len(X), 1), 0.1), 1e-6 * X[:, 1:2]])
    plain, model = CCA(4).fit(X, Y), CCA(4).fit(odd, Y)
    np.testing.assert_allclose(model.spectrum_, plain.spectrum_, atol=1e-10)
    np.testing.assert_allclose(model.transform(odd, Y), plain.transform(X, Y), atol=1e-8)


def test_fewer_rows_than_columns_is_said():
    with pytest.warns(RuntimeWarning, match="9 rows for views of"):
        model = CCA(4).fit(X[:9], Y[:9])
    np.testing.assert_allclose(model.spectrum_, GOLDEN["sat_corr"], atol=1e-10)


def test_float32_far_from_zero_keeps_its_digits():
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(20000, 6)) + 1000).astype(np.float32)
    y = (x[:, :4].astype(np.float64) + draw.normal(size=(20000, 4)) - 3000).astype(np.float32)
    exact = CCA(4).fit(x.astype(np.float64) - 1000, y.astype(np.float64) + 2000)
    np.testing.assert_allclose(CCA(4).fit(x, y).spectrum_, exact.spectrum_, atol=1e-11)


def test_independent_views_are_as_random_matrices_say():
    # Wachter's limit 2 sqrt(g (1 - g)), g = d / N, is 0.436 here; a thousand rows lie a little below.
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 2000, 50))
    model = CCA(1).fit(x[:1000], y[:1000])
    assert 0.40 < model.correlations_[0] < 0.45
    assert abs(model.score(x[1000:], y[1000:])) < 0.1


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match="at most 9"):
        CCA(10).fit(X, Y)
    with pytest.raises(InputError, match="two forms of one thing"):
        CCA(2, ridge=1.0, shrinkage=0.5).fit(X, Y)
    with pytest.raises(InputError, match="one for each view"):
        CCA(2, shrinkage=1.5).fit(X, Y)
    with pytest.raises(InputError, match="use GCCA"):
        CCA(2).fit([X, Y, Y])
    with pytest.raises(InputError, match="`present`"):
        CCA(2).fit(np.where(X > 1, np.nan, X), Y)
    with pytest.raises(ValueError, match="12 features"):
        CCA(2).fit(X, Y).transform(Y)


def test_in_a_pipeline_and_a_grid_search():
    digits = load_digits()
    one_hot = np.eye(10)[digits.target]
    pipeline = make_pipeline(StandardScaler(), CCA(9, ridge=1e-2))
    scores = pipeline.fit(digits.data[:1000], one_hot[:1000]).transform(digits.data)
    assert SVC().fit(scores[:1000], digits.target[:1000]).score(scores[1000:], digits.target[1000:]) > 0.85
    search = GridSearchCV(pipeline, {"cca__ridge": [1e-3, 1.0]}, cv=2).fit(digits.data[:400], one_hot[:400])
    assert 0.5 < search.best_score_ < 1
    assert list(pipeline.get_feature_names_out()[:2]) == ["cca0", "cca1"]


def not_as_cross_decomposition(estimator):
    # For anything called CCA these two expect fit_transform(X, Y) to return both scores, which breaks a Pipeline.
    names = ("check_transformer_data_not_an_array", "check_transformer_general")
    return dict.fromkeys(names, "fit_transform returns the first view's scores") if type(estimator) is CCA else {}


@parametrize_with_checks(
    [
        CCA(1),
        GCCA(1),
        MCCA(1),
        KernelCCA(1),
        KernelFeatureCCA(1, features=20),
        RobustCCA(1, tolerance=1e-4),
    ],
    expected_failed_checks=not_as_cross_decomposition,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("model", [CCA(4), GCCA(4), KernelCCA(4), RobustCCA(2), KernelFeatureCCA(2, features=50)])
def test_on_an_accelerator(model):
    views = [torch.from_numpy(view).cuda() for view in (X, Y)]
    scores = model.fit(views).transform(views)
    assert scores[0].is_cuda
    here = [score.cpu().numpy() for score in scores]
    for ours, theirs in zip(here, model.fit([X, Y]).transform([X, Y]), strict=True):
        np.testing.assert_allclose(ours * np.sign((ours * theirs).sum(0)), theirs, atol=1e-5)
