import json
from pathlib import Path

import pytest
import torch
import worlds
from measuring import NumberSource, SmallModel

from coview.errors import UsageError
from coview.evaluation import few_shot as module
from coview.evaluation.bench import Bench
from coview.evaluation.few_shot import Budget, draw, few_shot, manifest


def test_budgets_count_exactly_and_are_nested() -> None:
    source = NumberSource(200)
    sizes = torch.bincount(source.labels[source.labels >= 0])
    before: set[int] = set()
    for budget in (Budget(shots=1), Budget(ratio=0.05), Budget(shots=10), Budget(ratio=0.5), Budget(ratio=1.0)):
        rows = draw(source, budget, seed=0)
        counts = torch.bincount(source.labels[rows], minlength=3)
        assert counts.tolist() == [budget.of(int(size)) for size in sizes]
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
    assert len(before) == int(sizes.sum())  # recordings without a label are never drawn
    assert Budget(ratio=0.001).of(62) == 1
    assert Budget(ratio=0.1).of(30) == 3  # 0.1 * 30 is not 2.9999


def test_draws_depend_on_seed_and_part_alone() -> None:
    source, budget = NumberSource(200), Budget(shots=5)
    assert torch.equal(draw(source, budget, 0), draw(source, budget, 0))
    assert not torch.equal(draw(source, budget, 0), draw(source, budget, 1))
    other = NumberSource(200)
    other.fingerprint = "another fold"
    assert not torch.equal(draw(source, budget, 0), draw(other, budget, 0))


def _drawn() -> list[int]:
    return draw(NumberSource(200), Budget(ratio=0.1), 42).tolist()


@pytest.mark.slow
def test_all_processes_draw_the_same_labels() -> None:
    assert worlds.run(4, _drawn) == [_drawn()] * 4


@pytest.mark.parametrize("wrong", [{}, {"ratio": 0.1, "shots": 2}, {"ratio": 1.5}, {"ratio": 0.0}, {"shots": 0}])
def test_wrong_budgets(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"ratio|shots"):
        Budget(**wrong)


def bench() -> Bench:
    return Bench(SmallModel(), NumberSource(120), NumberSource(60, seed=1), name="x")


def test_every_draw_is_written_down_and_a_stopped_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = [Budget(shots=2), Budget(ratio=0.5)]
    with bench() as whole:
        few_shot(whole, budgets, tmp_path / "whole", draws=2)
    stored = json.loads((tmp_path / "whole" / "x-k2-seed1.json").read_text())
    rows = draw(whole.train, budgets[0], 1)
    assert stored["ids"] == [whole.train.ids[row] for row in rows.tolist()]
    assert stored["per_class"] == {"a": 2, "b": 2, "c": 2}
    assert stored == {**stored, **manifest(whole.train, rows, budgets[0], 1)}
    names = {m.name for m in whole.result.results}
    assert names == {f"{view}_few_{budget}/x" for view in ("video", "audio") for budget in ("k2", "r0.5")}
    assert all(m.seeds == 2 for m in whole.result.results)

    measured, real = [], module._measure

    def stopping(*arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(arguments[2:])
        return real(*arguments)

    monkeypatch.setattr(module, "_measure", stopping)
    with pytest.raises(KeyboardInterrupt), bench() as part:
        few_shot(part, budgets, tmp_path / "part", draws=2)
    measured.clear()
    with bench() as part:
        few_shot(part, budgets, tmp_path / "part", draws=2)
    assert len(measured) == 1  # the three draws before are read, not measured again
    assert part.result.results == whole.result.results


def test_a_kept_draw_of_another_model_is_refused(tmp_path: Path) -> None:
    with bench() as first:
        few_shot(first, [Budget(shots=2)], tmp_path, draws=1)
    other = Bench(SmallModel(1), NumberSource(120), NumberSource(60, seed=1), name="x")
    with pytest.raises(UsageError, match="of another model"), other:
        few_shot(other, [Budget(shots=2)], tmp_path, draws=1)
