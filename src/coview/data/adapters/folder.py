"""A plain folder of media files, at any depth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from coview.data.adapters import Item, Made
from coview.errors import UsageError

# Extension -> the container such a file should be; several extensions share one.
_CONTAINER_OF = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".m4a", ".3gp", ".3g2", ".mj2", ".qt"), "mp4"),
    **dict.fromkeys((".mkv", ".webm", ".mka"), "matroska"),
    **dict.fromkeys((".ogg", ".ogv", ".oga", ".opus"), "ogg"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg"),
    **dict.fromkeys((".ts", ".m2ts", ".mts"), "mpegts"),
    **dict.fromkeys((".wmv", ".wma", ".asf"), "asf"),
    **dict.fromkeys((".aif", ".aiff", ".aifc"), "aiff"),
    ".avi": "avi", ".wav": "wav", ".flac": "flac", ".flv": "flv", ".mp3": "mp3", ".aac": "aac", ".au": "au",
    ".caf": "caf", ".mxf": "mxf", ".amr": "amr", ".ac3": "ac3", ".wv": "wv", ".dv": "dv",
}  # fmt: skip


def make_folder(folder: Path, labels_from_folders: bool = False) -> Made:
    """Return an item per media file below `folder`, ordered by relative path.

    A file is taken for media by its extension, or else by its first bytes: a film called `.dat` is a film. Every
    other file is counted in `ignored` under its extension; so are those in folders whose name starts with a dot.

    Args:
        folder: walked to any depth, through links to folders too (each real folder once).
        labels_from_folders: the label of a recording is the name of the folder it lies in; none directly in `folder`.

    Raises:
        UsageError: there is no media file at all.
    """
    items: list[Item] = []
    ignored: Counter[str] = Counter()
    for relative in sorted(_walk(folder), key=lambda path: path.as_posix()):
        path = folder / relative
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or (path.suffix.lower() not in _CONTAINER_OF and container_of(_head(path)) is None):
            ignored["hidden" if hidden else path.suffix.lower() or "no extension"] += 1
            continue
        label = relative.parent.name if labels_from_folders and relative.parent.name else None
        items.append(Item(path=relative, label=label))
    if not items:
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())) or "no files at all"
        raise UsageError(f"{folder}: no media files below this folder; found {seen}")
    return Made(items=items, root=folder, ignored=dict(sorted(ignored.items())))


def has_wrong_extension(path: Path) -> bool:
    """Tell whether a file's first bytes are those of another container than its extension promises."""
    found = container_of(_head(path))
    return found is not None and found != _CONTAINER_OF.get(path.suffix.lower())


def container_of(head: bytes) -> str | None:
    """Return the container that a file's first bytes betray, None when they say nothing for certain."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        return "mp4"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WAVE": "wav"}.get(head[8:12])
    if head[:4] == b"FORM":
        return "aiff" if head[8:12] in (b"AIFF", b"AIFC") else None
    marks = {b"\x1aE\xdf\xa3": "matroska", b"OggS": "ogg", b"fLaC": "flac", b"FLV\x01": "flv", b"ID3": "mp3"}
    marks[b"\x00\x00\x01\xba"] = "mpeg"
    marks[b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"] = "asf"
    return next((name for mark, name in marks.items() if head.startswith(mark)), None)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError:  # whoever reads the file in earnest reports why it cannot be read
        return b""


def _walk(folder: Path) -> Iterator[Path]:
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
