"""Kernel CCA: golden values of both forms, the linear limit, features against the exact kernel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.correlation.cca import CCA
from coview.correlation.kernel import KernelCCA
from coview.correlation.kernel_features import KernelFeatureCCA
from coview.errors import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "cca.npz")
ROWS = int(GOLDEN["kcca_n"])
X, Y = GOLDEN["train0"][:ROWS], GOLDEN["train1"][:ROWS]
TEST = GOLDEN["test0"], GOLDEN["test1"]
GAMMA = tuple(float(g) for g in GOLDEN["kcca_gamma"])
SHRINKAGE = float(GOLDEN["kcca_shrink_c"])


def test_golden():
    model = KernelCCA(4, gamma=GAMMA, shrinkage=SHRINKAGE).fit(X, Y)
    np.testing.assert_allclose(model.singular_values_, GOLDEN["kcca_shrink_sv"], atol=1e-7)
    np.testing.assert_allclose(model.correlations_, GOLDEN["kcca_shrink_train_corr"], atol=1e-7)
    np.testing.assert_allclose(model.held_out_correlations(*TEST), GOLDEN["kcca_shrink_test_corr"], atol=1e-7)
    model = KernelCCA(4, gamma=GAMMA, kappa=float(GOLDEN["kcca_kappa"])).fit(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_allclose(model.singular_values_, GOLDEN["kcca_bj_sv"], atol=1e-7)


def test_linear_kernel_is_linear_cca():
    kernel = KernelCCA(4, kernel="linear", shrinkage=0.3).fit(X, Y)
    linear = CCA(4, shrinkage=0.3).fit(X, Y)
    np.testing.assert_allclose(kernel.singular_values_, linear.singular_values_, atol=1e-10)
    for ours, theirs in zip(kernel.transform(*TEST), linear.transform(*TEST), strict=True):
        signs = np.sign((ours * theirs).sum(0))
        np.testing.assert_allclose(ours * signs, theirs, atol=1e-8)


def test_all_rows_as_landmarks_are_exact():
    exact = KernelCCA(4, gamma=GAMMA, shrinkage=SHRINKAGE).fit(X, Y)
    model = KernelFeatureCCA(4, features=ROWS, gamma=GAMMA, shrinkage=SHRINKAGE).fit(X, Y)
    np.testing.assert_allclose(model.cca_.singular_values_, exact.singular_values_, atol=1e-8)
    np.testing.assert_allclose(model.held_out_correlations(*TEST), exact.held_out_correlations(*TEST), atol=1e-6)


def test_many_fourier_features_approach_the_kernel():
    exact = KernelCCA(2, gamma=GAMMA, shrinkage=SHRINKAGE).fit(X, Y)
    gaps = []
    for features in (40, 800):
        fitted = [
            KernelFeatureCCA(
                2, approximation="fourier", features=features, gamma=GAMMA, shrinkage=SHRINKAGE, seed=seed
            ).fit(X, Y)
            for seed in range(2)
        ]
        gaps.append(np.mean([abs(model.cca_.singular_values_ - exact.singular_values_).max() for model in fitted]))
    assert gaps[1] < min(gaps[0] / 2, 0.05)


def test_a_circle_and_its_square():
    """What no linear map can see: y is a function of x without correlation."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1500, 2))
    y = (x**2).sum(1, keepdims=True) + 0.1 * draw.normal(size=(1500, 1))
    linear = CCA(1).fit(x[:1000], y[:1000])
    kernel = KernelFeatureCCA(1, features=100, shrinkage=0.01).fit(x[:1000], y[:1000])
    assert abs(linear.score(x[1000:], y[1000:])) < 0.2
    assert kernel.score(x[1000:], y[1000:]) > 0.9


def test_errors():
    with pytest.raises(InputError, match="'rbf' or 'linear'"):
        KernelCCA(2, kernel="cosine").fit(X, Y)
    with pytest.raises(InputError, match="gamma"):
        KernelCCA(2, gamma=-1.0).fit(X, Y)
    with pytest.raises(InputError, match="'nystroem' or 'fourier'"):
        KernelFeatureCCA(2, approximation="none").fit(X, Y)
    with pytest.raises(InputError, match="rank"):
        KernelCCA(40, kernel="linear").fit(X, Y)
