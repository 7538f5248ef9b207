"""Regular files only: what is no file of bytes (a folder, a pipe, a socket, a device) is told before it is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from coview.errors import MediaError

MAX_BYTES = 64 * 2**30
HEAD = 64  # bytes of a file by which its kind is told

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_regular(path: Path | str) -> bool:
    """Tell whether a path, or what it links to, is a file of bytes; nothing is opened, so that a pipe cannot hang."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def check_file(path: Path | str) -> os.stat_result:
    """Return the facts of a file that can be read.

    Raises:
        MediaError: "missing", "unreadable", "not-media" (a folder, pipe, socket or device), "empty" or "too-large".
    """
    try:
        facts = Path(path).stat()
    except FileNotFoundError as error:
        raise MediaError(str(path), "missing", "there is no such file") from error
    except (OSError, ValueError) as error:  # a loop of links, a folder without permission, a name with a NUL
        raise MediaError(str(path), "unreadable", f"the file cannot be looked at ({error})") from error
    if not stat.S_ISREG(facts.st_mode):
        kind = next((name for holds, name in _KINDS if holds(facts.st_mode)), "something else")
        raise MediaError(str(path), "not-media", f"expected a file, found {kind}")
    if facts.st_size == 0:
        raise MediaError(str(path), "empty", "the file has 0 bytes")
    if facts.st_size > MAX_BYTES:
        raise MediaError(str(path), "too-large", f"{facts.st_size} bytes; at most {MAX_BYTES} are read")
    return facts


def head_of(path: Path | str, length: int = HEAD) -> bytes:
    """Return a file's first bytes; none where it cannot be read, which whoever reads it in earnest reports."""
    if not is_regular(path):
        return b""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(length)
    except OSError:
        return b""
