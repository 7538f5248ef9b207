"""Moments: exact whatever the blocks, merging, absent views, files, world sizes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import worlds
from safetensors.torch import save_file

from coview import parallel
from coview.correlation.cca import CCA
from coview.correlation.gaussian import joint_gaussian
from coview.correlation.kernel_features import KernelFeatureCCA
from coview.correlation.moments import Moments
from coview.correlation.multiset import GCCA
from coview.correlation.tables import open_table, read_blocks
from coview.errors import InputError


def sample(rows=900, dims=(7, 5, 4), seed=0, mean=100.0):
    draw = np.random.default_rng(seed)
    latent = draw.normal(size=(rows, 3))
    return [latent @ draw.normal(size=(3, d)) + draw.normal(size=(rows, d)) + mean for d in dims]


def assert_same(one, other, atol=1e-11):
    assert one.count == other.count
    for a, b in zip(one.means, other.means, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)
    torch.testing.assert_close(one.covariance(), other.covariance(), rtol=0, atol=atol)


def test_blocks_and_merges_are_the_covariance():
    views = sample()
    joined = np.hstack(views)
    whole = Moments([7, 5, 4])
    whole.update(views)
    np.testing.assert_allclose(whole.covariance(), np.cov(joined.T), atol=1e-11)
    np.testing.assert_allclose(torch.cat(whole.means), joined.mean(0), atol=1e-11)
    parts = Moments([7, 5, 4])
    for start in range(0, 900, 70):
        part = Moments([7, 5, 4])
        part.update([torch.from_numpy(view[start : start + 70]) for view in views])
        parts.merge(part)
    assert_same(whole, parts)
    assert_same(whole, Moments.from_state_dict(whole.state_dict()))


def test_float32_loses_no_digit():
    draw = np.random.default_rng(0)
    x = (100 + draw.normal(size=(50_000, 8))).astype(np.float32)
    moments = Moments([8])
    moments.update([x])
    np.testing.assert_allclose(moments.covariance(), np.cov(x.T.astype(np.float64)), rtol=0, atol=1e-13)


def test_partial_fit_is_fit():
    x, y, _ = sample()
    whole, grown = CCA(3).fit(x, y), CCA(3)
    for start in range(0, 900, 300):
        grown.partial_fit(x[start : start + 300], y[start : start + 300])
    np.testing.assert_allclose(grown.weights_[0], whole.weights_[0], atol=1e-10)
    np.testing.assert_allclose(grown.correlations_, whole.correlations_, atol=1e-12)
    assert grown.fit(x[:100], y[:100]).n_samples_ == 100


def test_rows_without_a_view():
    views = sample(mean=0.0)
    draw = np.random.default_rng(1)
    present = [draw.random(900) < 0.8 for _ in views]
    holes = [np.where(has[:, None], view, np.nan) for view, has in zip(views, present, strict=True)]
    complete = np.all(present, axis=0)
    expected = GCCA(2).fit([view[complete] for view in views])
    model = GCCA(2).fit(holes, present=present)
    assert model.n_samples_ == complete.sum()
    np.testing.assert_allclose(model.eigenvalues_, expected.eigenvalues_, atol=1e-10)
    likely = GCCA(2, missing="likelihood").fit(holes, present=present)
    assert likely.n_samples_ == np.any(present, axis=0).sum()
    np.testing.assert_allclose(GCCA(2, missing="likelihood").fit(views).eigenvalues_, GCCA(2).fit(views).eigenvalues_)
    with pytest.raises(InputError, match="views 0 and 1 together"):
        CCA(2, missing="likelihood").fit(views[0], views[1], present=[np.arange(900) < 450, np.arange(900) >= 450])


def test_likelihood_uses_what_complete_rows_leave():
    """Many rows of one view and few pairs: maximum likelihood is nearer to the truth, on average over draws."""
    errors = {"complete": [], "likelihood": []}
    truth = Moments([3, 3])
    truth.update(sample(200_000, (3, 3), mean=0.0))
    for seed in range(8):
        draw = np.random.default_rng(seed)
        rows = draw.choice(200_000, 600, replace=False)
        views = [view[rows] for view in sample(200_000, (3, 3), mean=0.0)]
        present = [np.ones(600, bool), np.arange(600) < 60]
        for missing, kept in errors.items():
            model = CCA(1, missing=missing).fit(*views, present=present)
            kept.append(abs(model.singular_values_[0] - CCA(1).fit_moments(truth).singular_values_[0]))
    assert np.mean(errors["likelihood"]) < np.mean(errors["complete"])


def test_likelihood_is_the_maximum():
    x, y, _ = sample(300, mean=0.0)
    present = [np.arange(300) % 5 > 0, np.arange(300) % 3 > 0]
    moments = Moments([7, 5])
    moments.update([x, y], present)
    total, mean, covariance = joint_gaussian(moments, "likelihood")
    covariance = covariance * (total - 1) / total

    def log_likelihood(mean, covariance):
        value = 0.0
        for pattern, state in moments.patterns.items():
            seen = moments.columns(pattern)
            away = state.mean - mean[seen]
            inner = state.scatter + state.count * torch.outer(away, away)
            block = covariance[seen][:, seen]
            value = value - state.count * torch.logdet(block) - torch.linalg.solve(block, inner).trace()
        return value

    mean, covariance = mean.requires_grad_(), covariance.requires_grad_()
    log_likelihood(mean, covariance).backward()
    assert mean.grad.abs().max() < 1e-3
    assert covariance.grad.abs().max() < 1e-2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    x, y, _ = (view.astype(np.float32) for view in sample())
    np.save(folder / "x.npy", x)
    np.save(folder / "y64.npy", y.astype(np.float64))
    save_file({"y": torch.from_numpy(y), "more": torch.zeros(3)}, folder / "y.safetensors")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(y.ravel()), 5)
    free = pa.array(list(x.astype(np.float64)))
    pq.write_table(pa.table({"id": range(900), "x": free, "y": lists}), folder / "t.parquet", row_group_size=128)
    return folder, x, y


def test_files_are_what_was_in_memory(files):
    folder, x, y = files
    expected = CCA(3).fit(x, y)
    table = folder / "t.parquet"
    for views in (
        [folder / "x.npy", folder / "y.safetensors"],
        [folder / "x.npy", folder / "y64.npy"],
        [(table, "x"), (folder / "y.safetensors", "y")],
        [(table, "x"), (table, "y")],
    ):
        model = CCA(3).fit_streamed(views)
        np.testing.assert_allclose(model.weights_[1], expected.weights_[1], atol=1e-10)
        for size in (64, 250):
            blocks = [tuple(part.clone() for part in b) for s in range(3) for b in read_blocks(views, size, (s, 3))]
            np.testing.assert_array_equal(torch.cat([b[0] for b in blocks]).numpy(), x)
            np.testing.assert_array_equal(torch.cat([b[1] for b in blocks]).numpy(), y)
    model = KernelFeatureCCA(2, features=60).fit_streamed([folder / "x.npy", folder / "y64.npy"])
    np.testing.assert_allclose(
        model.cca_.spectrum_, KernelFeatureCCA(2, features=60).fit(x, y).cca_.spectrum_, atol=1e-9
    )


def test_rows_without_a_view_in_files(tmp_path):
    x, y, _ = sample(mean=0.0)
    present = [np.arange(900) % 7 > 0, np.arange(900) % 4 > 0]
    np.save(tmp_path / "x.npy", np.where(present[0][:, None], x, np.nan))
    column = pa.array([row if has else None for row, has in zip(y, present[1], strict=True)])
    pq.write_table(pa.table({"y": column}), tmp_path / "y.parquet", row_group_size=200)
    for missing in ("complete", "likelihood"):
        expected = CCA(3, missing=missing).fit(x, y, present=present)
        model = CCA(3, missing=missing).fit_streamed([tmp_path / "x.npy", tmp_path / "y.parquet"])
        assert model.n_samples_ == expected.n_samples_
        np.testing.assert_allclose(model.weights_[1], expected.weights_[1], atol=1e-9)
    x[5, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match="NaN or infinity"):
        CCA(3).fit_streamed([tmp_path / "x.npy", tmp_path / "y.parquet"])


def test_wrong_files_are_named(files, tmp_path):
    folder, x, _ = files
    with pytest.raises(InputError, match=r"no\.npy: there is no such file"):
        open_table(folder / "no.npy")
    with pytest.raises(InputError, match=r"'z'; name one of \[x, y\]"):
        open_table((folder / "t.parquet", "z"))
    np.save(tmp_path / "i.npy", np.zeros((3, 2), np.int64))
    with pytest.raises(InputError, match="int64"):
        open_table(tmp_path / "i.npy")
    np.save(tmp_path / "short.npy", x[:10])
    with pytest.raises(InputError, match="same rows"):
        CCA(2).fit_streamed([folder / "x.npy", tmp_path / "short.npy"])
    (tmp_path / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-100])
    with pytest.raises(InputError, match="not written whole"):
        CCA(2).fit_streamed([folder / "x.npy", tmp_path / "cut.npy"])
    (tmp_path / "text.npy").write_text("not numbers")
    with pytest.raises(InputError, match="no array file"):
        open_table(tmp_path / "text.npy")


def fit_share(views, sizes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    moments = Moments([view.shape[1] for view in views])
    moments.update([view[own] for view in views])
    return CCA(3).fit_moments(moments.reduced())


@pytest.mark.parametrize("sizes", [[450, 450], [300, 200, 250, 150], [450, 0, 450, 0]])
def test_world_size(sizes):
    views = sample()[:2]
    expected = CCA(3).fit(*views)
    for model in worlds.run(len(sizes), fit_share, views, sizes):
        np.testing.assert_allclose(model.weights_[0], expected.weights_[0], atol=1e-10)
        np.testing.assert_allclose(model.spectrum_, expected.spectrum_, atol=1e-10)
        assert model.n_samples_ == 900


def fit_files(folder):
    return CCA(3).fit_streamed([folder / "x.npy", folder / "y.safetensors"])


@pytest.mark.parametrize("world", [2, 4])
def test_world_size_from_files(files, world):
    folder, x, y = files
    expected = CCA(3).fit(x, y)
    for model in worlds.run(world, fit_files, folder):
        np.testing.assert_allclose(model.weights_[0], expected.weights_[0], atol=1e-10)


def reduce_patterns(views, present):
    moments = Moments([view.shape[1] for view in views])
    if parallel.rank() < 2:
        own = slice(parallel.rank() * 450, parallel.rank() * 450 + 450)
        moments.update([view[own] for view in views], [has[own] for has in present])
    return moments.reduced().state_dict()


def test_world_size_with_absent_views():
    views = sample()
    present = [np.arange(900) % 5 > 0, np.arange(900) < 500, np.ones(900, bool)]
    whole = Moments([7, 5, 4])
    whole.update(views, present)
    for state in worlds.run(4, reduce_patterns, views, present):
        reduced = Moments.from_state_dict(state)
        assert set(reduced.patterns) == set(whole.patterns)
        for pattern, part in whole.patterns.items():
            torch.testing.assert_close(reduced.patterns[pattern].scatter, part.scatter, rtol=0, atol=1e-9)
