"""`coview index tuxpaint`: the recorded sounds of Tux Paint's stamps, or real clips rendered from picture and sound.

- `tuxpaint`: one audio recording per description, word and effect, with its caption, category, group and split.
- `tuxpaint:fr`: one MP4 per group of items: the moving picture with its description in that language.
- `tuxpaint:digits`: MP4 clips of handwritten digits with the digit spoken in one of 22 languages.

The user installs the Debian package tuxpaint-stamps-default (GPL-2); nothing of it is kept here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from coview.data.adapters import Item, Made, Options
from coview.data.adapters.tuxpaint_clips import check_language, render_stamps
from coview.data.adapters.tuxpaint_digits import render_digits
from coview.data.adapters.tuxpaint_groups import FOLDS, Heard, fold, group_items, sift, silent, split
from coview.data.adapters.tuxpaint_items import PACKAGE, USUAL_FOLDER, Sound, Stamp, Stamps, walk

KNOWN_VERSION = "2022.06.04"
# What that version holds; another version is no error, and the report lists how it differs.
KNOWN_COUNTS = {
    "items": 949,
    "items with PNG": 785,
    "core items": 791,
    "sound files": 7873,
    "descriptions": 7384,
    "words": 304,
    "effects": 134,
    "orphans": 44,
    "groups": 723,
}


def make(out: Path, options: Options) -> Made:
    """Return the recordings of a variant; the report counts what the package holds.

    Sounds and pictures of the package that cannot be read are in quarantine.

    Raises:
        UsageError: the package is not installed, the folder is another one, or the variant is not known.
    """
    if options.variant == "digits":
        return render_digits(out, options)
    stamps = walk(options.folder or USUAL_FOLDER)
    if options.variant:
        check_language(stamps, options.variant)
    stamps, heard, refused = sift(stamps)
    groups = group_items(stamps, heard)
    if options.variant:
        items, bad = render_stamps(stamps, groups, options.variant, out, options)
        refused, root = refused + bad, out
    else:
        items = [_recording(item, sound, groups[item.id]) for item in stamps.items for sound in item.sounds]
        items, root = items[: options.count], stamps.folder
    reasons = Counter(f"pictures refused ({refused.reason})" for refused in stamps.refused)
    ignored, report = {**stamps.ignored, **reasons}, describe(stamps, heard, groups)
    return Made(items=items, root=root, refused=refused, ignored=ignored, report=report)


def describe(stamps: Stamps, heard: Mapping[str, Heard], groups: Mapping[str, str]) -> dict[str, Any]:
    """Return the counts of the data set."""
    items, sounds = stamps.items, stamps.sounds
    core = [item for item in items if item.core]
    spoken = [sound for sound in sounds if sound.kind == "description"]
    effects = [stamps.folder / sound.path for sound in sounds if sound.kind == "effect"]
    with ThreadPoolExecutor() as pool:
        mute = sum(pool.map(silent, effects))
    folds = Counter(fold(groups[item.id]) for item in core)
    report: dict[str, Any] = {
        "package": PACKAGE,
        "items": len(items),
        "items with PNG": sum(item.png is not None for item in items),
        "items as SVG only (not rendered)": sum(item.png is None for item in items),
        "items with PNG and SVG": sum(bool(item.png and item.svg) for item in items),
        "core items": len(core),
        "nomirror": sum(item.nomirror for item in items),
        "noflip": sum(item.noflip for item in items),
        "sound files": len(heard),
        "descriptions": len(spoken),
        "words": sum(sound.kind == "word" for sound in sounds),
        "effects": len(effects),
        "silent effects": mute,
        "orphans": len(stamps.orphans),
        "orphan files": stamps.orphans,
        "refused files": [f"{refused.path}: {refused.message}" for refused in stamps.refused],
        "distinct recordings of descriptions": len({heard[sound.path].packets for sound in spoken}),
        "items with a description": sum(bool(item.descriptions()) for item in items),
        "items with six descriptions or more": sum(len(item.descriptions()) >= 6 for item in items),
        "descriptions of core items": sum(len(item.descriptions()) for item in core),
        "descriptions by language": _sorted(Counter(sound.language for sound in spoken)),
        "descriptions by language, refused pictures included": _sorted(
            Counter(sound.language for sound in (*sounds, *stamps.lost) if sound.kind == "description")
        ),
        "captions by language": _sorted(Counter(language for item in items for language in item.captions)),
        "sampling rates": _sorted(Counter(entry.rate for entry in heard.values())),
        "channels": _sorted(Counter(entry.channels for entry in heard.values())),
        "categories": _sorted(Counter(item.category for item in items)),
        "groups": len(set(groups.values())),
        "core groups": len({groups[item.id] for item in core}),
        "core items by fold": [folds[k] for k in range(FOLDS)],
    }
    differs = {name: report[name] - count for name, count in KNOWN_COUNTS.items() if report[name] != count}
    report[f"difference from version {KNOWN_VERSION}"] = differs
    return report


def _recording(item: Stamp, sound: Sound, group: str) -> Item:
    stem = sound.path
    while stem.endswith((".ogg", ".wav")):
        stem = stem[:-4]
    flags = [sound.kind, f"fold-{fold(group)}", "core" if item.core else "alphabet"]
    flags += [f"language-{sound.language}"] if sound.language else []
    flags += [name for name, holds in (("nomirror", item.nomirror), ("noflip", item.noflip)) if holds]
    return Item(
        path=Path(sound.path),
        id=stem,
        label=item.category,
        split=split(group),
        caption=item.captions.get(sound.language or "en"),
        group=group,
        flags=tuple(flags),
    )


def _sorted(counts: Counter[Any]) -> dict[str, int]:
    return {str(name): count for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))}
