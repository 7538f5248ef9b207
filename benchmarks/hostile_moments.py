"""The sections of benchmarks/hostile.py about disks and moments: full, read-only, twice at once, killed, stalled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hostile_calls import Finding, Things, call, wrong


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk; raises PermissionError where this account may not."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False, capture_output=True
    )
    if made.returncode:
        raise PermissionError("mounting a small disk takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _writers(things: Things, out: Path) -> dict[str, tuple[object, ...]]:
    model, collection = things.folder / "model", things.folder / "collection"
    return {
        "index": ("index", things.media, "-o", out / "r"),
        "prepare": ("prepare", collection, "-o", out / "r"),
        "embed": ("embed", "--model", model, "--collection", collection, "-o", out / "r"),
        "stats": ("stats", collection, "-o", out / "r.json", "--tiny"),
        "explain": ("explain", "--model", model, "--collection", "digits-av", "--count", "40", "-o", out / "r"),
        "export": ("export", model, "--onnx", out / "r"),
        "pretrain": (
            "pretrain", "xid", "--tiny", "--collection", "digits-av", "--train.steps", "2", "--train.device", "cpu",
            "-o", out / "r",
        ),
    }  # fmt: skip


def full_disk(things: Things, count: int) -> Iterator[Finding]:
    """Every writing verb on disks that are too small: one sentence; where there is room then, all succeeds."""
    for verb in _writers(things, Path("x")):
        for size in ("4k", "16k", "64k", "256k")[: max(1, count)]:
            with disk(things.folder / "disk", size) as place:
                ended = call(*_writers(things, place)[verb])
                problem = wrong(*ended)
                if problem is None and ended[0] == 1 and "No space left" not in ended[2]:
                    problem = f"does not say that the disk is full: {ended[2][-300:]}"
                yield f"{verb} on {size}", problem
                subprocess.run(["mount", "-o", "remount,size=500m", place], check=True)
                yield f"{verb} again with room", wrong(*call(*_writers(things, place)[verb]), codes=(0, 2, 3))


def read_only(things: Things, count: int) -> Iterator[Finding]:
    """Every writing verb on a disk that can only be read: one sentence."""
    for verb in _writers(things, Path("x")):
        with disk(things.folder / "disk", "10m") as place:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            yield verb, wrong(*call(*_writers(things, place)[verb]), codes=(1, 2))


def _start(words: tuple[object, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "coview", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _digest(folder: Path) -> str:
    """Return a digest of what was made: arrays, tables and figures, which say no times."""
    found = hashlib.sha256()
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in files:
        if path.suffix in (".npy", ".parquet", ".tar") and path.is_file() and not path.name.startswith("."):
            found.update(path.name.encode() + path.read_bytes())
        elif path.parent.name == "evaluations" and path.suffix == ".json":
            found.update(json.dumps(json.loads(path.read_text(encoding="utf-8"))["results"]).encode())
    return found.hexdigest()


def doubles(things: Things, count: int) -> Iterator[Finding]:
    """Two calls of one verb on one folder: one wins, the other says who is there, or finds the work done."""
    for verb in ("index", "prepare", "embed", "pretrain"):
        for turn in range(count):
            out = things.folder / f"double-{verb}-{turn}"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            running = [_start(_writers(things, out)[verb]) for _ in range(2)]
            ended = [(*process.communicate(timeout=600), process.returncode) for process in running]
            problems = [wrong(code, text, talk, (0, 1, 2, 3)) for text, talk, code in ended]
            if not any(code == 0 for *_, code in ended):
                problems.append(f"none of the two succeeded: {[talk[-200:] for _, talk, _ in ended]}")
            yield f"{verb}, twice at once", next(filter(None, problems), None)


def _killed(things: Things, out: Path) -> dict[str, tuple[object, ...]]:
    measured = ("evaluate", "retrieval", "--model", out / "m", "--collection", things.folder / "collection")
    return {**_writers(things, out), "evaluate": measured}


def kills(things: Things, count: int) -> Iterator[Finding]:
    """kill -9 at random moments; the same call then ends with what an undisturbed one makes."""
    draw = random.Random(int(time.time()))
    for verb in ("index", "prepare", "embed", "evaluate"):
        plain = things.folder / f"plain-{verb}"
        shutil.rmtree(plain, ignore_errors=True)
        shutil.copytree(things.folder / "model", plain / "m")
        started = time.monotonic()
        first = _start(_killed(things, plain)[verb])
        first.communicate(timeout=600)
        lasted = time.monotonic() - started
        for turn in range(count):
            out = things.folder / f"killed-{verb}-{turn}"
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(things.folder / "model", out / "m")
            process = _start(_killed(things, out)[verb])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=lasted * draw.uniform(0.3, 1.0))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            again = call(*_killed(things, out)[verb])
            problem = wrong(*again, codes=(first.returncode, 2) if process.returncode == 0 else (first.returncode,))
            if problem is None and _digest(out) != _digest(plain):
                problem = "what it made differs from an undisturbed run"
            yield f"{verb} killed", problem


def stalls(things: Things, count: int) -> Iterator[Finding]:
    """A process of three that stalls, sleeps or leaves: the others name it in stated time."""
    import test_parallel

    (mark,) = [mark for mark in test_parallel.test_a_process_that_stalls_or_leaves_is_named_in_stated_time.pytestmark
               if mark.name == "parametrize"]  # fmt: skip
    for what, story in mark.args[1]:
        try:
            test_parallel.test_a_process_that_stalls_or_leaves_is_named_in_stated_time(what, story)
            yield what, None
        except AssertionError as error:
            yield what, str(error)[:300]
