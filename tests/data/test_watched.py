"""A process that dies or hangs costs one task, which is named; the others are done."""

import os
import time
from pathlib import Path

import pytest

from coview.data.executors import Processes
from coview.data.watched import Lost, watched, working_on
from coview.errors import CoviewError


def live(task):
    if task == "die":
        os._exit(9)
    if task == "hang":
        time.sleep(600)
    if task == "slow":
        for step in range(8):
            working_on(step)
            time.sleep(0.5)
    return task.upper()


def test_one_that_dies_and_one_that_hangs():
    tasks = ["die", "a", "hang", "b", "die", "c"]
    found = sorted(watched(live, tasks, 2, lambda task: 2.0 if task == "hang" else 300.0), key=str)
    assert found == sorted(
        [("a", "A"), ("b", "B"), ("c", "C"), ("die", Lost("crash")), ("die", Lost("crash")), ("hang", Lost("timeout"))],
        key=str,
    )


def test_a_sign_of_life_is_enough():
    assert list(watched(live, ["slow"], 1, lambda task: 3.0)) == [("slow", "SLOW")]


def die_once(path):
    if not Path(path).exists():
        Path(path).touch()
        os._exit(9)
    return "alive"


def test_what_lacked_may_have_been_memory(tmp_path):
    assert list(watched(die_once, [str(tmp_path / "x")], 1, lambda task: 300.0)) == [(str(tmp_path / "x"), "alive")]


class UnsendableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def unsendable(task):
    raise UnsendableError("this", "that")


def test_an_error_that_cannot_travel_is_told():
    with pytest.raises(CoviewError, match="UnsendableError: this and that"):
        list(watched(unsendable, [1], 1, lambda task: 300.0))


def add(numbers):
    total = 0
    for number in numbers:
        working_on(number)
        if number < 0:
            os._exit(9)
        total += number
    return total


def leave_out(numbers, number, why):
    assert why == "crash"
    return tuple(other for other in numbers if other != number)


def test_a_task_goes_on_without_what_costs_a_process():
    tasks = [(1, 2), (3, -1, 4, -2, 5), (6,)]
    assert sorted(Processes(2).run(add, tasks, leave_out)) == [3, 6, 12]
