"""A file that one of many processes writes, while the others wait for it: what is made at great cost is made once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from coview.files import synced, written_whole

PATIENCE = 120.0  # seconds that another process may take for one file
_LOOK = 0.02  # seconds from one look at it to the next


@contextlib.contextmanager
def written_once(path: Path, patience: float = PATIENCE) -> Iterator[BinaryIO | None]:
    """Yield a file to write to, which is named `path` at the end; None where it is there, or another has written it.

    What is being written lies beside it as `.NAME.partial`, which its writer holds: the lock dies with the process, and
    the next one begins anew. When writing fails, nothing is left. Where the file system knows no locks, two processes
    may do the same work, each under a name of its own.

    Raises:
        TimeoutError: another process has held it for `patience` seconds.
        OSError: nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    handle = _held(path, aside, patience)
    if handle is None:
        yield None
        return
    if handle < 0:
        with written_whole(path) as own, own.open("wb") as stream:
            yield stream
        return
    with os.fdopen(handle, "wb") as stream:
        try:
            stream.truncate(0)
            yield stream
            stream.flush()
            os.fsync(handle)
            if not _is(handle, aside):
                raise FileNotFoundError(f"{aside} was removed while it was written")
            aside.replace(path)
        except BaseException:
            if _is(handle, aside):
                aside.unlink(missing_ok=True)
            raise
    synced(path.parent)


def _is(handle: int, path: Path) -> bool:
    """Tell whether a file that is open still has its name: the folder may have been removed, and made again."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    return False


def _held(path: Path, aside: Path, patience: float) -> int | None:
    """Return a handle on `aside` that no other process holds; None once `path` is there, -1 without locks."""
    until = time.monotonic() + patience
    while not path.exists():
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(handle, aside):  # else its holder gave it its name, or up, just before
                if not path.exists():
                    return handle
                aside.unlink(missing_ok=True)  # it was done between our looking and our opening
            os.close(handle)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() > until:
                raise TimeoutError(f"{path}: another process has been writing it for {patience:g} s") from None
            time.sleep(_LOOK)
        except OSError:  # a file system without locks
            os.close(handle)
            aside.unlink(missing_ok=True)
            return -1
    return None
