"""The collection that a page shows: its columns, its files by row, and whether it is still the one on the disk."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from coview.data.collection import Collection
from coview.data.identity import real_path
from coview.data.recording import Recording
from coview.search.filters import Rows
from coview.serve.refusal import Refusal


@dataclass(frozen=True)
class Opened:
    """A collection as it was when it was opened."""

    collection: Collection
    rows: Rows
    state: tuple[int, int, int]

    @property
    def fingerprint(self) -> str:
        """What its rows are known by."""
        return self.collection.fingerprint


class Library:
    """A collection on the disk, opened anew when it has been changed.

    Args:
        folder: of the collection.
        media_roots: folders from which files may be shown that do not lie below the collection's root: a collection
            may come from a stranger, and name any file.

    Raises:
        UsageError: it is no collection.
    """

    def __init__(self, folder: Path, media_roots: Sequence[Path] = ()) -> None:
        self.folder, self._roots = folder, [root.resolve() for root in media_roots]
        self._lock = threading.Lock()
        self._opened = self._open()

    def now(self) -> Opened:
        """Return the collection as it is on the disk now."""
        with self._lock:
            if self._state() != self._opened.state:
                self._opened = self._open()
            return self._opened

    def expect(self, fingerprint: str | None) -> Opened:
        """Return the collection; a row means something only in the collection that it was learnt from.

        Raises:
            Refusal: 409, it was changed since.
        """
        opened = self.now()
        if fingerprint != opened.fingerprint:
            raise Refusal(409, "the collection was changed on disk", "reload the page")
        return opened

    def _open(self) -> Opened:
        state = self._state()
        collection = Collection.open(self.folder)
        _ = collection.table  # all columns now: threads that share it must not each read what is lacking
        return Opened(collection, Rows(collection), state)

    def _state(self) -> tuple[int, int, int]:
        try:
            facts = (self.folder / "collection.json").stat()
        except OSError:  # being replaced just now
            return (0, 0, 0)
        return (facts.st_ino, facts.st_size, facts.st_mtime_ns)

    def locate(self, collection: Collection, recording: Recording) -> Path:
        """Return where a recording's file really lies.

        Raises:
            Refusal: 403 for one outside of the folders that may be shown, 404 for one that is not there any more.
        """
        try:
            root = collection.root.resolve(strict=True)
            path = (root / real_path(recording.path)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise Refusal(404, "the file is not there any more", "bring it back, or index again") from error
        own = () if holds_everything(root) else (root,)
        if not any(path.is_relative_to(folder) for folder in (*own, *self._roots)):
            hint = "start the server with --media-root FOLDER to show files below another folder"
            raise Refusal(403, "the file lies outside of the collection's folder", hint)
        return path

    def outside(self) -> int:
        """Return how many recordings name files by absolute paths, or upwards, so that they may lie anywhere."""
        collection = self.now().collection
        paths = map(real_path, collection.column("path"))
        return sum(path.is_absolute() or ".." in path.parts for path in paths)


def holds_everything(root: Path) -> bool:
    """Tell whether all files of whoever runs this lie in a folder: a stranger's collection may call it its own."""
    return Path.home().resolve().is_relative_to(root.resolve())


def open_file(path: Path, recording: Recording) -> FileIO:
    """Open a regular file that has its indexed size; nothing is waited for, no link is followed.

    Raises:
        Refusal: 404, 403 or 409.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refusal(404, "the file cannot be opened any more", "check its permissions, or index again") from error
    facts = os.fstat(handle)
    if stat.S_ISREG(facts.st_mode) and facts.st_size == recording.bytes:
        return FileIO(handle)
    os.close(handle)
    raise Refusal(409, "the file was changed since it was indexed", "bring the old one back, or index again")
