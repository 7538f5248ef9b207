"""The one error family of coview and the exit codes of its command line.

Every message says what was seen, where, what was expected and what to do about it.
"""

from __future__ import annotations


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
        return f"{self.path}: {self.reason}: {self.message}"


class DataProblemsError(CoviewError):
    """The work was done, but data problems were found and listed. Exit code 3."""

    exit_code = 3
