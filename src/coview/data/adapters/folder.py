"""A plain folder of films, sounds and pictures, at any depth."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from coview.data.adapters import Item, Made
from coview.errors import UsageError
from coview.media.regular import head_of
from coview.media.stills import is_still

EXTENSIONS = (
    r"\.(mp4|m4v|mov|m4a|3gp|3g2|mj2|qt|mkv|webm|mka|ogg|ogv|oga|opus|mpg|mpeg|vob|ts|m2ts|mts|wmv|wma|asf|aiff?|aifc"
    r"|avi|wav|flac|flv|mp3|aac|au|caf|mxf|amr|ac3|wv|dv)"
)
STILLS = r"\.(jpe?g|jpe|jfif|png|apng|webp|bmp|dib|gif)"


def make_folder(folder: Path, labels_from_folders: bool = False) -> Made:
    """Return an item per media file below `folder`, ordered by relative path.

    A file is taken for media by its extension, or else by its first bytes: a film called `.dat` is a film, and so for
    still pictures. Every other file is counted in `ignored` under its extension; so are those in folders whose name
    starts with a dot.

    Args:
        folder: walked to any depth, through links to folders too (each real folder once).
        labels_from_folders: the label of a recording is the name of the folder it lies in; none directly in `folder`.

    Raises:
        UsageError: there is no media file at all.
    """
    items: list[Item] = []
    ignored: Counter[str] = Counter()
    for relative in sorted(walk(folder), key=lambda path: path.as_posix()):
        path = folder / relative
        hidden = any(part.startswith(".") for part in relative.parts)
        named = re.fullmatch(f"{EXTENSIONS}|{STILLS}", path.suffix.lower())
        if hidden or not (named or looks_like_media(head_of(path))):
            ignored["hidden" if hidden else path.suffix.lower() or "no extension"] += 1
            continue
        label = relative.parent.name if labels_from_folders and relative.parent.name else None
        items.append(Item(path=relative, label=label))
    if not items:
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())) or "no files at all"
        raise UsageError(f"{folder}: no media files below this folder; found {seen}")
    return Made(items=items, root=folder, ignored=dict(sorted(ignored.items())))


def looks_like_media(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a media container or of a still picture."""
    if is_still(head):
        return True
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        return True
    if head[:4] in (b"RIFF", b"FORM"):
        return head[8:12] in (b"AVI ", b"WAVE", b"AIFF", b"AIFC")
    return head.startswith((b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"FLV\x01", b"ID3", b"\x00\x00\x01\xba"))


def walk(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder`, relative to it, entering no real folder twice."""
    entered = {folder.resolve()}
    for parent, folders, files in os.walk(folder, followlinks=True):
        kept = []
        for name in folders:
            real = (Path(parent) / name).resolve()
            if real not in entered:
                entered.add(real)
                kept.append(name)
        folders[:] = sorted(kept)
        for name in files:
            yield (Path(parent) / name).relative_to(folder)
