"""The one error family of coview and the exit codes of its command line.

Every message says what was seen, where, what was expected and what to do about it.
"""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), halves of surrogate pairs, line separators, and what turns the writing direction.
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
_BUT_LINES = re.compile(UNSHOWN.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def shown(text: object, *, lines: bool = False) -> str:
    """Return text, such as the name of a file, so that a terminal only shows it and never obeys it.

    Control characters and escape sequences become `\\x1b`, bytes that were no UTF-8 the same; with `lines`, tabs and
    ends of lines stay.
    """
    return (_BUT_LINES if lines else UNSHOWN).sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that the file system's encoding could not read
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class CoviewError(Exception):
    """Something failed that the user can act on; the message says how. Exit code 1."""

    exit_code = 1


class UsageError(CoviewError):
    """The command or the call was wrong: unknown name, impossible combination. Exit code 2."""

    exit_code = 2


class InputError(UsageError, ValueError):
    """Arrays given to an estimator do not fit; a ValueError as well, which is what scikit-learn's tools expect."""


class SettingsError(UsageError):
    """One or more settings are wrong; `problems` lists all of them at once. Exit code 2."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the settings"
        super().__init__(f"{count}:\n" + "\n".join(f"  - {problem}" for problem in problems))


class MediaError(CoviewError):
    """A media file cannot be read as asked. `reason` is a short stable word, such as "truncated".

    The word is what the quarantine table counts; the message is for people.
    """

    def __init__(self, path: str, reason: str, message: str) -> None:
        self.path = path
        self.reason = reason
        self.message = message
        super().__init__(path, reason, message)  # all arguments, so that it survives a worker's pickle

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}: {self.message}"


class DataProblemsError(CoviewError):
    """The work was done, but data problems were found and listed. Exit code 3."""

    exit_code = 3
