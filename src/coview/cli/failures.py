"""The last net: whatever a verb raises becomes one sentence, an exit code, and details in a file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import tempfile
import traceback

from coview.errors import CoviewError, shown

# What the operating system refuses -> what a person does about it.
ADVICE = {
    errno.ENOSPC: "the disk is full; make room and give the same command again",
    errno.EDQUOT: "your share of the disk is used up; make room and give the same command again",
    errno.EFBIG: "the file grew larger than this file system or this account allows; choose another place",
    errno.EROFS: "the disk can only be read; choose another place to write to",
    errno.EACCES: "this account may not do that; change the permissions or choose another place",
    errno.EPERM: "this account may not do that; change the permissions or choose another place",
    errno.ENOENT: "there is no such file or folder, or it has gone meanwhile; check the name",
    errno.ENOTDIR: "a part of this path is a file where a folder was expected; check the name",
    errno.EISDIR: "this is a folder where a file was expected; check the name",
    errno.EEXIST: "there is something of this name already; choose another name",
    errno.ENAMETOOLONG: "this name is longer than the file system allows; choose a shorter one",
    errno.ELOOP: "these links lead in a circle; check them",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n) or use fewer workers",
    errno.ENFILE: "too many files are open on this computer; close other programs",
    errno.ENOMEM: "there is not enough memory; use a smaller batch or fewer workers",
    errno.EIO: "the disk or network drive failed; check it and give the same command again",
    errno.ESTALE: "the network drive has changed underneath; give the same command again",
    errno.ENOTCONN: "the connection has gone; give the same command again",
}
MEMORY = "there is not enough memory; use a smaller batch, smaller views or fewer workers"


def tell(command: str, error: BaseException) -> int:
    """Print one sentence about what ended a command ("coview index"), and return the exit code."""
    if os.environ.get("COVIEW_TRACEBACK") == "1":
        _say(_details(error))
    if isinstance(error, KeyboardInterrupt):
        _say(f"{command}: stopped")
        return 130
    if isinstance(error, CoviewError):
        _say(f"{command}: {error}")
        return error.exit_code
    _say(f"{command}: {_sentence(error)}")
    return 1


def _sentence(error: BaseException) -> str:
    refused = _refusal(error)
    if refused is not None:
        number, name = refused
        advice = ADVICE.get(number, "the operating system refused it")
        return (f"{shown(name)}: " if name else "") + f"{os.strerror(number)}: {advice}"
    if _out_of_memory(error):
        return MEMORY
    message = shown(next(iter(str(error).strip().splitlines()), "no message"))
    where = _keep_details(error)
    kept = f"the details are in {where}" if where else "put COVIEW_TRACEBACK=1 before the command to see the details"
    return f"something that coview did not expect ({type(error).__name__}: {message[:300]}); {kept}"


def _refusal(error: BaseException) -> tuple[int, str] | None:
    """Return the number and the file of what the operating system refused, where that is what happened."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno, os.fsdecode(cause.filename) if isinstance(cause.filename, (str, bytes)) else ""
        # Libraries in other languages give the number in words: safetensors "(os error 28)", Arrow "[Errno 28]".
        told = re.search(r"(?:os error |errno )(\d+)", str(cause), re.IGNORECASE)
        if told and int(told[1]) in ADVICE:
            return int(told[1]), ""
        cause = cause.__cause__
    return None


def _out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _details(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _keep_details(error: BaseException) -> str | None:
    """Write the traceback to a file of its own among the temporary ones; return its name, None where that fails."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="coview-", suffix=".traceback.txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(_details(error))
    except OSError:
        return None
    return file.name


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr is closed, or its disk is full: nobody can read it
        print(shown(text, lines=True), file=sys.stderr, flush=True)
