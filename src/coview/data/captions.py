"""Captions in files that lie beside a film or a picture: plain text, JSON, and subtitles in SRT or WebVTT."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from coview.data.words import word_of
from coview.errors import UsageError
from coview.files import read_text

# Ends of the names, the first of which counts; what is called like the recording's file otherwise.
ENDINGS = (".txt", ".json", ".info.json", ".vtt", ".srt")
_TOLD = ("title", "caption", "description", "text", "tags")  # of a JSON object, in this order
_MOST_BYTES = 1 << 22  # of a file; a longer one is no caption
_TIMES = re.compile(r"\s*\d[\d:.,]*\s*-->\s*\d")
# Without an opening sign inside: a line of nothing but these takes time in proportion to its length.
_MARKS = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_BLOCKS = re.compile(r"(WEBVTT|NOTE|STYLE|REGION)\b")  # of WebVTT, which say nothing


def beside(path: Path, files: Collection[Path]) -> Path | None:
    """Return the file among `files` that holds a recording's caption: called like it, with one of the `ENDINGS`."""
    candidates = (path.with_name(path.stem + ending) for ending in ENDINGS)
    return next((candidate for candidate in candidates if candidate in files and candidate != path), None)


def read_caption(path: Path) -> str | None:
    """Return the caption in a file; None where it is empty.

    Of JSON, title, caption, description, text and tags, as far as they are text or lists of it; or a text alone.
    Of subtitles, what is said, without times and marks, and without lines that only repeat the one before.

    Raises:
        UsageError: it is no text in UTF-8, no JSON, names letters that do not exist, or is longer than 4 MiB.
    """
    remedy = "mend it, or take it away"
    text = read_text(path, "a caption", remedy=remedy, limit=_MOST_BYTES).removeprefix("\ufeff")
    kind = path.suffix.lower()
    try:
        if kind == ".json":
            text = _told(json.loads(text))
        elif kind in (".vtt", ".srt"):
            text = _said(text)
        return word_of(" ".join(text.replace("\0", " ").split()))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as a caption: {error}; {remedy}") from error


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(_told(value[name]) for name in _TOLD if name in value)
    if isinstance(value, list):
        return " ".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else ""


def _said(text: str) -> str:
    lines: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        cue = block.strip("\n").split("\n")
        times = next((number for number, line in enumerate(cue) if _TIMES.match(line)), None)
        if times is None or _BLOCKS.match(cue[0]):
            continue
        for line in cue[times + 1 :]:
            plain = html.unescape(_MARKS.sub("", line)).strip()
            if plain and plain not in lines[-1:]:
                lines.append(plain)
    return "\n".join(lines)
