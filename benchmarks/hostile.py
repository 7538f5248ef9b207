"""What coview is put through: damaged media and files, hostile names, full and read-only disks, doubles, kills.

    python benchmarks/hostile.py [SECTION ...] [--count 3] [--folder FOLDER]

Prints for each section what was tried and what survived, and each that did not. Survived: an exit code of the table in
docs/reliability.md, one message without traceback or control characters, in stated time; and after a kill, a full disk
or a second call, the same result as an undisturbed run. Disks are small tmpfs mounts, which take root; without it those
sections are named as not run. Long tests run a short form (`tests/hostile/test_hostile.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "hostile")]
SECONDS = 300  # for one call
Finding = tuple[str, str | None]  # what was tried; what went wrong


def call(*words: object) -> tuple[int, str, str]:
    """Run a command in this process; return its code, its results and its talk. A call that hangs is interrupted."""
    from coview.cli.main import main

    def late(*_: object) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    out, talk = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(talk):
            try:
                code = main([str(word) for word in words])
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
    finally:
        signal.alarm(0)
    return code, out.getvalue(), talk.getvalue()


def wrong(code: int, out: str, talk: str, codes: tuple[int, ...] = (0, 1, 2, 3)) -> str | None:
    """Say what is wrong with how a command ended, if anything is."""
    if code not in codes:
        return f"exit code {code}: {talk[-300:]}"
    for word in ("Traceback", "did not expect"):
        if word in talk:
            return talk[talk.index(word) - 100 if word != "Traceback" else talk.index(word) :][:400]
    if any((ord(letter) < 32 and letter not in "\n\t") or 127 <= ord(letter) < 160 for letter in out + talk):
        return f"control characters: {(out + talk)!r}"[:300]
    return None


class Things:
    """Small files, a collection, a model and its embeddings, made once."""

    def __init__(self, folder: Path) -> None:
        import making
        import measured

        self.folder = folder
        self.media = folder / "media"
        if not (folder / "statistics.json").exists():
            self.media.mkdir(parents=True, exist_ok=True)
            for number in range(6):
                making.write(
                    self.media / f"{number}.mp4", picture_times=[k / 10 for k in range(20)],
                    pictures=making.noise_pictures(20, seed=number), rate=16000,
                    sound=making.tone(2, 16000, 220 + 60 * number),
                )  # fmt: skip
            measured.tiny_model().save(folder / "model")
            self.make(folder)

    def make(self, folder: Path) -> None:
        """Make everything that is damaged below."""
        for words in (
            ("index", self.media, "-o", folder / "collection", "--workers", "0"),
            ("prepare", folder / "collection", "-o", folder / "shards"),
            ("embed", "--model", folder / "model", "--collection", folder / "collection", "-o", folder / "embeddings"),
            ("stats", folder / "collection", "-o", folder / "statistics.json", "--tiny"),
        ):
            code, _, talk = call(*words)
            assert code == 0, talk


def media(things: Things, count: int) -> Iterator[Finding]:
    """Damaged media: indexed and embedded, each file either usable or in quarantine."""
    import pyarrow.parquet as pq

    folder, draw = things.folder / "damaged", random.Random(1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    whole = [path for path in (ROOT / "tests" / "cases" / "media").iterdir() if path.is_file()]
    for number in range(100 * count):
        path = draw.choice(whole)
        data = bytearray(path.read_bytes())
        for _ in range(draw.choice([1, 20])):
            data[draw.randrange(len(data) if draw.random() < 0.5 else min(600, len(data)))] ^= 1 << draw.randrange(8)
        (folder / f"{number}{path.suffix}").write_bytes(
            data[: draw.randrange(1, len(data))] if number % 5 == 0 else data
        )
    collection = things.folder / "damaged-collection"
    problem = wrong(*call("index", folder, "-o", collection, "--overwrite"), codes=(0, 3))
    if problem is None:
        found = sum(pq.read_table(collection / f"{name}.parquet").num_rows for name in ("recordings", "quarantine"))
        problem = None if found == 100 * count else f"{found} of {100 * count} files are in the collection"
    for number in range(100 * count):
        yield f"index of damaged file {number}", problem
    out = things.folder / "damaged-embeddings"
    shutil.rmtree(out, ignore_errors=True)
    ended = call("embed", "--model", things.folder / "model", "--collection", collection, "-o", out)
    yield "embedding them", wrong(*ended, codes=(0, 3))


def artefacts(things: Things, count: int) -> Iterator[Finding]:
    """One mutation per field of every file of a collection, prepared copy, model, embeddings and statistics."""
    from artefacts import mutations

    folder = things.folder / "mutated"
    model, collection = things.folder / "model", things.folder / "collection"
    uses: dict[str, Callable[[Path], tuple[object, ...]]] = {
        "collection": lambda bad: ("embed", "--model", model, "--collection", bad, "-o", folder / "o"),
        "shards": lambda bad: ("embed", "--model", model, "--collection", bad, "-o", folder / "o"),
        "model": lambda bad: ("embed", "--model", bad, "--collection", collection, "-o", folder / "o"),
        "embeddings": lambda bad: (
            "search", "--model", model, "--collection", collection, "--embeddings", bad, "--recording", "0.mp4",
        ),
    }  # fmt: skip
    for name, use in uses.items():
        for file in sorted(path for path in (things.folder / name).rglob("*") if path.is_file()):
            listed = list(mutations(file))
            for label, mutate in (
                listed if count >= 10 else random.Random(0).sample(listed, min(len(listed), 4 * count))
            ):
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(things.folder / name, folder / name)
                try:
                    mutate(folder / name / file.relative_to(things.folder / name))
                except Exception:  # such a file cannot be written
                    continue
                yield f"{name}/{label}", wrong(*call(*use(folder / name)))


def names(things: Things, count: int) -> Iterator[Finding]:
    """Names that steer terminals, look like options or are no UTF-8: indexed, embedded, searched."""
    folder = things.folder / "names"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    raw = [
        b"esc\x1b[2J.mp4", b"title\x1b]0;x\x07.mp4", b"line\nbreak.mp4", b"cr\r.mp4", b"latin\xe9.mp4", b"-rf.mp4",
        b"[bold]x[red].mp4", b"%s%n.mp4", b"quote'\".mp4", b" space .mp4", "日本🐕.mp4".encode(), b"c1\xc2\x9b2J.mp4",
        b"gnp\xe2\x80\xae4pm.mp4", b"a" * 250 + b".mp4", b"$(id).mp4", b"back\\slash.mp4", b"tab\t.mp4",
        b"del\x7f.mp4", b"{0}.mp4", b".hidden.mp4",
    ]  # fmt: skip
    for name in raw:
        shutil.copy(things.media / "0.mp4", os.fsencode(folder) + b"/" + name)
        shutil.copyfile(os.devnull, os.fsencode(folder) + b"/broken" + name[:200] + b".mp4")
    collection, model = things.folder / "names-collection", things.folder / "model"
    ended = call("index", folder, "-o", collection, "--overwrite")
    yield f"index of {len(raw)} names and as many broken files", wrong(*ended, codes=(3,))
    out = things.folder / "names-embeddings"
    shutil.rmtree(out, ignore_errors=True)
    yield "embed", wrong(*call("embed", "--model", model, "--collection", collection, "-o", out), codes=(0, 3))
    for json in ((), ("--json",)):
        for name in raw:
            path = os.fsdecode(os.fsencode(folder) + b"/" + name)
            asked = ("--query", path, "--from", "audio", "--to", "video", "-k", 30, *json)
            ended = call("search", "--model", model, "--collection", collection, "--embeddings", out, *asked)
            yield f"search by {name!r} {json}", wrong(*ended)
    yield "a name in a manifest with a NUL", _manifest(things)


def _manifest(things: Things) -> str | None:
    (things.folder / "nul.csv").write_bytes(b"path,id\na\0b.mp4,1\n")
    return wrong(*call("index", things.folder / "nul.csv", "-o", things.folder / "nul"), codes=(1, 2, 3))


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
    """Return a digest of what was made: arrays and tables, which say no times."""
    found = hashlib.sha256()
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in files:
        if path.suffix in (".npy", ".parquet", ".tar") and path.is_file() and not path.name.startswith("."):
            found.update(path.name.encode() + path.read_bytes())
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


def kills(things: Things, count: int) -> Iterator[Finding]:
    """kill -9 at random moments; the same call then ends with what an undisturbed one makes."""
    draw = random.Random(int(time.time()))
    for verb in ("index", "prepare", "embed"):
        plain = things.folder / f"plain-{verb}"
        shutil.rmtree(plain, ignore_errors=True)
        plain.mkdir()
        started = time.monotonic()
        first = _start(_writers(things, plain)[verb])
        first.communicate(timeout=600)
        lasted = time.monotonic() - started
        for turn in range(count):
            out = things.folder / f"killed-{verb}-{turn}"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            process = _start(_writers(things, out)[verb])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=lasted * draw.uniform(0.3, 1.0))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            again = call(*_writers(things, out)[verb])
            problem = wrong(*again, codes=(0, 2) if process.returncode == 0 else (0,))
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


SECTIONS = {
    function.__name__.replace("_", "-"): function
    for function in (media, artefacts, names, full_disk, read_only, doubles, kills, stalls)
}


def main() -> int:
    """Run the sections and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--count", type=int, default=3, help="how much of each: 1 is short, 10 is everything")
    parser.add_argument("--folder", type=Path, help="where things are made; a temporary folder by default")
    asked = parser.parse_args()
    lost = 0
    with tempfile.TemporaryDirectory() as temporary:
        things = Things(asked.folder or Path(temporary))
        print(f"{'section':<12}{'tried':>7}{'survived':>10}", flush=True)
        for name in asked.sections or SECTIONS:
            tried, failures, note = 0, [], ""
            try:
                for what, problem in SECTIONS[name](things, asked.count):
                    tried += 1
                    if problem is not None:
                        failures.append(f"    {what}: {problem}")
            except PermissionError as error:
                note = f"  not run: {error}"
            print(f"{name:<12}{tried:>7}{tried - len(failures):>10}{note}", *failures, sep="\n", flush=True)
            lost += len(failures)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
