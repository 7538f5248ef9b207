"""partial_fit: a failed call changes nothing, early chunks wait, and the result is that of one fit."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from coview.correlation.cca import CCA
from coview.correlation.moments import Moments
from coview.correlation.multiset import GCCA, MCCA
from coview.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
KINDS = [CCA, GCCA, MCCA]


def made(rows=300):
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(rows, 2))
    return [shared @ generator.normal(size=(2, d)) + generator.normal(size=(rows, d)) for d in (6, 5)]


def same(one, other):
    assert one.n_samples_ == other.n_samples_
    for mine, theirs in zip(one.weights_, other.weights_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.correlations_, other.correlations_, rtol=1e-9)


def chunk(views, start, stop):
    return [view[start:stop] for view in views]


BAD = {
    "NaN": lambda part: [np.where(np.arange(len(part[0]))[:, None] == 1, np.nan, part[0]), part[1]],
    "infinite": lambda part: [part[0], part[1] * np.where(np.arange(5) == 2, np.inf, 1.0)],
    "too large": lambda part: [part[0] * 1e200, part[1]],
    "rows apart": lambda part: [part[0], part[1][:-1]],
    "another width": lambda part: [part[0], part[1][:, :3]],
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_changes_nothing_and_clean_chunks_go_on(kind, bad):
    views = made()
    grown = kind(2).partial_fit(chunk(views, 0, 150))
    before = {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in vars(grown).items()}
    with pytest.raises(ValueError):
        grown.partial_fit(BAD[bad](chunk(views, 150, 300)))
    assert vars(grown).keys() == before.keys()
    same(grown, kind(2).fit(chunk(views, 0, 150)))
    same(grown.partial_fit(chunk(views, 150, 300)), kind(2).fit(views))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_first_chunk_is_no_beginning(kind):
    views, grown = made(), kind(2)
    with pytest.raises(InputError, match="NaN"):
        grown.partial_fit(BAD["NaN"](chunk(views, 0, 20)))
    assert set(vars(grown)) == set(grown.get_params())
    same(grown.partial_fit(views), kind(2).fit(views))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[1, 299], [1, 1, 298], [2, 298], [3, 1, 296]])
def test_early_chunks_wait_and_are_counted_once(kind, sizes):
    views, grown, start = made(), kind(4), 0
    for size in sizes:
        grown.partial_fit(chunk(views, start, start := start + size))
        if start < 3:
            with pytest.raises(NotFittedError):
                grown.transform(views)
    assert start == 300
    same(grown, kind(4).fit(views))


def test_retrying_a_chunk_that_raised_counts_it_once():
    """A solver that fails after the rows were taken in: 302 of 300 rows once, and another spectrum."""
    views, grown = made(), CCA(2).partial_fit(chunk(made(), 0, 298))
    grown.set_params(n_components=0)
    with pytest.raises(InputError, match="components"):
        grown.partial_fit(chunk(views, 298, 300))
    grown.set_params(n_components=2).partial_fit(chunk(views, 298, 300))
    assert grown.n_samples_ == 300
    np.testing.assert_allclose(grown.spectrum_, CCA(2).fit(views).spectrum_, rtol=1e-10)


def test_views_that_no_row_has_together_wait_for_one():
    views = made(40)
    absent, there = np.zeros(20, bool), np.ones(20, bool)
    grown = CCA(2, missing="likelihood")
    for present in ([there, absent], [absent, there]):
        grown.partial_fit(chunk(views, 0, 20), present=present)
        assert not hasattr(grown, "weights_")
    grown.partial_fit(chunk(views, 20, 40))
    assert grown.n_samples_ == 60


def test_what_can_never_be_fitted_is_said_at_once():
    for estimator in (CCA(6), GCCA(12), MCCA(12)):
        with pytest.raises(InputError, match="components is"):
            estimator.partial_fit(chunk(made(), 0, 1))
        assert not hasattr(estimator, "moments_")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_fit_keeps_the_fit_before(kind):
    views = made()
    fitted = kind(2).fit(views)
    with pytest.raises(InputError):
        fitted.fit([views[0] * np.nan, views[1]])
    same(fitted, kind(2).fit(views))


def test_moments_take_in_all_rows_or_none():
    views = [torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 2)]
    moments = Moments([3, 2])
    moments.update(views)
    before = moments.state_dict()
    views[1][9, 1] = torch.nan
    present = [torch.arange(10) < 5, torch.ones(10, dtype=torch.bool)]
    with pytest.raises(InputError, match="NaN"):
        moments.update(views, present)  # the rows with both views are clean, those with one are not
    torch.testing.assert_close(moments.state_dict(), before, rtol=0, atol=0)
