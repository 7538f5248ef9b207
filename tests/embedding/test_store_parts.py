"""Parts of a store that other processes make: the bytes of one process, and no mixture of two models."""

from dataclasses import dataclass

import pytest
from measuring import NumberSource, SmallModel

from coview.data.executors import Processes, Serial
from coview.embedding import parts
from coview.embedding import stored as writing
from coview.embedding.stored import store
from coview.errors import CoviewError


@dataclass(frozen=True)
class Opening:
    """Opens a source of 40 recordings, or one that says it is another."""

    name: str = "made"
    other: bool = False

    def open(self):
        source = NumberSource(40)
        if self.other:
            source.fingerprint = "another"
        return SmallModel(), source


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(writing, "_PARTS", 5)
    parts._opened.cache_clear()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def build(folder, **more):
    return store(SmallModel(), NumberSource(40), folder, windows=2, batch_size=4, **more)


@pytest.mark.parametrize("executor", [Serial(), Processes(2)])
def test_other_processes_leave_the_bytes_of_one(tmp_path, executor):
    build(tmp_path / "one")
    seen = []
    found = build(
        tmp_path / "many", executor=executor, opener=Opening(), progress=lambda done, total: seen.append((done, total))
    )
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert seen == [(8, 40), (16, 40), (24, 40), (32, 40), (40, 40)] and len(found.ids) == 40


def test_a_process_that_sees_other_files_is_told(tmp_path):
    with pytest.raises(CoviewError, match="another model or collection"):
        build(tmp_path / "e", executor=Serial(), opener=Opening(other=True))
