"""Kinetics-Sounds (Arandjelovic & Zisserman 2017): the 34 classes of Kinetics that are both seen and heard.

The paper names classes of an early Kinetics; the released lists rename some and lack others ("typing", "patting"), so
that 32 are left of Kinetics-400. Which released name stands for which is our reading.
"""

from __future__ import annotations

import csv
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download, need, seconds

WHERE = (
    "Kinetics-400's train.csv, validate.csv or val.csv, test.csv (label, youtube_id, time_start, time_end) are at "
    "https://github.com/cvdfoundation/kinetics-dataset, with the clips; these may be called "
    "ID_000START_000END.mp4 or ID.mp4, at any depth."
)
# Names in the paper; after the colon that of the released lists, where it differs.
_NAMES = """
blowing nose, bowling, chopping wood, ripping paper, shuffling cards, singing, tapping pen, typing,
blowing out: blowing out candles, dribbling ball: dribbling basketball, laughing,
mowing the lawn by pushing lawnmower: mowing lawn, shoveling snow, stomping: stomping grapes, tap dancing,
tapping guitar, tickling, fingerpicking: strumming guitar, patting, playing accordion, playing bagpipes,
playing bass guitar, playing clarinet, playing drums, playing guitar, playing harmonica, playing keyboard,
playing organ, playing piano, playing saxophone, playing trombone, playing trumpet, playing violin, playing xylophone
"""
CLASSES = {
    name.strip(): paper.strip()
    for paper, _, released in (entry.partition(":") for entry in " ".join(_NAMES.split()).split(","))
    for name in {paper, released or paper}
}
_LISTS = {"train": ("train.csv",), "validation": ("validate.csv", "val.csv"), "test": ("test.csv",)}


def make(out: Path, options: Options) -> Made:
    """Return the items of the classes, labelled by the paper's names.

    Raises:
        UsageError: missing lists or columns, or no file at all.
    """
    download = Download("kinetics-sounds", options, WHERE)
    found: set[str] = set()
    for split, names in _LISTS.items():
        rows = list(csv.DictReader(download.lines(*names)))
        need(rows, ("label", "youtube_id", "time_start", "time_end"), names[0], WHERE)
        for row in rows:
            label = CLASSES.get((row["label"] or "").strip().replace("_", " "))
            if label is None:
                continue
            found.add(label)
            span = seconds((row["time_start"], row["time_end"]))
            if span is None or not row["youtube_id"]:
                download.bad_line(split, ",".join(map(str, row.values())), "label, youtube_id, time_start, time_end")
                continue
            clip, start, end = row["youtube_id"], int(span[0]), int(span[1])
            stem = f"{clip}_{start:06d}_{end:06d}"
            item = {"id": stem, "label": label, "split": split, "group": clip}
            download.add(split, download.find(stem, clip, parent=row["label"]), f"{stem}.mp4", item)
    download.listed["classes"] = len(found)
    return download.made({"classes": 32}, options)
