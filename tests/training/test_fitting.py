"""Runs fitted to few recordings: what cannot be otherwise is changed and said, what somebody stated stays."""

import dataclasses

import pytest

from coview.methods import available
from coview.settings import diff
from coview.training.fitting import MOST, fit, sentence
from coview.training.settings import recommended, run_to_dict


@pytest.mark.parametrize("method", sorted(available()))
def test_large_collections_leave_every_tiny_recipe_as_it_is(method: str) -> None:
    run = recommended(method, tiny=True)
    assert fit(run, 10_000) == (run, [])


def test_a_batch_becomes_as_many_recordings_as_there_are() -> None:
    run = recommended("swav")
    fitted, said = fit(run, 30)
    assert fitted.train.batch_size == 30
    assert fitted.optimiser.lr == pytest.approx(run.optimiser.lr * 30 / run.train.batch_size)  # rates of a batch
    assert said == diff(run_to_dict(run), run_to_dict(fitted)) and len(said) == 2
    assert fit(run, 3000)[0].train.batch_size == MOST
    assert fit(run, 30, {"train.batch_size", "optimiser.lr"}) == (run, [])
    assert fit(run, 3, world=2)[0].train.batch_size == 2
    enough = dataclasses.replace(run, train=dataclasses.replace(run.train, batch_size=30))
    assert fit(enough, 30) == (enough, [])


def test_adams_rate_stays() -> None:
    run = recommended("xid", tiny=True)
    fitted, said = fit(run, 3)
    assert fitted.optimiser == run.optimiser
    assert said == ["train.batch_size: 32 -> 3"]
    assert sentence(3, said) == "Fitted to 3 recordings: train.batch_size 3 (not 32)."


@pytest.mark.parametrize(
    ("method", "name", "rows", "expected"),
    [
        ("xdc", "clusters", 8, 2), ("xdc", "clusters", 100, 25), ("xdc", "clusters", 256, 256),
        ("selavi", "clusters", 60, 15), ("deepcluster-v2", "clusters", 40, (10, 10, 10)), ("cma", "positives", 5, 3),
        ("cma", "positives", 34, 32),
    ],
)  # fmt: skip
def test_methods_fit_what_is_their_own(method: str, name: str, rows: int, expected: object) -> None:
    run = recommended(method)
    assert getattr(fit(run, rows)[0].method_settings, name) == expected
    assert getattr(fit(run, rows, {f"method.{name}"})[0].method_settings, name) == getattr(run.method_settings, name)
