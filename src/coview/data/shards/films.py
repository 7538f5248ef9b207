"""The cache of films: stored clips that runs have decoded, a tar each, in a folder for every cut; it may be deleted.

    films/16fps-128px-16000Hz-q90-1a2b3c4d/       a cut: settings and versions of what decodes and encodes
        cut.json                                  which ones; touched by every run that reads here
        3f/3f09...tar                             a clip, by its film's bytes and its seconds

A clip is there whole or not at all, whoever wrote it. Runs, processes and machines that see one folder share it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from coview.data.shards.layout import BLOCK, PrepareSettings
from coview.data.shards.once import written_once
from coview.data.shards.tars import Tars, drop_oldest
from coview.data.shards.write import add_clip
from coview.errors import MediaError, UsageError
from coview.files import read_json, write_aside

FORMAT = 1
CUT = "cut.json"
RESERVE = 1 << 30  # bytes of the disk that are left to checkpoints and others
_CUTS = "*fps-*px-*Hz-q*"
_END = 2 * BLOCK  # zeros behind the last member of a tar
_COUNTED = 100  # clips that a process writes before it counts again what all have written
_MOST_PLACES = 1 << 16  # clips whose files a process remembers, far more than threads read at once

Encoded = tuple[dict[str, Any], list[tuple[str, bytes]]]


def default_folder() -> Path:
    """Return where the cache lies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coview" / "films"


@dataclass
class Films:
    """The clips of one cut; a plain value that reading processes are given.

    Attributes:
        root: of all cuts.
        limit: bytes that all cuts together may hold.
        closed: why nothing more is written; None as long as there is room.
    """

    root: Path
    settings: PrepareSettings
    limit: int
    closed: str | None = None
    _left: int = 0
    _written: int = field(default=0, repr=False)

    @property
    def folder(self) -> Path:
        """Where this cut lies."""
        cut = self.settings
        return self.root / f"{cut.fps:g}fps-{cut.size}px-{cut.sample_rate}Hz-q{cut.quality}-{_digest(_about(cut))[:8]}"

    def open(self) -> None:
        """Make the folder, and say that it is used now; where that fails, it is closed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_aside(self.folder / CUT, json.dumps(_about(self.settings), indent=1) + "\n")
        except OSError as error:
            self.closed = f"{self.folder}: {error.strerror or error}"

    def place(self, facts: list[Any]) -> Path:
        """Return the file of a clip, by what its contents follow from beside the cut."""
        name = _digest(facts)[:40]
        return self.folder / name[:2] / f"{name}.tar"

    def room(self) -> int:
        """Return how many bytes may still be written: by the limit, and by what is free on the disk."""
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        free = shutil.disk_usage(there).free - RESERVE
        return min(self.limit - sum(cut.bytes for cut in cuts(self.root)), free)

    def there(self) -> int:
        """Return how many bytes this cut holds already."""
        return sum(_sizes(self.folder))

    def store(self, place: Path, clip: int, make: Callable[[], Encoded]) -> bool:
        """Make a clip unless it is there, or another process makes it; tell whether it is there now.

        Raises:
            MediaError: what `make` raises.
        """
        if place.exists():
            return True
        try:
            if self.closed is None and self._left <= 0:
                self._count()
            if self.closed is not None:
                return False
            with written_once(place) as stream:
                if stream is not None:
                    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                        size = add_clip(tar, f"{place.stem}-{clip:02d}", *make())["bytes"]
                    stream.truncate(size + _END)
                    self._spend(size)
        except (TimeoutError, FileNotFoundError):  # another process is at it, or removes the cache just now
            return False
        except OSError as error:
            self.closed = f"{self.folder}: {error.strerror or error}"
            return False
        return True

    def _count(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._left, self._written = self.room(), 0
        if self._left <= 0:
            full = shutil.disk_usage(self.root).free <= RESERVE
            why = f"less than {RESERVE >> 30} GB are free" if full else f"it holds its {self.limit / 1e9:.3g} GB"
            self.closed = f"{self.root}: {why}"

    def _spend(self, size: int) -> None:
        self._left, self._written = self._left - size, self._written + 1
        if self._written >= _COUNTED:
            self._left = 0  # others write too


@dataclass
class FilmTars(Tars):
    """The clips of a cache, read as those of shards are: every clip is a tar of its own, numbered as the clips are."""

    places: dict[int, Path] = field(default_factory=dict)

    def name(self, shard: int) -> str:
        """Return the path of a clip, for messages and for opening it."""
        return str(self.places[shard])

    def look(self, clip: int, place: Path) -> tuple[int, int]:
        """Return how many bytes the members of a clip have, and how many its description.

        Raises:
            MediaError: it is not there, or damaged.
        """
        if len(self.places) >= _MOST_PLACES:
            drop_oldest(self.places)
        self.places.pop(clip, None)  # it is the newest now
        self.places[clip] = place
        head = self.read(clip, 0, BLOCK)
        try:
            return place.stat().st_size - _END, tarfile.TarInfo.frombuf(head, "utf-8", "strict").size
        except (tarfile.HeaderError, UnicodeDecodeError, OSError) as error:
            raise self.damaged(clip, "it does not begin as a tar") from error

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """See `Tars.read`; nothing stays open, for there are many, and threads would close each other's."""
        try:
            with Path(self.name(shard)).open("rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), size, offset)
        except OSError as error:
            raise MediaError(self.name(shard), "missing", f"it cannot be read: {error.strerror}") from error
        if len(data) < size:
            raise self.damaged(shard, f"it ends before {offset + size}")
        return data

    def knows(self, clip: int) -> bool:
        """Tell whether a clip has been looked at, and what it says of itself is remembered."""
        return clip in self._known and clip in self.places

    def forget(self, clip: int) -> None:
        """Forget what a clip said of itself: it is to be written anew."""
        self._known.pop(clip, None)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"places": {}}


class Cut(NamedTuple):
    """A cut of the cache: its folder, what it is, how many clips and bytes it holds, when a run last began with it."""

    folder: Path
    settings: dict[str, Any]
    clips: int
    bytes: int
    used: float


def cuts(root: Path) -> Iterator[Cut]:
    """Yield the cuts that lie in a cache, also those whose card a removal took before a run went on to write."""
    for folder in _matching(root, _CUTS):
        try:
            used = folder.stat().st_mtime
            about = read_json(folder / CUT, "a cut of the cache of films", limit=1 << 16)
            used = (folder / CUT).stat().st_mtime
        except UsageError:
            about = {}
        except OSError:  # removed just now
            continue
        sizes = list(_sizes(folder))
        settings = about.get("settings")
        yield Cut(folder, settings if isinstance(settings, dict) else {}, len(sizes), sum(sizes), used)


def remove(root: Path, name: str) -> list[Cut]:
    """Remove a cut by its name, or every one for "all", and return what was removed.

    A run that reads there goes on: what it lacks, it makes again.

    Raises:
        UsageError: there is none of this name; lists those that are.
        OSError: a file cannot be removed.
    """
    there = list(cuts(root))
    chosen = [cut for cut in there if name in ("all", cut.folder.name)]
    if not chosen and name != "all":
        listed = "there are: " + ", ".join(cut.folder.name for cut in there) if there else "it is empty"
        raise UsageError(f"{root} holds no films as {name!r}; {listed}")
    for cut in chosen:
        aside = cut.folder.with_name(f"{cut.folder.name}.{secrets.token_hex(4)}")  # a cut too, if this is stopped
        with contextlib.suppress(FileNotFoundError):
            cut.folder.rename(aside)  # a run that writes there begins a new one
            shutil.rmtree(aside)
    return chosen


def _sizes(folder: Path) -> Iterator[int]:
    for path in (path for part in _matching(folder, "??") for path in _matching(part, "*")):
        with contextlib.suppress(OSError):  # removed just now
            yield path.stat().st_size


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return what lies in a folder, in order; nothing where it is not there, or not any more."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if fnmatchcase(entry.name, pattern))
    except OSError:
        return []


def _about(settings: PrepareSettings) -> dict[str, Any]:
    """Return what the bits of a clip depend on beside its film."""
    cut = dataclasses.asdict(settings)
    del cut["recordings_per_shard"]
    return {
        "format": FORMAT,
        "settings": cut,
        "versions": {name: version(name) for name in ("av", "pillow", "simplejpeg", "numpy")},
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
