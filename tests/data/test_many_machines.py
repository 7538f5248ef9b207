"""Index, prepare and embed on Ray, its worker processes killed under them: the files of the serial run to the byte.

As a program this file does one of the two runs: `python test_many_machines.py serial|ray FILMS COLLECTION MODEL OUT`.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from coview.cli.main import main
from coview.data import probing

WORKERS = 3
VERBS = ("index", "prepare", "embed")


@pytest.mark.slow
def test_every_worker_is_killed_once_and_the_files_are_those_of_a_serial_run(tmp_path):
    from measured import collection, tiny_model

    pytest.importorskip("ray", reason="needs the extra ray")
    tiny_model().save(tmp_path / "model")
    told = [str(path) for path in (collection() / "media", collection(), tmp_path / "model")]
    runs = [
        subprocess.Popen([sys.executable, __file__, how, *told, str(tmp_path / how)], stdout=subprocess.PIPE, text=True)
        for how in ("serial", "ray")
    ]
    _, many = (run.communicate(timeout=900)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0], many
    assert [int(line.split()[2]) for line in many.splitlines() if line.startswith("killed")] == [WORKERS] * len(VERBS)
    for verb in VERBS:
        assert contents(tmp_path / "ray" / verb) == contents(tmp_path / "serial" / verb)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def both(how, films, collection, model, out):
    """Run the three verbs, on Ray with its workers killed."""
    executor = ["--executor", "ray"] if how == "ray" else []
    here = [] if executor else ["--workers", "0"]
    told = {
        "index": ["index", films, *(executor or here)],
        "prepare": ["prepare", collection, "--recordings-per-shard", "2", *(executor or here)],
        "embed": ["embed", "--model", model, "--collection", collection, "--batch-size", "2", *executor],
    }
    Path(out).mkdir()
    for verb in VERBS:
        draw, killed, over = random.Random(verb), [], threading.Event()
        killer = threading.Thread(target=kill_each_once, args=(draw, killed, over))
        if executor:
            killer.start()
        code = main([*told[verb], "-o", str(Path(out, verb)), "--json"])
        assert code == 0, verb
        over.set()
        if executor:
            killer.join()
            print("killed", verb, len(killed), flush=True)


def kill_each_once(draw, killed, over):
    """Kill the first processes of Ray seen at a task, each at a random moment after that."""
    due = {}
    while not over.is_set() and len(killed) < WORKERS:
        for pid in at_work():
            if pid not in due and len(due) < WORKERS:
                due[pid] = time.monotonic() + draw.uniform(0, 2)
            if pid not in killed and time.monotonic() > due.get(pid, float("inf")):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.01)


def at_work():
    """Return the processes of Ray below this one that are at a task."""
    above, working = {}, []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal():
                above[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if (folder / "cmdline").read_bytes().startswith(b"ray::_done"):
                    working.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue

    def below(pid):
        return pid == os.getpid() or (pid in above and below(above[pid]))

    return [pid for pid in working if below(pid)]


if __name__ == "__main__":
    if sys.argv[1] == "ray":
        # On a computer that does much else, too: Ray gives up early, and its workers yield to everybody.
        patience = {"raylet_start_wait_time_s": 600, "worker_register_timeout_seconds": 600, "worker_niceness": 0}
        os.environ |= {f"RAY_{name}": str(value) for name, value in patience.items()}
        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False)
        probing._SHARE = 4
    both(*sys.argv[1:])
