"""One verdict: what a reader must know of figures and runs."""

import pytest

from coview.evaluation.statistics import Measurement
from coview.evaluation.verdict import row_name, signs, verdict


def figure(name: str, value: float, n: int = 1000, chance: float = 0.1, half: float = 0.02) -> Measurement:
    return Measurement(name, value, value - half, value + half, chance, n)


def test_a_good_figure_needs_no_word() -> None:
    assert verdict([figure("video_probe/xid", 0.6), figure("video_probe/random", 0.24)]) == []


def test_a_figure_at_chance_is_said_without_any_control() -> None:
    said = verdict([figure("video_probe/xid", 0.11), figure("audio_probe/xid", 0.6)])
    words = "a linear classifier on the picture is right (video_probe) 0.110, chance 0.100"
    assert said == [f"xid is not above chance in 1 of 2 figures: {words}"]


def test_few_items_cannot_be_told_from_chance() -> None:
    said = verdict([Measurement("retrieval_v2a_r1/xid", 0.5, 0.05, 0.9, 1 / 6, 6)])
    figure = "the picture finds its own sound first (retrieval_v2a_r1) 0.500, chance 0.167"
    assert said == [f"xid cannot be told from chance (6 items): {figure}"]


def test_a_low_rank_is_good() -> None:
    good = Measurement("retrieval_v2a_median_rank/xid", 3.0, 2.0, 4.0, 50.5, 100)
    assert verdict([good]) == []
    assert "not above chance" in verdict([Measurement(good.name, 49.0, 40.0, 58.0, 50.5, 100)])[0]
    control = Measurement("retrieval_v2a_median_rank/random", 3.5, 2.5, 5.0, 50.5, 100)
    assert "random control" in verdict([good, control])[0]


def test_controls_are_not_accused_of_being_at_chance() -> None:
    rows = [
        figure("video_probe/random", 0.1),
        figure("video_probe/shuffled", 0.1),
        figure("video_probe/statistics", 0.1),
    ]
    assert verdict(rows) == []


def test_a_run_on_shuffled_pairs_is_named_in_every_row() -> None:
    assert row_name("xid", shuffled=True) == "xid, shuffled"
    assert row_name("xid", shuffled=False) == "xid"
    assert row_name("shuffled", shuffled=True) == "shuffled"
    assert row_name("xid, shuffled", shuffled=True) == "xid, shuffled"
    said = verdict([figure("video_probe/xid, shuffled", 0.9)])
    assert said == ["xid learnt from shuffled pairs: its figures are a control, which true pairs must beat."]
    near = verdict([figure("video_probe/xid", 0.61), figure("video_probe/xid, shuffled", 0.6)])
    assert any("not clearly above its xid, shuffled control" in text for text in near)


def test_what_a_run_says_against_itself() -> None:
    said = signs({"shuffled": True}, {"plateau": "it sits at chance", "collapse": None, "replaced": 3, "steps": 9})
    assert "shuffled pairs" in said[0]
    assert said[1:] == ["it sits at chance", "3 samples could not be read and were replaced by others."]
    assert signs({}, {"plateau": None, "collapse": None}) == []


def test_idle_steps_are_counted_from_the_log() -> None:
    log = [{"step": step, "loss": None if step % 4 == 0 else 1.0} for step in range(1, 41)]
    assert signs({}, {}, log) == ["10 of 40 steps had nothing to learn from."]
    assert signs({}, {"idle_steps": 0}, log) == []


@pytest.mark.parametrize(("rank", "collapsed"), [(1.2, True), (25.0, False)])
def test_collapse_is_what_training_says_it_is(rank: float, collapsed: bool) -> None:
    log = [{"step": 1, "loss": 1.0, "rank/video": rank, "std/video": 0.2}]
    assert bool(signs({}, {}, log)) == collapsed
    assert signs({}, {"collapse": None}, log) == []  # training has judged, with what the log does not hold


def test_a_healthy_space_of_two_dimensions_is_not_accused() -> None:
    log = [{"step": 1, "loss": 1.0, "rank/video": 1.98, "std/video": 0.2}]
    assert signs({}, {}, log) == []
