"""`coview completion`: what a shell offers behind the tabulator key: verbs, methods, options and their choices."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from coview.cli.main import VERBS, main_of
from coview.errors import UsageError
from coview.methods import METHODS, PIPELINES

HELP = """Print what makes a shell complete coview's verbs, methods, options and their choices.

usage: coview completion SHELL

  bash   coview completion bash > ~/.local/share/bash-completion/completions/coview
  zsh    coview completion zsh > ~/.zfunc/_coview      (a folder of $fpath, before compinit)
  fish   coview completion fish > ~/.config/fish/completions/coview.fish

Then open a new shell. To try it in this one: source <(coview completion bash)
"""

# Each asks this program for the words that fit; where it knows none, the shell offers files.
SCRIPTS = {
    "bash": """_coview() {
    local current="${COMP_WORDS[COMP_CWORD]}"
    mapfile -t COMPREPLY < <(coview completion -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 0 ]] || return 0
    compopt -o filenames 2>/dev/null  # of files alone: a method is none, though a run may be called like it
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
complete -o bashdefault -F _coview coview
""",
    "zsh": """#compdef coview
_coview() {
    local -a found
    found=("${(@f)$(coview completion -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -- "${found[@]}" || _files
}
if [[ "$funcstack[1]" = _coview ]]; then _coview "$@"; else compdef _coview coview; fi
""",
    "fish": """function __coview
    coview completion -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null
end
complete -c coview -a '(__coview)'
""",
}
_NAMED: dict[str, Iterable[str]] = {
    "pretrain": METHODS,
    "compare": METHODS,
    "evolve": METHODS,
    "discover": PIPELINES,
    "methods": {**METHODS, **PIPELINES},
}


def main(argv: list[str]) -> int:
    """Print a script, or behind -- the words that fit the last of the words given; return the exit code."""
    if argv[:1] == ["--"]:
        print("".join(f"{word}\n" for word in fitting(argv[1:] or [""])), end="")
        return 0
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print(HELP, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] not in SCRIPTS:
        raise UsageError(f"there is no completion for {argv[0]!r}; there is for {', '.join(SCRIPTS)}")
    print(SCRIPTS[argv[0]], end="")
    return 0


def fitting(words: Sequence[str]) -> list[str]:
    """Return what the last of some words, as far as it is typed, can become; nothing where that is a file.

    Args:
        words: of the command line behind `coview`, the last one may be empty.
    """
    *before, current = words
    return sorted(word for word in _known(before, current) if word.startswith(current))


def _known(before: Sequence[str], current: str) -> set[str]:
    if not before:
        return {*VERBS, "--help", "--version"}
    verb, first = before[0], len(before) == 1
    if verb not in VERBS:
        return set()
    if first and not current.startswith("-"):
        places: dict[str, Iterable[str]] = {
            **_NAMED,
            "evaluate": _module(verb).PROTOCOLS if verb == "evaluate" else (),
            "fuse": _module(verb).fusing() if verb == "fuse" else (),
            "completion": SCRIPTS,
        }
        return {*places.get(verb, ())}
    options = _options([word for word in before[:2] if not word.startswith("-")])
    if not current.startswith("-"):
        return options.get(before[-1], set())
    return {*options}


def _module(verb: str) -> Any:
    return importlib.import_module(f"coview.cli.{verb}")


def _options(words: Sequence[str]) -> dict[str, set[str]]:
    """Return option -> its choices (none where it may be something else), read from the help of a command."""
    said, before = io.StringIO(), dict(os.environ)
    os.environ |= {"COLUMNS": "240", "NO_COLOR": "1"}  # an option and its choices on one line
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main_of(words[0])([*words[1:], "--help"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    found = re.findall(r"(?<![\w-])(--[a-z][\w.-]*)(?: \[?\{([\w.,-]+)\}(?!\|))?", said.getvalue())
    choices: dict[str, set[str]] = {}
    for option, values in found:
        choices.setdefault(option, set()).update(filter(None, values.split(",")))
    return choices
