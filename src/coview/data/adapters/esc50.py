"""ESC-50 (Piczak 2015): 2,000 environmental sounds of 5 seconds in 50 classes, five official folds."""

from __future__ import annotations

import csv
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download, need

WHERE = "The set is the repository karolpiczak/ESC-50; the folder is the unpacked one, with audio/ and meta/esc50.csv."
FOLDS = 5


def make(out: Path, options: Options) -> Made:
    """Return the items: fold k tests on what the list calls fold k and trains on the other four; `split` is fold 1's.

    Clips cut from one source recording are one group, and lie in one fold.

    Raises:
        UsageError: missing list or columns, or no file at all.
    """
    download = Download("esc50", options, WHERE)
    rows = list(csv.DictReader(download.lines("esc50.csv", "meta/esc50.csv")))
    need(rows, ("filename", "fold", "category", "src_file"), "esc50.csv", WHERE)
    for row in rows:
        if row["fold"] not in ("1", "2", "3", "4", "5") or not (row["filename"] and row["category"]):
            download.bad_line("sounds", ",".join(map(str, row.values())), "a name, a class and a fold from 1 to 5")
            continue
        parts = tuple("test" if int(row["fold"]) == fold + 1 else "train" for fold in range(FOLDS))
        item = {"id": row["filename"], "label": row["category"], "split": parts[0], "folds": parts}
        path = download.find(Path(row["filename"]).stem)
        download.add("sounds", path, f"audio/{row['filename']}", {**item, "group": row["src_file"]})
    download.listed["classes"] = len({row["category"] for row in rows if row["category"]})
    return download.made({"sounds": 2000, "classes": 50}, options)
