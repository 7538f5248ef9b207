import math

import pytest

from coview.errors import UsageError
from coview.evaluation.bench import Result
from coview.evaluation.folds import BOTH, over_folds, over_parts
from coview.evaluation.statistics import Measurement, wilson


def result(value: float, n: int = 100, name: str = "video_probe/xid") -> Result:
    low, high = wilson(round(value * n), n)
    return Result(["linear-probe"], [Measurement(name, value, low, high, 0.1, n)], {"of": value}, ["a note"])


def test_the_mean_of_folds_and_each_of_them() -> None:
    whole = over_folds({1: result(0.5), 2: result(0.6), 3: result(0.7)})
    figures = {m.name: m for m in whole.results}
    mean = figures["video_probe/xid"]
    assert mean.value == pytest.approx(0.6)
    assert mean.n == 300
    pooled = wilson(180, 300)
    assert math.isclose(mean.high - mean.low, pooled[1] - pooled[0], rel_tol=0.05)  # as of 300 recordings at once
    assert figures["video_probe@fold2/xid"].value == 0.6
    assert whole.choices["folds"] == [1, 2, 3]
    assert whole.choices["fold 3"] == {"of": 0.7}
    assert whole.notes == ["a note"]


def test_one_fold_and_folds_that_do_not_fit() -> None:
    assert over_folds({2: result(0.5)}).results == result(0.5).results
    with pytest.raises(UsageError, match="different figures"):
        over_folds({1: result(0.5), 2: result(0.5, name="video_knn/xid")})
    with pytest.raises(UsageError, match="no folds"):
        over_folds({})


def test_two_parts_of_few_recordings_are_joined_by_what_both_have() -> None:
    def part(n: int, *names: str) -> Result:
        return Result(["retrieval"], [Measurement(name, 0.5, 0.2, 0.8, 0.1, n) for name in names], {}, notes=[f"{n}"])

    whole = over_parts({1: part(8, "r1/xid", "r5/xid"), 2: part(7, "r1/xid")})
    assert [(m.name, m.n) for m in whole.results] == [("r1/xid", 15)]
    assert (
        whole.notes == [BOTH, "8", "7"] and not whole.problems
    )  # that seven are too few for r5 is no fault of the data
    alone = over_parts({1: part(2, "r1/xid"), 2: part(1)})
    assert [(m.name, m.n) for m in alone.results] == [("r1/xid", 2)] and BOTH not in alone.notes
    assert over_parts({1: part(1), 2: part(1)}).results == []
