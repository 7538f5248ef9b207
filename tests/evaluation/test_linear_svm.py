"""A support vector machine for each class: golden values of what it is given, its cost, and draws of few positives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import NumberSource, SmallModel
from torch.testing import assert_close

from coview.errors import UsageError
from coview.evaluation.average_precision import DEFINITIONS as EVERY
from coview.evaluation.bench import Bench
from coview.evaluation.linear_svm import COSTS, FIXED, LinearSVM, best_cost, decide, few, linear_svm, of_unit_length
from coview.evaluation.several_labels import Marks, marks_of, mean_precision, precisions, with_marks

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz").items()
}


def test_golden_features_and_costs() -> None:
    assert_close(of_unit_length(GOLDEN["feat"]), GOLDEN["feat_norm"], rtol=0, atol=1e-9)
    assert_close(torch.tensor(COSTS, dtype=torch.float64), GOLDEN["svm_costs"], rtol=1e-9, atol=0)


def test_golden_precisions_of_several_classes() -> None:
    scores, marks = GOLDEN["scores"], 2 * GOLDEN["targets"] - 1
    assert_close(precisions(scores, marks, "step"), GOLDEN["ap_sklearn"], rtol=0, atol=1e-9)
    assert_close(precisions(scores, marks, "11-point"), GOLDEN["ap_11pt"], rtol=0, atol=1e-9)
    whole = torch.ones(2, len(scores), dtype=torch.int64)
    assert_close(precisions(scores, marks, "area", whole)[1], precisions(scores, marks, "area"))
    unclear = marks.clone()
    unclear[:50] = 0
    assert_close(precisions(scores, unclear, "step"), precisions(scores[50:], marks[50:], "step"))
    found = mean_precision("x", "m", scores, marks, "step", 0)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
    generator = torch.Generator().manual_seed(0)
    blind = [precisions(torch.rand(scores.shape, generator=generator), marks, "step").mean() for _ in range(50)]
    assert found.chance == pytest.approx(float(torch.stack(blind).mean()), abs=0.01)
    assert found.chance > float((marks > 0).double().mean())
    with pytest.raises(UsageError, match="of any class"):
        mean_precision("x", "m", scores, -torch.ones_like(marks), "step", 0)
    with pytest.raises(UsageError, match="not finite"):
        mean_precision("x", "m", scores * torch.nan, marks, "step", 0)


def test_what_is_unclear_and_ranked_first_is_as_if_it_were_not_there() -> None:
    scores, marks = torch.tensor([[5.0], [4], [3], [2]]), torch.tensor([[0], [1], [-1], [1]])
    for definition in EVERY:
        assert_close(precisions(scores, marks, definition), precisions(scores[1:], marks[1:], definition))


def test_the_cost_is_chosen_in_folds_and_given_where_there_are_too_few() -> None:
    generator = torch.Generator().manual_seed(0)
    mark = torch.where(torch.arange(60) % 3 == 0, 1, -1)
    x = of_unit_length(torch.randn(60, 8, generator=generator) + 5 * mark[:, None] * torch.eye(8)[0])
    cost = 0.1
    assert best_cost(x, mark, (1.0, cost)) == cost  # both tell all apart: the smaller one
    assert best_cost(x[:8], mark[:8], (10.0,)) == 10.0  # three positives, one for each fold
    assert best_cost(x[:6], mark[:6]) == FIXED
    scores = decide(x, mark, x, cost)
    assert float(scores[mark > 0].mean()) > float(scores[mark < 0].mean())
    assert_close(decide(x.flip(0), mark.flip(0), x, cost), scores, rtol=1e-2, atol=1e-2)


def test_few_positives_are_drawn_once_and_nested() -> None:
    mark = torch.tensor([1, -1, -1, 0, 1, -1, -1, 1, -1, -1] * 4)
    rows = [few(mark, shots, 3, 0) for shots in (1, 4, 96)]
    assert [int((mark[each] > 0).sum()) for each in rows] == [1, 4, 12]
    assert [int((mark[each] < 0).sum()) for each in rows] == [2, 8, 24]
    assert set(rows[0].tolist()) <= set(rows[1].tolist()) <= set(rows[2].tolist())
    assert torch.equal(few(mark, 4, 3, 0), rows[1]) and not torch.equal(few(mark, 4, 4, 0), rows[1])
    assert not bool((mark[rows[2]] == 0).any())


def test_classes_of_recordings_of_one_label_and_what_is_lacking() -> None:
    train, test = NumberSource(61), NumberSource(31, seed=1)
    fit, held = (marks_of("none", source) for source in (train, test))
    assert fit.classes == ["a", "b", "c"]
    assert fit.values[:4].tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1]]
    assert fit.values[16].tolist() == [0, 0, 0]  # without a label
    with Bench(SmallModel(), train, test, name="m") as bench:
        linear_svm(bench, "video", fit, held, LinearSVM(costs=(0.1, 1.0)))
        linear_svm(bench, "video", fit, held, LinearSVM(costs=(1.0,), shots=(4,)))
        nothing = Marks([*fit.classes, "d"], torch.nn.functional.pad(fit.values, (0, 1), value=-1))
        linear_svm(bench, "audio", nothing, Marks(nothing.classes, torch.ones(31, 4)), LinearSVM(costs=(1.0,)))
    figures = {m.name: m for m in bench.result.results}
    whole = figures["video_svm_map-area/m"]
    assert whole.chance is not None and whole.value > 0.8 > 0.5 > whole.chance > 1 / 3
    assert figures["video_svm_k4_map-11-point/m"].seeds == 5
    assert set(bench.result.choices["video_svm"]["costs"]) == {"all", "4"}
    assert any("d: no clear training recording" in reason for _, reason in bench.result.problems)
    with pytest.raises(UsageError, match="the same recordings"), Bench(SmallModel(), test, test, name="m") as bench:
        linear_svm(bench, "video", held, held, LinearSVM())
    with pytest.raises(UsageError, match="labels of two classes at least"):
        marks_of("none", NumberSource(5, labelled=False))


def test_marks_go_by_the_names_of_classes_where_another_collection_has_its_own_order() -> None:
    test = NumberSource(4)
    test.classes = ["c", "z", "a"]
    marks = marks_of("none", test, ["a", "b", "c"])
    assert marks.values.tolist() == [[-1, -1, 1], [-1, -1, -1], [1, -1, -1], [-1, -1, 1]]


def test_marks_are_a_view_of_every_sample() -> None:
    source = NumberSource(9)
    both = with_marks(source, marks_of("none", source))
    batch = both.read_window(torch.tensor([2, 0]), 0, 1)
    assert batch.views["marks"].tolist() == [[-1, -1, 1], [1, -1, -1]]
    assert set(batch.views) == {"video", "audio", "marks"}
