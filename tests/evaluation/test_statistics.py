import pytest
import torch

from coview.errors import UsageError
from coview.evaluation.statistics import Measurement, _student, accuracy, bootstrap, over_seeds, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_equals_published_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)  # 81 of 263: Newcombe 1998, table I


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(UsageError):
        wilson(1, 0)
    with pytest.raises(UsageError):
        wilson(3, 2)


def test_bootstrap_of_a_mean_is_near_the_normal_interval_and_repeats() -> None:
    values = (torch.arange(400) % 4 == 0).float()
    low, high = bootstrap(values, seed=1)
    half = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert low == pytest.approx(0.25 - half, abs=0.01)
    assert high == pytest.approx(0.25 + half, abs=0.01)
    assert bootstrap(values, seed=1) == (low, high)
    assert bootstrap(torch.arange(50.0) ** 1.5, seed=2) != bootstrap(torch.arange(50.0) ** 1.5, seed=1)


def test_bootstrap_of_a_median_lies_around_it() -> None:
    low, high = bootstrap(torch.arange(1.0, 102.0), seed=0, statistic="median")
    assert low < 51 < high
    assert 5 < high - low < 40


def test_measurement_row_has_the_published_keys() -> None:
    row = accuracy("video_probe/xid", torch.tensor([True, False, True, True]), 0.1).row()
    assert list(row) == ["name", "value", "low", "high", "chance", "n", "seeds"]
    assert row["value"] == 0.75
    assert row["n"] == 4


def test_over_seeds_covers_seed_and_items() -> None:
    single = [Measurement("p/x", v, v - 0.03, v + 0.03, 0.1, 500) for v in (0.5, 0.6, 0.7)]
    merged = over_seeds(single)
    seed_half = 4.303 * 0.1 / 3**0.5
    assert merged.value == pytest.approx(0.6)
    assert merged.seeds == 3
    assert merged.high is not None
    assert merged.high - merged.value == pytest.approx((seed_half**2 + 0.03**2) ** 0.5)
    assert "seed" in merged.covers
    assert over_seeds(single[:1]) is single[0]


def test_over_seeds_refuses_a_mixture() -> None:
    with pytest.raises(UsageError, match="one figure"):
        over_seeds([Measurement("a", 0, 0, 0, 0, 1), Measurement("b", 0, 0, 0, 0, 1)])


def test_students_expansion_continues_its_table() -> None:
    assert _student(11) == pytest.approx(2.2010, abs=3e-3)
    assert _student(30) == pytest.approx(2.0423, abs=1e-3)
