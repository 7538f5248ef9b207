"""The search over settings: what it keeps, that it goes on where it was, and what it refuses."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from coview.comparison import evolve as module
from coview.comparison.evolve import Search, best_of, evolve, settings_of
from coview.comparison.plan import value_of
from coview.data.executors import Serial
from coview.errors import CoviewError, SettingsError, UsageError
from coview.training.settings import changed, recommended, run_to_dict

OVER = ("method.weights.reconstruct/video", "method.weights.order/video")


@pytest.fixture(scope="module")
def search():
    run = dataclasses.replace(recommended("elo", tiny=True), collection="digits-av:A")
    return Search(run=changed(run, {"train.steps": 2}), over=OVER, strategy="tournament", evaluations=6, population=4)


class Judge:
    """In place of runs: a genome's first gene is how unfit it is; counts what it was asked for."""

    def __init__(self, stop=math.inf):
        self.asked, self.stop = [], stop

    def __call__(self, task):
        if len(self.asked) >= self.stop:
            raise KeyboardInterrupt
        self.asked.append(Path(task.folder).name)
        Path(task.folder).mkdir(parents=True)
        note = "its loss is not finite" if task.genome[1] > 0.9 else ""
        unfit = None if note else task.genome[0]
        found = {"genome": task.genome, "unfit": unfit, "hard": unfit, "purity": 0.5, "note": note}
        (Path(task.folder) / "fitness.json").write_text(json.dumps(found))
        return task.folder


def test_a_stopped_search_goes_on_where_it_was_and_can_be_made_longer(search, tmp_path, monkeypatch):
    whole, first, second = Judge(), Judge(stop=4), Judge()
    monkeypatch.setattr(module, "evaluate", whole)
    expected = evolve(search, tmp_path / "a", Serial())
    assert len(expected) == 7 and whole.asked[0] == expected[0].name == "equal" and expected[0].genome == [1.0, 1.0]
    monkeypatch.setattr(module, "evaluate", first)
    with pytest.raises(KeyboardInterrupt):
        evolve(search, tmp_path / "b", Serial())
    monkeypatch.setattr(module, "evaluate", second)
    assert evolve(search, tmp_path / "b", Serial()) == expected
    assert first.asked + second.asked == whole.asked
    longer = evolve(dataclasses.replace(search, evaluations=10), tmp_path / "b", Serial())
    assert longer[:7] == expected and len(longer) == 11
    assert best_of(longer).unfit == min(one.unfit for one in longer)


def test_another_search_is_refused_and_a_damaged_file_is_named(search, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "evaluate", Judge())
    evolve(search, tmp_path / "a", Serial())
    with pytest.raises(UsageError, match=r"(?s)holds another search.*clusters: 100 -> 5"):
        evolve(dataclasses.replace(search, clusters=5), tmp_path / "a", Serial())
    (tmp_path / "a" / "runs" / "0000-00" / "fitness.json").write_text('{"unfit": 3}')
    with pytest.raises(UsageError, match=r"0000-00/fitness\.json.*remove it"):
        evolve(search, tmp_path / "a", Serial())


def test_a_search_that_could_not_begin_can_be_asked_for_rightly(search, tmp_path, monkeypatch):
    wrong = dataclasses.replace(search, run=dataclasses.replace(search.run, collection=str(tmp_path / "nowhere")))
    with pytest.raises(CoviewError, match="nowhere"):
        evolve(wrong, tmp_path / "found", Serial())
    monkeypatch.setattr(module, "evaluate", Judge())
    for folder in (tmp_path / "found" / "runs").iterdir():
        folder.rmdir()  # the judge makes them itself
    assert len(evolve(search, tmp_path / "found", Serial())) == 7


def test_a_run_that_fails_at_once_is_noted_where_the_search_was_begun(search, tmp_path, monkeypatch):
    def failing(*rest, **more):
        raise CoviewError("nothing can be read")

    monkeypatch.setattr(module, "train", failing)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    task = module.Evaluation(
        here=str(tmp_path), folder="out/runs/equal", genome=(1.0, 1.0), settings=run_to_dict(search.run),
        held="digits-av:A", clusters=5, exponent=1.0, view=None,
    )  # fmt: skip
    module.evaluate(task)
    assert module._read(tmp_path / "out" / "runs" / "equal").note == "nothing can be read"


@pytest.mark.parametrize("change", ["train.steps=[1", "train.steps=2020-99-99"])
def test_a_value_that_is_none_is_refused(change):
    with pytest.raises(UsageError, match="cannot be read as a number"):
        value_of(change)


def test_what_cannot_be_searched_is_refused(search):
    with pytest.raises(SettingsError, match="order/audio"):
        settings_of(dataclasses.replace(search, over=("method.weights.order/audio",)), [1.0])
    with pytest.raises(UsageError, match="clusters >= 2"):
        dataclasses.replace(search, clusters=1)
    with pytest.raises(CoviewError, match="all 1 runs failed; the first: no"):
        best_of([module.Judged(name="equal", genome=[1.0], unfit=math.inf, hard=math.inf, purity=None, note="no")])
