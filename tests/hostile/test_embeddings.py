"""Models, stored embeddings and checkpoints that were damaged or made up: one sentence each, at once, in little."""

from __future__ import annotations

import itertools
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import embeddings
import pytest
from measured import tiny_model
from measuring import NumberSource, SmallModel

sys.path.insert(0, str(Path(__file__).parents[1] / "interchange"))
from test_foreign import AVID, Audio, Video, projection, publish

import coview
from coview.data.stored import open_stored
from coview.embedding.stored import store
from coview.errors import CoviewError
from coview.interchange.foreign import import_model

_SECONDS, _BYTES = 20, 1 << 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "model"
    tiny_model().save(folder)
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "stored"
    store(SmallModel(), NumberSource(40), folder, windows=2, batch_size=8)
    return folder


class Late(BaseException):
    """Reading took too long; no reader may take this for one of a file's own errors."""


def survive(made: Iterator[embeddings.Mutation], whole: Path, read: Callable[[Path], object], room: Path) -> list[str]:
    """Damage a copy in every way and read it; returns what was neither read nor refused in one sentence."""
    wrong = []

    def late(signum: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    try:
        for what, damage in made:
            copy = room / "copy"
            (shutil.copytree if whole.is_dir() else shutil.copy)(whole, copy)
            damage(copy)
            signal.alarm(_SECONDS)
            try:
                read(copy)
            except CoviewError as error:
                if len(str(error)) > 1500 or not str(error):
                    wrong.append(f"{what}: {str(error)[:100]}")
            except BaseException as error:
                wrong.append(f"{what}: {type(error).__name__}: {error}"[:200])
            finally:
                signal.alarm(0)
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    return wrong


@pytest.mark.parametrize("every", [29, pytest.param(3, marks=pytest.mark.slow)])
def test_models(every: int, model: Path, tmp_path: Path) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = itertools.islice(embeddings.models(model), every // 2, None, every)
    assert survive(made, model, coview.load, tmp_path) == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < _BYTES


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_stored_embeddings(every: int, stored: Path, tmp_path: Path) -> None:
    made = itertools.islice(embeddings.stores(stored), every // 2, None, every)
    assert survive(made, stored, open_stored, tmp_path) == []


@pytest.mark.parametrize("every", [53, pytest.param(7, marks=pytest.mark.slow)])
def test_a_rerun_repairs_stored_embeddings_or_says_what_to_do(every: int, stored: Path, tmp_path: Path) -> None:
    def again(folder: Path) -> None:
        found = store(SmallModel(), NumberSource(40), folder, windows=2, batch_size=8)
        assert all((found.clips[name] == whole.clips[name]).all() for name in whole.clips)

    whole = open_stored(stored)
    made = itertools.islice(embeddings.stores(stored), every // 2, None, every)
    assert survive(made, stored, again, tmp_path) == []


@pytest.mark.slow
def test_checkpoints_of_another_code(tmp_path: Path) -> None:
    parts = {"video_model": Video(10, AVID), "audio_model": Audio()}
    _, path = publish(tmp_path, **parts, video_proj=projection(), audio_proj=projection())
    import_model("avid-cma", path)
    wrong = survive(embeddings.checkpoints(path), path, lambda file: import_model("avid-cma", file), tmp_path)
    assert wrong == []
