"""What was made of recordings for the page, kept in the user's cache within a size; it may be deleted at any time.

A file is known by the digest of the recording's bytes and what was made of them, so that two servers share it. It is
written aside and renamed. The oldest copies go first, and posters and peaks only when no copy is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from coview.errors import UsageError

VERSION = 1  # of how things are made
_LARGE = "proxy"  # the kind that goes first


def default_folder() -> Path:
    """Return where the page's cache lies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coview" / "page"


class Cache:
    """A folder of made files.

    Args:
        most: bytes that it may hold.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made ({error.strerror}); set XDG_CACHE_HOME") from error
        self._lock = threading.Lock()
        self._bytes = sum(size for _, size, _ in self._files())

    def find(self, digest: str, kind: str) -> Path | None:
        """Return the file that was made, None where there is none; it counts as used now."""
        path = self._path(digest, kind)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    @contextlib.contextmanager
    def adding(self, digest: str, kind: str) -> Iterator[Path]:
        """Yield a name to write to; at the end the file is found under its own, if there is one."""
        path = self._path(digest, kind)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            yield aside
            size = aside.stat().st_size
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        with self._lock:
            self._bytes += size
            if self._bytes > self.most:
                self._trim(path)

    def _path(self, digest: str, kind: str) -> Path:
        name = hashlib.sha256(f"{VERSION}/{digest}".encode()).hexdigest()[:40]
        return self.folder / kind / name[:2] / name

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("*/??/*"):
            with contextlib.suppress(OSError):  # another server removed it just now
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        return found

    def _trim(self, newest: Path) -> None:
        files = self._files()
        self._bytes = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda file: (file[2].parent.parent.name != _LARGE, file[0])):
            if self._bytes <= 0.9 * self.most:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                self._bytes -= size
