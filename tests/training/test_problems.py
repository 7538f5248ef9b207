"""Unreadable samples are counted over the whole run: before a resume, on every process."""

import os
import signal

import pytest
import tiny
import torch
import worlds

from coview import parallel
from coview.data.views import Batch
from coview.errors import DataProblemsError
from coview.training.loop import train
from coview.training.problems import Problems
from coview.training.run import read_lines


def part(size, *replaced):
    rows = torch.arange(size)
    return Batch(views={}, row=rows, key=rows, replaced=list(replaced))


def test_a_few_are_counted_and_many_end_the_run():
    problems = Problems(tiny.TinySource(), None)
    problems.add(part(99, *[(3, "damaged")] * 50))
    problems.check()  # too few samples to tell
    problems = Problems(tiny.TinySource(), None)
    problems.add(part(400, (3, "damaged"), (3, "damaged"), (7, "gone"), (7, "gone")))
    problems.check()
    assert problems.state() == {"read": 400, "replaced": [["square-3", "damaged", 2], ["square-7", "gone", 2]]}
    problems.add(part(1, (3, "damaged")))
    with pytest.raises(
        DataProblemsError, match=r"5 of 401 samples.*\n  - square-3: damaged \(3 times\)\n.*7"
    ) as caught:
        problems.check()
    assert caught.value.exit_code == 3


def on_a_rank(saved):
    problems = Problems(tiny.TinySource(), saved)
    rank = parallel.rank()
    problems.add(part(50, *([(rank, f"réason {rank}")] * rank)))
    try:
        problems.check()
    except DataProblemsError as error:
        return problems.state(), str(error)
    return problems.state(), None


def test_every_process_knows_the_same_and_stops_together():
    saved = {"read": 1000, "replaced": [["square-1", "réason 1", 3]]}
    whole = [["square-1", "réason 1", 4], ["square-2", "réason 2", 2], ["square-3", "réason 3", 3]]
    for start, read, stops in ((None, 200, True), (saved, 1200, False)):
        results = worlds.run(4, on_a_rank, start)
        assert all(result == results[0] for result in results)
        state, said = results[0]
        assert state["read"] == read and (said is not None) == stops
        assert state["replaced"] == (whole if start else [["square-1", "réason 1", 1], *whole[1:]])


class Broken(tiny.TinySource):
    """One recording in forty cannot be read; a signal arrives with some read."""

    def __init__(self, stop=-1):
        super().__init__()
        self.reads, self.stop = 0, stop

    def read(self, row, key):
        if self.reads == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)
        self.reads += 1
        batch = super().read(torch.where(row == 3, 4, row), key)
        batch.replaced += [(3, "damaged")] * int((row == 3).sum())
        return batch


def test_a_resumed_run_stops_where_an_uninterrupted_one_does(tmp_path):
    with pytest.raises(DataProblemsError, match=r"[23] of 104 samples") as whole:
        train(tiny.settings(), tmp_path / "whole", source=Broken(), quiet=True)
    with pytest.raises(SystemExit):
        train(tiny.settings(), tmp_path / "run", source=Broken(stop=5 + 8), quiet=True)
    with pytest.raises(DataProblemsError) as resumed:
        train(tiny.settings(), tmp_path / "run", source=Broken(), quiet=True, resume=True)
    assert str(resumed.value) == str(whole.value)
    for name in ("whole", "run"):
        assert read_lines(tmp_path / name / "metrics.jsonl")[-1]["step"] == 13
