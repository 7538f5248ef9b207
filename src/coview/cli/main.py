"""The command `coview`: finds the verb, runs it, and turns errors into messages and exit codes.

Nothing heavy is imported before the verb is known, so that `coview --help` answers at once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import keyword
import os
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from types import FrameType

from coview.cli import failures
from coview.errors import UsageError, shown

_STORAGE = "s3://"
VERBS = {
    "demo": "make a small world of pictures and sounds, learn from it, measure, search: five minutes on a laptop",
    "index": "scan a folder, a manifest or a named data set into a collection",
    "prepare": "decode a collection once, into a copy that trains many times faster",
    "stats": "estimate what a collection's sounds and pictures are normalised by",
    "pretrain": "train a method on a collection, without labels",
    "evaluate": "measure a model: probes, neighbours, retrieval, few labels, unseen concepts, fine-tuning, gates",
    "compare": "train several methods under one budget, beside their controls: one table, one figure",
    "evolve": "search over settings, such as the weights of many losses, by many short runs and without labels",
    "embed": "write the embeddings of a collection or of files",
    "search": "find the recordings nearest to a file the collection has never seen",
    "label": "propose a label for every recording, from the names of the classes alone",
    "serve": "show a collection as a page in the browser: look, listen, filter, see what could not be read",
    "audit": "find what is suspect: copies, leaks between splits, wrong sounds and labels, what shows nothing",
    "explain": "show what a model has put together, and where in a picture it hears the sound",
    "paint": "colour grey photographs, fill holes in pictures, remove noise: pictures out of a model",
    "discover": "find in pictures, without a model, patches that show the same thing",
    "fuse": "bring the features of two or more frozen encoders into one space",
    "import": "turn a published checkpoint of AV-SSRL or AVID-CMA into a model",
    "export": "write a model as ONNX, or to a hub",
    "methods": "list the methods",
    "doctor": "say what works on this computer",
    "completion": "print what makes bash, zsh or fish complete verbs, methods and options",
}

HELP = """coview: one view of a recording teaches another.

usage: coview VERB [options]      (coview VERB --help tells more)

{verbs}

Start here:
  coview demo
  coview index my-videos/ -o my-collection
  coview pretrain xid --tiny --collection my-collection -o my-run
  coview search --model my-run --collection my-collection --query bark.wav --from audio --to video

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but data problems were found, 130 and 143 stopped.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot write a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except (SystemExit, GeneratorExit):
        raise
    except BrokenPipeError:  # the reader of our output, such as head, has gone; nothing is left to write to it
        _give_up_stdout()
        return 1
    except BaseException as error:  # the last net: whatever it is, one sentence and an exit code
        code = failures.tell(" ".join(["coview", *words[:1]]), error)
        _give_up_stdout()
        return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        print(HELP.format(verbs="\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())))
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb in ("-V", "--version"):
        print(f"coview {metadata.version('coview')}")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        print(f"coview: unknown verb {shown(repr(verb))}{hint} (coview --help lists them)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminated)
    return main_of(verb)(_fetched(rest))


def _fetched(words: list[str]) -> list[str]:
    """Return a command's words with the folder on this node for every address of object storage that the user wrote."""
    if not any(_STORAGE in word for word in words):
        return words
    from coview.remote import copy_of

    found = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        out = value.startswith(_STORAGE) and (option or before) in ("-o", "--out")
        if out or word.startswith(f"-o{_STORAGE}"):
            raise UsageError("results are written to a folder; upload it when it is complete")
        found.append(f"{option}{equals}{copy_of(value)}" if value.startswith(_STORAGE) else word)
    return found


def main_of(verb: str) -> Callable[[list[str]], int]:
    """Import a verb, and return what runs it and returns its exit code."""
    run: Callable[[list[str]], int] = importlib.import_module(f"coview.cli.{verb}" + "_" * keyword.iskeyword(verb)).main
    return run


def _give_up_stdout() -> None:
    """Where what is still buffered cannot be written, drop it: the interpreter would complain about it at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
