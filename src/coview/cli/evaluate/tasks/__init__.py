"""The tasks of `coview evaluate image-transfer` and `analysis`: one file each, with a function `main(argv)`."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping

from coview.errors import UsageError


def run_task(tasks: Mapping[str, tuple[str, str]], help: str, argv: list[str]) -> int:
    """Run the task that --task names and return its exit code.

    Args:
        tasks: name -> module of this package, and what it does.
        help: with a place for {tasks}.
    """
    task, rest = split(argv)
    if task is None:
        lines = [f"  {name:<14}{text}" for name, (_, text) in tasks.items()]
        asked = bool({"-h", "--help"} & set(argv))
        print(help.format(tasks="\n".join(lines)), file=sys.stdout if asked else sys.stderr)
        raise SystemExit(0 if asked else 2)
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"there is no task {task!r}{hint} Known: {', '.join(tasks)}")
    return int(importlib.import_module(f"coview.cli.evaluate.tasks.{tasks[task][0]}").main(rest))


def split(argv: list[str]) -> tuple[str | None, list[str]]:
    """Return what stands behind --task, None where it is not there, and the other words."""
    for place, word in enumerate(argv):
        if word.startswith("--task="):
            return word.partition("=")[2], argv[:place] + argv[place + 1 :]
        if word == "--task" and place + 1 < len(argv):
            return argv[place + 1], argv[:place] + argv[place + 2 :]
    return None, argv
