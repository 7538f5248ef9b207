"""What cannot be measured is left out and named, by one rule; the rest goes on."""

from pathlib import Path

import pytest
import torch
from measured import collection, tiny_model
from measuring import NumberSource, PassThrough, SmallModel

from coview.data.open import open_source
from coview.data.part import Part
from coview.errors import UsageError
from coview.evaluation.bench import Bench, Result, leaks
from coview.evaluation.few_shot import Budget, few_shot
from coview.evaluation.items import items_of
from coview.evaluation.measurable import common, telling
from coview.evaluation.probe import fit_probe, held_out_fifth
from coview.evaluation.protocols import evaluate
from coview.evaluation.scores import hits
from coview.evaluation.statistics import Measurement, accuracy


def parts(rows: int = 120) -> tuple[NumberSource, NumberSource]:
    return NumberSource(rows), NumberSource(60, seed=1)


def measured(protocol: str, train: NumberSource, test: NumberSource) -> tuple[dict[str, Measurement], str]:
    result = evaluate(protocol, PassThrough(), train, test, name="x")
    said = "; ".join(f"{what}: {why}" for what, why in result.problems if "too (" not in why)
    return {m.name.removesuffix("/x"): m for m in result.results}, said


@pytest.mark.parametrize("protocol", ["linear-probe", "knn"])
@pytest.mark.parametrize("side", [0, 1])
def test_one_view_that_lacks_everything_leaves_the_other_measured(protocol: str, side: int) -> None:
    both = parts()
    both[side].has_audio[:] = False
    figures, said = measured(protocol, *both)
    what = {"linear-probe": "probe", "knn": "knn"}[protocol]
    assert f"video_{what}" in figures
    assert not any(name.startswith("audio") for name in figures)  # no figure from an empty bank
    assert f"audio_{what}" in said
    assert ("training" if side == 0 else "test") in said


@pytest.mark.parametrize("protocol", ["linear-probe", "knn"])
def test_a_class_without_training_recordings_is_left_out_and_named(protocol: str) -> None:
    train, test = parts()
    train.labels[train.labels == 2] = -1
    figures, said = measured(protocol, train, test)
    assert "no training recording of c" in said
    for name, figure in figures.items():
        if name.startswith("video"):
            assert figure.n == int((test.labels >= 0).sum() - (test.labels == 2).sum())
            assert figure.chance == 0.5


def test_a_class_of_one_does_not_end_the_probe() -> None:
    train, test = parts(40)
    train.labels = torch.tensor([0] * 38 + [1, 2])
    figures, said = measured("linear-probe", train, test)
    assert "video_probe" in figures
    assert "audio_probe" in figures
    assert said == ""
    labels = torch.tensor([0, 0, 1, 2, 2, 3, *[4] * 20])
    for seed in range(20):
        held = held_out_fifth(labels, seed)
        assert not held[:6].any()
        assert held.any()
    rare = torch.arange(12) // 2  # nothing to choose a penalty on
    probe = fit_probe(torch.randn(12, 1, 4), rare, 6)
    assert probe.choices["chosen_by"] == "given"


def test_too_few_recordings_leave_a_view_out_by_name() -> None:
    train, test = parts()
    train.has_audio[9:] = False
    figures, said = measured("linear-probe", train, test)
    assert "video_probe" in figures
    assert "at least 10 are needed" in said


def test_draws_that_differ_in_what_they_hold_do_not_end_few_shot(tmp_path: Path) -> None:
    train, test = parts()
    train.has_audio[:] = False
    train.has_audio[[0, 1, 2, 3]] = True
    with Bench(PassThrough(), train, test, name="x") as bench:
        few_shot(bench, [Budget(shots=1)], tmp_path, draws=6)
    names = [m.name for m in bench.result.results]
    assert names == ["video_few_k1/x"]
    assert any(what.startswith("audio_few_k1") for what, _ in bench.result.problems)


def test_few_shot_names_a_class_without_training_recordings_after_a_resume_too(tmp_path: Path) -> None:
    train, test = parts()
    train.labels[train.labels == 2] = -1
    for _ in range(2):
        with Bench(PassThrough(), train, test, name="x") as bench:
            few_shot(bench, [Budget(shots=2)], tmp_path, draws=2)
        assert any("no training recording of c" in why for _, why in bench.result.problems)
        assert all(m.chance == 0.5 for m in bench.result.results)


def test_figures_that_not_all_have_are_named() -> None:
    a, b = Measurement("a", 0, 0, 0, 0, 1), Measurement("b", 0, 0, 0, 0, 1)
    shared, some = common([[a, b], [a], [b, a]])
    assert [[m.name for m in same] for same in shared] == [["a", "a", "a"]]
    assert some == ["b"]


def test_the_first_k_of_hardly_more_say_nothing() -> None:
    assert not telling(5, 6)
    assert not telling(10, 7)
    assert telling(5, 8)
    assert telling(5, 10)
    test = NumberSource(7, seed=1)
    names = {m.name for m in evaluate("retrieval", PassThrough(), None, test, name="x").results}
    assert not any("r10" in name for name in names)
    assert "retrieval_v2a_r1/x" in names


def test_numbers_that_are_not_finite_are_no_success() -> None:
    scores = torch.full((4, 3), float("nan"))
    assert not hits(scores, torch.tensor([0, 1, 2, 0]), 1).any()
    with pytest.raises(UsageError, match="no item"):
        accuracy("p/x", torch.zeros(0, dtype=torch.bool), 0.1)
    clips = torch.randn(20, 1, 4)
    clips[3] = float("nan")
    with pytest.raises(UsageError, match=r"1 rows hold NaN or infinity: \[3\]"):
        fit_probe(clips, torch.arange(20) % 2, 2)


def test_rows_that_share_a_recording_are_one_item() -> None:
    source = NumberSource(8)
    assert items_of(source).tolist() == list(range(8))
    source.groups = ["", "a", "", "a", "", "", "", ""]
    source.digests = ["p", "q", "r", "s", "t", "t", "u", "v"]
    source.contents = ["1", "2", "3", "4", "5", "6", "7", "4"]
    assert items_of(source).tolist() == [0, 1, 2, 1, 4, 4, 6, 1]


def test_files_tell_their_groups_digests_and_contents() -> None:
    whole = open_source(str(collection()), tiny_model().views)
    assert whole.groups == whole.ids  # every clip of a world is a thing of its own
    part = Part(whole, torch.tensor([3, 5]))
    assert part.groups == [whole.ids[3], whole.ids[5]]
    assert part.digests == [whole.digests[3], whole.digests[5]]
    assert items_of(whole).tolist() == list(range(len(whole)))
    assert leaks(part, whole) != []
    assert "by the file's bytes" in leaks(part, whole)[0][1]


def test_several_captions_of_one_film_are_all_right_answers() -> None:
    test = NumberSource(60, noise=0.0)
    test.video, test.audio = (torch.cat([part[:20]] * 3) for part in (test.video, test.audio))  # three rows each
    test.has_audio = torch.ones(60, dtype=torch.bool)
    test.groups = [f"film-{row % 20}" for row in range(60)]
    result = evaluate("retrieval", PassThrough(), None, test, name="x")
    figures = {m.name.removesuffix("/x"): m for m in result.results}
    assert figures["retrieval_v2a_r1"].value == 1.0  # a perfect model
    assert figures["retrieval_v2a_r1_row"].value == 0.0  # its own row is one of three equals
    assert figures["retrieval_v2a_r1"].chance == pytest.approx(3 / 60)
    assert figures["retrieval_v2a_median_rank"].value == 1
    own = {m.name for m in evaluate("retrieval", PassThrough(), None, NumberSource(60), name="x").results}
    assert not any("_row" in name for name in own)


def test_what_lacks_is_said_once_and_stored() -> None:
    result = Result(["knn"], [], {})
    result.lacks("audio_knn", ["no sound", "no sound"])
    result.lacks("audio_knn", ["no sound"])
    assert result.to_dict()["problems"] == [["audio_knn", "no sound"]]


def test_a_test_part_that_holds_training_recordings_is_said() -> None:
    train, test = parts()
    train.ids = [f"train-{row}" for row in range(120)]
    assert not evaluate("knn", SmallModel(), train, test, name="x").problems
    train.digests, test.digests = [f"d{row}" for row in range(120)], [f"e{row}" for row in range(60)]
    train.contents, test.contents = list(train.digests), list(test.digests)
    test.digests[5] = "d7"
    test.contents[6] = "d9"
    [(what, why)] = evaluate("knn", SmallModel(), train, test, name="x").problems
    assert what == test.name
    assert "2 recordings" in why
