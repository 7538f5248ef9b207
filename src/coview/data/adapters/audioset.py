"""AudioSet (Gemmeke et al. 2017): 10-second clips of YouTube, each with some of 527 labels, three official lists.

A clip has several labels, so it has no class; its caption names them, as class_labels_indices.csv does.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download, need, seconds
from coview.errors import UsageError

WHERE = (
    "balanced_train_segments.csv, eval_segments.csv, unbalanced_train_segments.csv and class_labels_indices.csv are at "
    "https://research.google.com/audioset/download.html; the clips come from YouTube, and may be called ID_START.mp4, "
    "ID_000START.mp4, ID_STARTms_ENDms.mp4, YID.wav or ID.mp4, at any depth."
)
_LISTS = {
    "balanced": ("balanced_train_segments.csv", "train"),
    "unbalanced": ("unbalanced_train_segments.csv", "train"),
    "eval": ("eval_segments.csv", "test"),
}


def make(out: Path, options: Options) -> Made:
    """Return the items: balanced and eval; variant "unbalanced" the large list and eval; "eval" that alone.

    The official number of segments is read from each list's own header.

    Raises:
        UsageError: unknown variant, missing or damaged lists, or no file at all.
    """
    chosen = {"": ("balanced", "eval"), "unbalanced": ("unbalanced", "eval"), "eval": ("eval",)}.get(options.variant)
    if chosen is None:
        raise UsageError(f"audioset:{options.variant}: expected audioset, audioset:unbalanced or audioset:eval")
    download = Download("audioset", options, WHERE)
    rows = list(csv.DictReader(download.lines("class_labels_indices.csv")))
    need(rows, ("mid", "display_name"), "class_labels_indices.csv", WHERE)
    names = {row["mid"]: row["display_name"] or row["mid"] for row in rows}
    official = {"labels": 527}
    download.listed["labels"] = len(names)
    for key in chosen:
        name, split = _LISTS[key]
        lines = download.lines(name)
        declared = re.search(r"num_segs=(\d+)", " ".join(line for line in lines if line.startswith("#")))
        if declared is None:
            raise UsageError(f"{name}: its header lacks num_segs=...; it is not whole. {WHERE}")
        official[key] = int(declared[1])
        for row in csv.reader((line for line in lines if not line.startswith("#")), skipinitialspace=True):
            span = seconds(row[1:3])
            if len(row) != 4 or span is None:
                download.bad_line(key, ",".join(row), "id, start, end, labels")
                continue
            clip, (start, end) = row[0], span
            labels = [names.get(mid, mid) for mid in row[3].split(",")]
            stems = (f"{clip}_{start:g}", f"{clip}_{start:06.0f}", f"{clip}_{start * 1000:.0f}_{end * 1000:.0f}")
            path = download.find(*stems, f"Y{clip}", clip)
            item = {"id": f"{clip}_{start:g}", "split": split, "group": clip, "caption": "; ".join(labels)}
            download.add(key, path, f"{clip}_{start:g}.mp4", item)
    return download.made(official, options)
