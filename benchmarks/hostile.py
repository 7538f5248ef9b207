"""What coview is put through: damaged media and files, hostile names, full and read-only disks, doubles, kills.

    python benchmarks/hostile.py [SECTION ...] [--count 3] [--folder FOLDER]

Prints for each section what was tried and what survived, and each that did not. Survived: an exit code of the table in
docs/reliability.md, one message without traceback or control characters, in stated time; and after a kill, a full disk
or a second call, the same result as an undisturbed run. Disks are small tmpfs mounts, which take root; without it those
sections are named as not run. Long tests run a short form (`tests/hostile/test_hostile.py`).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile_calls import ROOT, Finding, Things, call, wrong
from hostile_moments import doubles, full_disk, kills, read_only, stalls


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
