"""Executors: every task once, errors as they are, shares of ranks, and Ray on this computer."""

import importlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import worlds

from coview.data.executors import Processes, Ranks, Ray, Serial, choose_executor
from coview.errors import CoviewError, MediaError, UsageError


def square(number):
    return number * number


def fail_on_three(number):
    if number == 3:
        raise MediaError("film.mp4", "truncated", "it ends early")
    return number


def die(number):
    os._exit(9)


@pytest.mark.parametrize("executor", [Serial(), Processes(2), Ranks()])
def test_every_task_is_done_once(executor):
    assert sorted(executor.run(square, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(executor.run(square, [])) == []


@pytest.mark.parametrize("executor", [Serial(), Processes(2)])
def test_an_error_of_the_family_comes_back_as_it_is(executor):
    with pytest.raises(MediaError, match=r"film\.mp4: truncated: it ends early"):
        list(executor.run(fail_on_three, range(6)))


def test_a_lost_process_is_explained():
    with pytest.raises(CoviewError, match="goes on from here"):
        list(Processes(1).run(die, [1, 2]))


def linger(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until(condition):
    for _ in range(1200):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_work_in_progress_ends_with_its_caller(tmp_path):
    script = "import sys; from test_executors import *; list(Processes(2).run(linger, [sys.argv[1]] * 4))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    paths = [str(Path(__file__).parent), *sys.path]
    caller = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert until(lambda: len(list(tmp_path.iterdir())) == 2)
    caller.kill()
    caller.wait()
    assert until(lambda: all(gone(int(path.name)) for path in tmp_path.iterdir()))


def linger_or_fail(task):
    if task == "fail":
        raise MediaError("film.mp4", "truncated", "it ends early")
    linger(task)


def test_an_error_does_not_wait_for_the_others(tmp_path):
    started = time.monotonic()
    with pytest.raises(MediaError):
        list(Processes(2).run(linger_or_fail, [str(tmp_path), "fail"]))
    assert time.monotonic() - started < 300


def shares(count):
    return list(Ranks().run(square, range(count)))


def test_ranks_share_the_tasks():
    assert worlds.run(2, shares, 5) == [[0, 4, 16], [1, 9]]


def test_torchrun_s_and_srun_s_variables_are_enough(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    assert isinstance(choose_executor("auto"), Ranks)
    assert list(Ranks().run(square, range(7))) == [1, 16]
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert list(Ranks().run(square, range(7))) == [4, 25]


def test_names():
    assert isinstance(choose_executor("auto"), Processes) and isinstance(choose_executor("auto", 0), Serial)
    assert choose_executor("processes", 3) == Processes(3) and choose_executor("ray", 2) == Ray(2)
    assert isinstance(choose_executor("ranks"), Ranks)


def test_ray_that_is_absent_is_explained(monkeypatch):
    whole = importlib.import_module

    def absent(name, *rest):
        if name == "ray":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"coview\[ray\]"):
        list(Ray().run(square, [1]))


@pytest.mark.slow
def test_ray_on_this_computer(tmp_path):
    """In a process of its own: Ray starts others, and changes how a process ends."""
    pytest.importorskip("ray", reason="needs the extra ray")
    script = tmp_path / "tasks.py"
    script.write_text(
        textwrap.dedent("""
            from coview.data.executors import Ray
            from coview.errors import MediaError

            def work(number):
                if number == 9:
                    raise MediaError("film.mp4", "truncated", "it ends early")
                return number * number

            if __name__ == "__main__":
                print(sorted(Ray(2).run(work, range(7))))
                try:
                    list(Ray(1).run(work, [9]))
                except MediaError as error:
                    print(error)
        """),
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0, 1, 4, 9, 16, 25, 36]", "film.mp4: truncated: it ends early"]
