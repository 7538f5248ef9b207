"""The log of labels, and the table made of it."""

import sqlite3
import subprocess
import sys

import pytest

from coview.data.relabelled import read_labels
from coview.errors import CoviewError, UsageError
from coview.search import labels
from coview.search.label_table import check_form, write_labels
from coview.search.labels import LabelLog, Proposal, Said, counted, log_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c" / "labels.sqlite"


def said(name, label, how="key", time=1.0):
    return Said(name, label, how, None, time, "s")


def given(log):
    return {name: one.label for name, one in log.current().items()}


def test_proposals_are_written_once_and_people_count_before_them(path):
    proposals = [Proposal("a", "dog", 0.9), Proposal("b", "rain", 0.6), Proposal("c", None, 0.2)]
    with LabelLog(path) as log:
        assert log.propose(proposals) == 2
        log.add([said("b", "dog")])
    with LabelLog(path) as log:
        assert log.propose(proposals) == 0
        assert log.propose([Proposal("a", "dog", 0.9004), Proposal("b", "rain", 0.7)]) == 1
        assert {name: (one.label, one.how) for name, one in log.current().items()} == {
            "a": ("dog", "zero-shot"),
            "b": ("dog", "key"),
        }
        assert counted(log.current()) == {"dog": 2} and counted(log.proposed()) == {"dog": 1, "rain": 1}
        log.add([said("b", None)])  # the person takes it back, and the model is unsure of a now
        assert log.propose([Proposal("a", None, 0.4)]) == 1
        assert counted(log.current()) == {"rain": 1}
        assert [one.label for one in log.lines()] == ["dog", "rain", "dog", "rain", None, None]


def test_what_was_written_before_a_kill_is_there(path):
    code = f"""
import os, signal
from pathlib import Path
from coview.search.labels import LabelLog, Proposal
log = LabelLog(Path({str(path)!r}))
log.propose([Proposal("a", "dog", 0.9)])
def endless():
    yield ("b", "rain", "key", None, 1.0, "s", None)
    os.kill(os.getpid(), signal.SIGKILL)
log.add(endless())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with LabelLog(path) as log:
        assert counted(log.current()) == {"dog": 1}


def test_strange_files_are_told(path, monkeypatch):
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="no log of labels"):
        LabelLog(path)
    path.unlink()
    with sqlite3.connect(path) as base:
        base.execute("create table labels (id text)")
    base.close()
    with pytest.raises(CoviewError, match=r"labels\.sqlite"):
        LabelLog(path)
    path.unlink()
    with sqlite3.connect(path) as base:
        base.execute("pragma user_version=3")
    base.close()
    with pytest.raises(UsageError, match="labels of format 3, but this version reads 1 and 2"):
        LabelLog(path)
    with sqlite3.connect(path) as base:  # what a later version wrote stays as it is
        assert base.execute("select count(*) from sqlite_master").fetchone() == (0,)
    base.close()
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert str(log_of("abc123")) == "/data/coview/abc123/labels.sqlite"
    for wrong in ("", "../x", "a/b"):
        with pytest.raises(UsageError, match="is none"):
            log_of(wrong)


def test_the_last_act_is_taken_back_whole_and_one_by_one_across_openings(path):
    with LabelLog(path) as log:
        log.propose([Proposal("a", "rain", 0.9)])
        log.add([said("a", "dog", time=1.0)])
        log.add([said("a", "cat", time=2.0), said("b", "cat", time=2.0)])
        log.add([said("b", None, "skip", time=3.0)])
        assert given(log) == {"a": "cat"}
        assert [one.how for one in log.undo("s")] == ["skip"] and given(log) == {"a": "cat", "b": "cat"}
    with LabelLog(path) as log:
        assert [one.id for one in log.undo("t")] == ["a", "b"] and given(log) == {"a": "dog"}
        log.add([said("b", "dog", time=4.0)])
        assert [one.id for one in log.undo("t")] == ["b"]
        assert [one.id for one in log.undo("t")] == ["a"] and given(log) == {"a": "rain"}  # what was proposed stays
        assert log.undo("t") == [] and len(log.lines()) == 10  # and nothing that was said is lost


def test_nobody_writes_between_a_look_and_what_follows_from_it(path, monkeypatch):
    monkeypatch.setattr(labels, "_WAIT", 0.05)
    with LabelLog(path) as log, LabelLog(path) as other:
        with log.alone():
            log.add([said("a", "dog")])
            for act in (lambda: other.add([said("b", "cat")]), lambda: other.undo("t"), lambda: other.propose([])):
                with pytest.raises(CoviewError, match="another program holds"):
                    act()
            assert other.lines() == []  # not before all of it is there
        assert given(other) == {"a": "dog"}
        with pytest.raises(ZeroDivisionError), log.alone():
            log.add([said("a", "cat")])
            1 / 0  # noqa: B018
        assert given(log) == {"a": "dog"}


def test_a_log_that_was_replaced_takes_no_more(path):
    with LabelLog(path) as log:
        path.rename(path.with_name("kept.sqlite"))
        with pytest.raises(CoviewError, match="deleted or replaced"):
            log.add([said("a", "dog")])
        LabelLog(path).close()
        with pytest.raises(CoviewError, match="deleted or replaced"):
            log.add([said("a", "dog")])


def test_a_log_of_the_first_format_is_read_on(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as base:
        base.execute("pragma user_version=1")
        base.execute("""create table labels (number integer primary key, id text not null, label text,
                     how text not null, confidence real, time real not null, session text not null)""")
        base.execute("insert into labels values (1, 'a', 'dog', 'zero-shot', 0.5, 1.0, 's')")
    base.close()
    for _ in range(2):
        with LabelLog(path) as log:
            assert log.lines()[0] == Said("a", "dog", "zero-shot", 0.5, 1.0, "s", None)
            log.add([said("b", "rain")._replace(content="f00")])
            assert log.lines(after=1)[0].content == "f00"


@pytest.mark.parametrize("form", [".csv", ".parquet"])
def test_a_table_is_read_back_as_labels(tmp_path, form):
    rows = [
        {"path": "/a,\n.mp4", "id": "a", "label": 'c++ "x"', "split": None, "confidence": 0.5},
        {"path": "/b", "id": "b", "label": None, "split": None, "confidence": None},
    ]
    write_labels(rows, tmp_path / f"t{form}")
    assert read_labels(tmp_path / f"t{form}") == {"a": 'c++ "x"'}
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        check_form(tmp_path / "t.txt")
