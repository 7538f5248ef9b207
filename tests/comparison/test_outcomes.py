"""Outcomes of runs: read whatever stands there, paired item by item, failures that are errors, seeds of two kinds."""

import json
from pathlib import Path

import pytest
import torch

from coview.comparison import run as module
from coview.comparison.plan import Task
from coview.comparison.run import OUTCOME, perform, stored, stored_at
from coview.comparison.table import Outcome, columns_of, orders, said_of, summarise, to_markdown
from coview.errors import UsageError
from coview.evaluation.statistics import accuracy
from coview.files import locked


def outcome(row: str, seed: int, hits: torch.Tensor, **more: object) -> Outcome:
    figure = accuracy(f"video_probe/{row}", hits, 0.1)
    assert figure.items is not None
    return Outcome(row=row, seed=seed, results=[figure.row()], items={figure.name: figure.items.float()}, **more)


def runs(gain: float, seeds: int, generator: torch.Generator) -> list[Outcome]:
    """Two methods asked the same 300 items, which are hard or easy for both alike."""
    hard, found = torch.randn(1, 300, generator=generator), []
    for row, plus in (("upper", gain), ("lower", 0.0)):
        for seed in range(seeds):
            own = 0.5 * torch.randn(300, generator=generator) + 0.05 * torch.randn(1, generator=generator)
            found.append(outcome(row, seed, (hard[0] + own + plus) > 0))
    return found


def test_differences_are_paired_item_by_item() -> None:
    generator = torch.Generator().manual_seed(0)
    made = runs(0.3, 5, generator)
    [gain] = orders(made, [("upper", "lower")])
    [plain] = orders([Outcome(row=o.row, seed=o.seed, results=o.results) for o in made], [("upper", "lower")])
    assert gain.value == pytest.approx(plain.value)
    assert gain.low > 0
    assert gain.covers == "the choice of the seed and of test items"
    assert plain.covers == "the choice of the seed, on these test items"


def test_a_difference_of_nothing_is_rarely_called_one_and_a_true_one_often() -> None:
    generator = torch.Generator().manual_seed(1)
    alarms, found = 0, 0
    for _ in range(150):
        [none] = orders(runs(0.0, 5, generator), [("upper", "lower")])
        [true] = orders(runs(0.15, 5, generator), [("upper", "lower")])  # about +.05
        alarms += none.low > 0 or none.high < 0
        found += true.low > 0
    assert alarms <= 150 * 0.1
    assert found >= 150 * 0.6


def test_seeds_of_two_kinds_are_counted_beside_the_mean() -> None:
    hits = torch.arange(100) % 2 == 0
    lines = summarise([outcome("xid", seed, hits, plateau="chance" if seed else None) for seed in range(3)])
    assert (lines[0].left, lines[0].runs) == (1, 3)
    assert "| 3, 1 of them left the plateau |" in to_markdown(lines)
    assert said_of(lines)[0].startswith("xid: 1 of 3 seeds left the plateau of chance")
    assert said_of(summarise([outcome("xid", seed, hits) for seed in range(3)])) == []


def test_idle_steps_and_figures_at_chance_are_said() -> None:
    hits = torch.arange(100) % 10 == 0
    said = said_of(summarise([outcome("xid", 0, hits, idle=0.25)]))
    assert said[0] == "xid: up to 25% of the steps of a run had nothing to learn from."
    assert "not above chance" in said[1]


def task(tmp_path: Path, kind: str) -> Task:
    return Task("xid", 0, kind, {"seed": 0}, "clips", "test", str(tmp_path / "runs" / f"xid.{kind}.0"))


@pytest.mark.parametrize("kind", ["random", "pairs"])
def test_random_weights_that_cannot_be_measured_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refuse(asked: Task, folder: Path) -> Outcome:
        raise UsageError("it does not fit")

    monkeypatch.setattr(module, "measure", refuse)
    asked = task(tmp_path, kind)
    said = perform(asked)
    found = stored_at(Path(asked.folder))
    assert (found.failed, found.note) == (kind == "random", "it does not fit")
    assert ("failed" in said) == ("failed" in to_markdown(summarise([found]))) == found.failed
    assert (stored(asked) is None) == found.failed  # tried again


def test_a_run_that_another_call_makes_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = task(tmp_path, "pairs")
    monkeypatch.setattr(module, "measure", lambda task, folder: pytest.fail("it is made twice"))
    Path(asked.folder).mkdir(parents=True)
    with locked(Path(asked.folder), "compare"):
        assert "another process works on it" in perform(asked)
    assert not (Path(asked.folder) / OUTCOME).exists()  # no false "not run"
    made = outcome("xid", 0, torch.arange(40) % 2 == 0)
    monkeypatch.setattr(module, "measure", lambda task, folder: made)
    perform(asked)
    monkeypatch.setattr(module, "measure", lambda task, folder: pytest.fail("it is made twice"))
    assert "made by another call" in perform(asked)


def test_items_come_back_with_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = outcome("xid", 0, torch.arange(40) % 2 == 0, problems=[("clip", "gone")], weights="0" * 64)
    monkeypatch.setattr(module, "measure", lambda asked, folder: made)
    perform(task(tmp_path, "pairs"))
    found = stored(task(tmp_path, "pairs"))
    assert found == made
    assert torch.equal(found.items["video_probe/xid"], made.items["video_probe/xid"])


def test_an_outcome_from_before_is_read_on(tmp_path: Path) -> None:
    rows = [accuracy("video_probe/xid", torch.arange(40) % 2 == 0, 0.1).row()]
    plain = {"row": "xid", "seed": 0, "results": rows, "samples": 5, "seconds": 1.0, "curve": [], "note": ""}
    (tmp_path / OUTCOME).write_text(json.dumps({**plain, "settings": {}}))
    assert stored_at(tmp_path).figures()["video_probe"].value == 0.5


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"row": "x", "seed": 0, "results": [3]}', '{"results": []}'])
def test_a_damaged_outcome_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / OUTCOME).write_text(content)
    with pytest.raises(UsageError, match=r"compare\.json"):
        stored_at(tmp_path)


def test_every_probe_has_a_column_whatever_its_view_is_called():
    names = ["lightness_probe", "class_p1_i2i", "video_probe", "class_p1_v2a", "lightness_probe"]
    headings = {"lightness_probe": "lightness probe", "video_probe": "video probe", "class_p1_v2a": "class P@1 v to a"}
    assert columns_of(names) == headings
