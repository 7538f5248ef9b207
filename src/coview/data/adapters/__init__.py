"""Named data sets: each adapter turns something that is not a plain folder into items for the index.

An adapter is a function `make(out: Path, options: Options) -> Made`. It writes the media files it renders (if any)
below `out`, an existing folder of its own that ends up inside the collection, and returns one `Item` per recording.
It probes nothing: the index does that for every item, in parallel. Writing must be repeatable: a file that is
already there and complete (written aside and renamed) is kept, so that a stopped `coview index` goes on.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coview.errors import UsageError

ADAPTERS: dict[str, str] = {
    "tuxpaint": "coview.data.adapters.tuxpaint:make",
    "digits-av": "coview.data.adapters.worlds:make_digits",
    "objects-av": "coview.data.adapters.worlds:make_objects",
    "pushes": "coview.data.adapters.worlds:make_pushes",
    "vggsound": "coview.data.adapters.vggsound:make",
    "ucf101": "coview.data.adapters.ucf101:make",
    "ucf51": "coview.data.adapters.ucf101:make_with_sound",
    "hmdb51": "coview.data.adapters.hmdb51:make",
    "kinetics-sounds": "coview.data.adapters.kinetics_sounds:make",
    "flickr-soundnet": "coview.data.adapters.flickr_soundnet:make",
    "audioset": "coview.data.adapters.audioset:make",
    "esc50": "coview.data.adapters.esc50:make",
    "dcase": "coview.data.adapters.dcase:make",
    "voc": "coview.data.adapters.voc:make",
    "voc2007": "coview.data.adapters.voc:make_2007",
    "voc2012": "coview.data.adapters.voc:make_2012",
    "imagenet": "coview.data.adapters.imagenet:make",
    "frames": "coview.data.adapters.frames:make",
    "shapes": "coview.data.adapters.shapes:make",
    "surfaces": "coview.data.adapters.surfaces:make",
    "places205": "coview.data.adapters.places205:make",
    "sun397": "coview.data.adapters.sun397:make",
    "mit-indoor": "coview.data.adapters.mit_indoor:make",
    "stanford40": "coview.data.adapters.stanford40:make",
    "flowers102": "coview.data.adapters.flowers102:make",
    "nyuv2": "coview.data.adapters.nyuv2:make",
    "pushing": "coview.data.adapters.pushing:make",
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One recording to be: a media file, or the span of one, and what is known about it without reading it.

    Attributes:
        path: the media file; absolute, or relative to the root that comes with the items.
        id: unique name; by default the path relative to the root.
        label, split, caption, group: optional; split is "train", "validation" or "test"; recordings of one group
            never fall into different splits.
        start, end: span in seconds on the file's clock; None means the file's own beginning or end.
        flags: facts about the item, counted beside those that probing finds.
        folds: its split in each official fold of the data set, from fold 1 on; "" where a fold leaves it out.
        labels: of several classes at once: class -> 1 present, 0 unclear, -1 absent.
        tracks: other files of the recording by name, such as "depth"; paths as `path`.
    """

    path: Path
    id: str | None = None
    label: str | None = None
    split: str | None = None
    caption: str | None = None
    group: str | None = None
    start: float | None = None
    end: float | None = None
    flags: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    tracks: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that did not become a recording: a row of the quarantine table; its path as `identity.kept_name`."""

    path: str
    reason: str  # one short stable word
    message: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line hands to an adapter.

    Attributes:
        variant: what follows the colon of `name:variant`, such as "A" of "digits-av:A"; "" without one.
        folder: where the user keeps the data set's own files; None means the adapter's usual place.
        count: how many recordings to make; None means all of them, or the adapter's usual number.
        seed: of everything random.
        follow_links: whether links that lead out of the folder are followed.
        progress: call with (done, total) now and then.
    """

    variant: str = ""
    folder: Path | None = None
    count: int | None = None
    seed: int = 0
    follow_links: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True, kw_only=True)
class Made:
    """What an adapter found or made.

    Attributes:
        items: in any order; the collection orders them by id.
        root: folder that relative item paths start from; `out` where the adapter rendered the files itself.
        refused: files of the data set that could not be used, and why.
        ignored: kind of file -> how many were left out on purpose.
        report: counts and flags of the data set itself; kept in collection.json and printed.
        notes: sentences about what may not be meant so, for people.
    """

    items: list[Item]
    root: Path
    refused: list[Refused] = field(default_factory=list)
    ignored: Mapping[str, int] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def is_adapter(source: str) -> bool:
    """Tell whether `source` is an adapter's name, with or without a variant after a colon."""
    return source.partition(":")[0] in ADAPTERS


def check_adapter(source: str) -> None:
    """Check that `source`, which is no path that exists, names an adapter.

    Raises:
        UsageError: no adapter has this name.
    """
    name = source.partition(":")[0]
    if name not in ADAPTERS and ("/" in source or Path(source).suffix):
        raise UsageError(f"{source}: there is no such folder or manifest")
    if name not in ADAPTERS:
        near = difflib.get_close_matches(name, ADAPTERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{name!r} is neither a path that exists nor a named data set ({', '.join(ADAPTERS)}){hint}")


def load_adapter(source: str) -> Callable[[Path, Options], Made]:
    """Return the adapter called `source`, without looking at its variant; errors as `check_adapter`."""
    check_adapter(source)
    module, _, function = ADAPTERS[source.partition(":")[0]].partition(":")
    made: Callable[[Path, Options], Made] = getattr(importlib.import_module(module), function)
    return made
