"""What is left of a run may be anybody's: whatever is wrong with it, one sentence or a run, never a traceback."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import runs

from coview.errors import CoviewError
from coview.training.loop import train
from coview.training.settings import load_run

BEFORE = Path(__file__).parents[1] / "golden" / "before"


def survived(mutations: Iterable[runs.Mutation], folder: Path) -> dict[str, str]:
    """Resume a run after each mutation; return what was said, "" where it went on. Anything else is raised."""
    said = {}
    for name, mutate in mutations:
        shutil.rmtree(folder / "run", ignore_errors=True)
        shutil.copytree(BEFORE / "run", folder / "run")
        mutate(folder / "run")
        try:
            train(load_run(folder / "run" / "settings.yaml"), folder / "run", resume=True, quiet=True)
            said[name] = ""
        except CoviewError as error:
            said[name] = str(error)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    return said


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    for name in ("left.npy", "right.npy"):
        shutil.copy(BEFORE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(mutations: Iterable[runs.Mutation], folder: Path) -> int:
    """Read settings after each mutation; return how many were refused. Anything but a sentence is raised."""
    count = 0
    for name, mutate in mutations:
        mutate(folder)
        try:
            load_run(folder / "settings.yaml")
        except CoviewError:
            count += 1
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    return count


@pytest.mark.slow
def test_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *fields, bomb, itself, code, deep = runs.settings(BEFORE / "run")
    assert refused([bomb, itself, code, deep], tmp_path) == 4 and not Path("owned").exists()
    assert refused(random.Random(3).sample(fields, 40), tmp_path) > 15


@pytest.mark.slow
def test_every_setting(tmp_path):
    fields = list(runs.settings(BEFORE / "run"))
    assert len(fields) > 500 and refused(fields, tmp_path) > len(fields) / 3


@pytest.mark.slow
def test_a_sample_of_everything(place):
    sample = random.Random(7).sample(list(runs.states(BEFORE / "run")), 12)
    said = survived([*sample, *random.Random(8).sample(list(runs.files(BEFORE / "run")), 12)], place)
    assert all(len(text) < 2000 for text in said.values())


@pytest.mark.slow
def test_every_field_and_every_file(place):
    said = survived([*runs.states(BEFORE / "run"), *runs.files(BEFORE / "run")], place)
    kept = [name for name, text in said.items() if not text]
    # What a run does not need to go on may be anything: it is written again.
    assert len(said) > 200 and len(kept) < len(said) / 2, kept
