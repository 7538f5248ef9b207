"""Base and novel classes: known figures, what is left out, and what cannot be measured."""

import pytest
import torch
from measuring import NumberSource, SmallModel

from coview.errors import UsageError
from coview.evaluation.base_novel import alike_names, base_novel
from coview.evaluation.bench import Bench


class Four(NumberSource):
    """Recordings of four classes in turn."""

    def __init__(self, rows):
        super().__init__(rows)
        self.classes, self.labels = ["a", "b", "c", "d"], torch.arange(rows) % 4


class Said(SmallModel):
    """A model of numbers whose "video" is the class's code, wrong for some, and whose "audio" is the text."""

    wrong = (0, 7)  # recordings whose picture says the next class

    def encode(self, batch, space="projected"):
        seen = batch.label + torch.isin(batch.row, torch.tensor(self.wrong)).long()
        return {"video": torch.eye(4)[seen % 4], "audio": 2 * torch.eye(4)[batch.label]}


def measured(novel=("c", "d"), rows=32, about=None, **how):
    model = Said()
    model.about = about or {}
    with Bench(model, None, Four(rows), name="mine") as bench:
        base_novel(bench, novel, text="audio", **how)
    return bench.result


def test_known_figures():
    found = {figure.name: figure for figure in measured().results}
    # 0 is of class a and seen as b; 7 is of class d and seen as a, which is no novel candidate: a tie, no success.
    for what, chance in (("base", 0.5), ("novel", 0.5), ("base_all", 0.25), ("novel_all", 0.25)):
        figure = found[f"video_{what}/mine"]
        assert figure.value == pytest.approx(1 - 1 / figure.n) and figure.chance == chance
    base, novel, both = (found[f"video_{what}_all/mine"] for what in ("base", "novel", "hm"))
    assert both.value == pytest.approx(2 * base.value * novel.value / (base.value + novel.value))
    assert both.low < both.value < both.high and both.n == base.n + novel.n and both.chance == 0.25
    assert set(found) == {f"video_{what}{end}/mine" for what in ("base", "novel", "hm") for end in ("", "_all")}


def test_a_single_class_is_not_measured_among_its_like():
    found = measured(("c",))
    assert {figure.name for figure in found.results} == {f"video_{what}_all/mine" for what in ("base", "novel", "hm")}
    assert found.notes == ["one novel class is always right among its like: left out there"]


def test_names_that_are_alike_are_named_and_left_out_where_asked():
    assert alike_names(["playing_guitar", "rain"], ["Playing guitars", "owl"]) == {"Playing guitars": "playing_guitar"}


def test_what_the_model_was_trained_on_is_held_against_it(monkeypatch):
    kind = type(Said().method)
    known = {"classes": ["a", "b", "c", "d"]}
    assert not measured(about=known).notes  # it learns from no labels
    monkeypatch.setattr(kind, "labelled", True)
    assert not measured().notes
    (said,) = measured(about=known).notes
    assert said.startswith("2 novel classes") and said.endswith(": c, d")
    monkeypatch.setattr(kind, "kept_back", lambda self: ("b", "c", "d"))
    assert measured(about=known).notes == ["1 classes that the model was kept from count as base: b"]


def test_wrong_use():
    for novel, why in ((("e",), "no class 'e'"), ((), "name some"), (("a", "b", "c", "d"), "not all")):
        with pytest.raises(UsageError, match=why):
            measured(novel)
    with Bench(Said(), None, Four(8), name="mine") as bench, pytest.raises(UsageError, match="--text names it"):
        base_novel(bench, ("c",))


def test_what_no_recording_shows_is_said():
    lacking = measured(rows=2)  # classes a and b alone
    assert not lacking.results and "of a novel class" in str(lacking.problems)
