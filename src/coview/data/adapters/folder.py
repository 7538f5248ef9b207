"""A plain folder of films, sounds and pictures, at any depth."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from coview.data.adapters import Item, Made, Refused
from coview.data.captions import beside, read_caption
from coview.data.identity import as_text, kept_name
from coview.data.words import word_of
from coview.errors import UsageError
from coview.media.regular import head_of
from coview.media.stills import is_still

EXTENSIONS = (
    r"\.(mp4|m4v|mov|m4a|3gp|3g2|mj2|qt|mkv|webm|mka|ogg|ogv|oga|opus|mpg|mpeg|vob|ts|m2ts|mts|wmv|wma|asf|aiff?|aifc"
    r"|avi|wav|flac|flv|mp3|aac|au|caf|mxf|amr|ac3|wv|dv|h264|264|hevc|265)"
)
STILLS = r"\.(jpe?g|jpe|jfif|png|apng|webp|bmp|dib|gif|avifs?|heic|heif|hif)"


@dataclass
class Walk:
    """What lies below a folder.

    Attributes:
        files: relative to the folder, in order of their names; whatever is not a folder.
        refused: folders that could not be read.
        outside: links that lead out of the folder and were not followed.
    """

    folder: Path
    follow_links: bool = False
    files: list[Path] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    outside: int = 0

    def notes(self) -> list[str]:
        """Return a sentence about links that were not followed."""
        if not self.outside:
            return []
        return [f"{self.outside} links lead out of {self.folder} and were not followed; --follow-links follows them"]


def walk(folder: Path, follow_links: bool = False) -> Walk:
    """Return every file below `folder`, entering no real folder twice.

    Args:
        follow_links: follow links that lead out of the folder; those that stay inside are always followed.
    """
    found = Walk(folder, follow_links)
    top = folder.resolve()
    entered = {top}

    def unread(error: OSError) -> None:
        name = kept_name(Path(os.path.relpath(error.filename, folder)))
        message = f"this folder cannot be read: {error.strerror}"
        found.refused.append(Refused(path=name, reason="unreadable", message=message))

    def stays(path: Path) -> bool:
        if follow_links or not path.is_symlink():
            return True
        inside = not path.exists() or path.resolve().is_relative_to(top)  # a dead link is reported by its own name
        found.outside += not inside
        return inside

    for parent, folders, files in os.walk(folder, onerror=unread, followlinks=True):
        kept = []
        for name in folders:
            path = Path(parent) / name
            if stays(path) and (real := path.resolve()) not in entered:
                entered.add(real)
                kept.append(name)
        folders[:] = sorted(kept)
        found.files += [(Path(parent) / name).relative_to(folder) for name in files if stays(Path(parent) / name)]
    found.files.sort(key=Path.as_posix)
    return found


@dataclass
class _Captions:
    """The captions beside a folder's media files: which files held them, and what could not be read."""

    folder: Path
    files: set[Path]
    refused: list[Refused]
    used: set[Path] = field(default_factory=set)
    empty: set[Path] = field(default_factory=set)

    def of(self, relative: Path) -> str | None:
        """Return the caption of a media file, None where it has none."""
        path = beside(relative, self.files)
        if path is None:
            return None
        first = path not in self.used
        self.used.add(path)
        try:
            caption = read_caption(self.folder / path)
        except UsageError as error:
            if first:
                self.refused.append(Refused(path=kept_name(path), reason="caption", message=str(error)))
            return None
        if caption is None:
            self.empty.add(path)
        return caption

    def notes(self) -> list[str]:
        """Return a sentence about captions that are empty."""
        if not self.empty:
            return []
        return [f"{len(self.empty)} captions beside recordings are empty, such as {min(self.empty)}"]


def make_folder(folder: Path, labels_from_folders: bool = False, follow_links: bool = False) -> Made:
    """Return an item per media file below `folder`, ordered by relative path.

    A file is taken for media by its extension, or else by its first bytes: a film called `.dat` is a film, and so for
    still pictures. Every other file is counted in `ignored` under its extension; so are those in folders whose name
    starts with a dot. A folder that cannot be read goes into quarantine. A file beside the media file that is called
    like it and holds its caption (`captions.beside`) is read; one that cannot be read goes into quarantine too.

    Args:
        folder: walked to any depth, through links to folders too (each real folder once).
        labels_from_folders: the label of a recording is the name of the folder it lies in; none directly in `folder`.
        follow_links: follow links that lead out of the folder too.

    Raises:
        UsageError: there is no media file at all.
    """
    items: list[Item] = []
    ignored: Counter[str] = Counter()
    found = walk(folder, follow_links)
    captions = _Captions(folder, set(found.files), found.refused)
    for relative in found.files:
        path = folder / relative
        hidden = any(part.startswith(".") for part in relative.parts)
        named = re.fullmatch(f"{EXTENSIONS}|{STILLS}", path.suffix.lower())
        if hidden or not (named or looks_like_media(head_of(path))):
            ignored["hidden" if hidden else as_text(path.suffix.lower()) or "no extension"] += 1
            continue
        label = word_of(as_text(relative.parent.name)) if labels_from_folders else None
        items.append(Item(path=relative, label=label, caption=captions.of(relative)))
    ignored.subtract(Counter(as_text(used.suffix.lower()) for used in captions.used))
    ignored["links out of the folder"] += found.outside
    notes = [*found.notes(), *captions.notes()]
    if not items:
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items()) if count) or "no files at all"
        raise UsageError("; ".join([f"{folder}: no media files below this folder; found {seen}", *notes]))
    ignored = +ignored
    return Made(items=items, root=folder, refused=found.refused, ignored=dict(sorted(ignored.items())), notes=notes)


def looks_like_media(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a media container or of a still picture."""
    if is_still(head):
        return True
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        return True
    if head[:4] in (b"RIFF", b"FORM"):
        return head[8:12] in (b"AVI ", b"WAVE", b"AIFF", b"AIFC")
    return head.startswith((b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"FLV\x01", b"ID3", b"\x00\x00\x01\xba"))
