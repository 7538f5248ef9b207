"""HMDB-51 (Kuehne et al. 2011): 6,766 clips of 51 actions, three official folds of 70 and 30 clips per class."""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Clips (hmdb51_org.rar, one more .rar per class inside) and lists (test_train_splits.rar) are at "
    "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/; the folder holds the .avi files at "
    "any depth and testTrainMulti_7030_splits/ with CLASS_test_split1.txt to CLASS_test_split3.txt."
)
_PARTS = {"0": "", "1": "train", "2": "test"}  # 0: not used in the fold


def make(out: Path, options: Options) -> Made:
    """Return the items; `split` is that of fold 1, and `folds` holds all three.

    Raises:
        UsageError: missing lists, or no file at all.
    """
    download = Download("hmdb51", options, WHERE)
    lists = sorted(path for path in download.root.rglob("*_test_split?.txt"))
    if not lists:
        download.lines("CLASS_test_split1.txt")
    folds: dict[tuple[str, str], list[str]] = {}
    for path in lists:
        match = re.fullmatch(r"(.+)_test_split([123])\.txt", path.name)
        if match is None:
            raise UsageError(f"{path}: expected CLASS_test_split1.txt to CLASS_test_split3.txt. {WHERE}")
        for line in download.lines_of(path):
            name, _, flag = line.strip().rpartition(" ")
            if not name or flag not in _PARTS:
                download.bad_line(path.name, line, "a name, then a flag 0, 1 or 2")
                continue
            folds.setdefault((match[1], name), ["", "", ""])[int(match[2]) - 1] = _PARTS[flag]
    for (label, name), parts in sorted(folds.items()):
        item = {"id": f"{label}/{name}", "label": label, "split": parts[0] or None, "folds": tuple(parts)}
        # Clips of one film carry its name up to the action's.
        group = name.partition(f"_{label}_")[0]
        download.add("films", download.find(Path(name).stem, parent=label), f"{label}/{name}", {**item, "group": group})
    official = {"films": 6766, "classes": 51}
    for fold in range(3):
        for part, count in (("train", 3570), ("test", 1530)):
            official[f"fold {fold + 1} {part}"] = count
            download.listed[f"fold {fold + 1} {part}"] = sum(parts[fold] == part for parts in folds.values())
    download.listed["classes"] = len({label for label, _ in folds})
    return download.made(official, options)
