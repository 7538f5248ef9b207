"""Base and novel classes: known figures, what is left out, and what cannot be measured."""

import pytest
import torch
from measuring import NumberSource, SmallModel

from coview.errors import UsageError
from coview.evaluation.base_novel import alike_names, base_novel
from coview.evaluation.bench import Bench


class Said(SmallModel):
    """A model of numbers whose "video" is the class's code, wrong for some, and whose "audio" is the text."""

    wrong = (0, 5)  # recordings whose picture says the next class

    def encode(self, batch, space="projected"):
        label = batch.label.clamp(min=0)
        seen = label + torch.isin(batch.row, torch.tensor(self.wrong)).long()
        return {"video": torch.eye(3)[seen % 3], "audio": 2 * torch.eye(3)[label]}


def measured(novel=("c",), rows=32, about=None, **how):
    model = Said()
    model.about = about or {}
    with Bench(model, None, NumberSource(rows), name="mine") as bench:
        base_novel(bench, novel, text="audio", **how)
    return bench.result


def test_known_figures():
    found = {figure.name: figure for figure in measured().results}
    # 0 is of class a and seen as b; 5 is of class c and seen as a, which is no novel candidate.
    base, novel = found["video_base/mine"], found["video_novel_all/mine"]
    assert base.value == pytest.approx(1 - 1 / base.n) and base.chance == 0.5
    assert novel.value == pytest.approx(1 - 1 / novel.n) and novel.chance == pytest.approx(1 / 3)
    assert found["video_base_all/mine"].value == base.value
    both = found["video_hm_all/mine"]
    assert both.value == pytest.approx(2 * base.value * novel.value / (base.value + novel.value))
    assert both.low < both.value < both.high and both.n == base.n + novel.n
    assert set(found) == {f"video_{what}{end}/mine" for what in ("base", "novel", "hm") for end in ("", "_all")}


def test_a_single_novel_class_is_always_right_among_its_like():
    assert next(f for f in measured().results if f.name == "video_novel/mine").value == 1


def test_names_that_are_alike_are_named_and_left_out_where_asked():
    assert alike_names(["playing_guitar", "rain"], ["Playing guitars", "owl"]) == {"Playing guitars": "playing_guitar"}


def test_what_the_model_was_trained_on_is_held_against_it(monkeypatch):
    kind = type(Said().method)
    known = {"classes": ["a", "b", "c"]}
    assert not measured(about=known).notes  # it learns from no labels
    monkeypatch.setattr(kind, "labelled", True)
    assert not measured().notes
    (said,) = measured(about=known).notes
    assert said.startswith("1 novel classes") and said.endswith(": c")
    monkeypatch.setattr(kind, "kept_back", lambda self: ("b", "c"))
    assert measured(about=known).notes == ["1 classes that the model was kept from count as base: b"]


def test_wrong_use():
    for novel, why in ((("d",), "no class 'd'"), ((), "name some"), (("a", "b", "c"), "not all")):
        with pytest.raises(UsageError, match=why):
            measured(novel)
    with Bench(Said(), None, NumberSource(8), name="mine") as bench, pytest.raises(UsageError, match="--text names it"):
        base_novel(bench, ("c",))


def test_what_no_recording_shows_is_said():
    lacking = measured(rows=2)  # classes a and b alone
    assert not lacking.results and "of a novel class" in str(lacking.problems)
