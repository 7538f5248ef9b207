"""Whether a file is still the one that was indexed; and any name of a file as text that loses nothing.

A name is a row of bytes. One that is not UTF-8 is kept in a collection as `./latin\\xe9.mp4`: a leading `./` (behind
the root where there is one), which no other kept name has, says that backslashes are doubled and other bytes written
as `\\xNN`. Every other name is kept as it is.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from pathlib import Path, PurePath

from coview.errors import MediaError
from coview.files import sha256_of

_BYTES = re.compile("[\ud800-\udfff]")  # how Python keeps bytes that are no UTF-8
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|(\\))")


def kept_name(path: PurePath) -> str:
    """Return a path as text in UTF-8, from which `real_path` makes the same path again."""
    text = path.as_posix()
    if as_text(text) == text:
        return text
    root, rest = ("/", text[1:]) if text.startswith("/") else ("", text)
    return f"{root}./{as_text(rest)}"


def as_text(name: str) -> str:
    """Return a name in UTF-8; where it is not, backslashes are doubled and other bytes written as `\\xNN`."""
    if _BYTES.search(name) is None:
        return name
    return _BYTES.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name.replace("\\", "\\\\"))


def real_path(kept: str) -> Path:
    """Return the path that `kept_name` was given."""
    root, rest = ("/", kept[1:]) if kept.startswith("/") else ("", kept)
    if not rest.startswith("./"):
        return Path(kept)
    return Path(root + _ESCAPE.sub(lambda found: found[2] or os.fsdecode(bytes([int(found[1], 16)])), rest[2:]))


def check(path: Path, *, size: int, modified: int = 0, digest: str = "") -> None:
    """Return when a file is the one that was indexed; this costs one look at it, and one reading where it was touched.

    Args:
        size: its bytes when it was indexed.
        modified: when it was last changed (ns since 1970); 0 where that was not recorded, and the size alone decides.
        digest: SHA-256 of its bytes, asked only where it was touched since; "" where that was not recorded.

    Raises:
        MediaError: "gone", or "changed".
    """
    try:
        now = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        why = "it was indexed, but is not there any more; bring it back, or index again"
        raise MediaError(str(path), "gone", why) from error
    if stat.S_ISREG(now.st_mode) and now.st_size == size:
        if not modified or now.st_mtime_ns == modified:
            return
        if not digest or _digest(path, now.st_mtime_ns, now.st_size) == digest:
            return
    raise MediaError(str(path), "changed", "it is not the file that was indexed; bring that back, or index again")


def touched(path: Path, modified: int) -> bool:
    """Tell whether a file that is there was changed at another time than `modified` (ns since 1970; 0: not known)."""
    try:
        return bool(modified) and path.stat().st_mtime_ns != modified
    except (OSError, ValueError):
        return False


@functools.lru_cache(maxsize=1 << 16)  # once per process and change, not at every reading
def _digest(path: Path, modified: int, size: int) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        why = f"it cannot be read any more ({error.strerror}); bring it back, or index again"
        raise MediaError(str(path), "gone", why) from error
