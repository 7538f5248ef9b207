"""VGGSound (Chen et al. 2020): 10-second clips of YouTube in 309 classes of sound; the official list and two subsets.

Files may be called ID_000030.mp4, as in the official archives, or ID_30.mp4, as AV-SSRL's script writes them, in any
folder below the one given.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "vggsound.csv (id, second, label, split) and the clips are at https://www.robots.ox.ac.uk/~vgg/data/vggsound/; "
    "the 50k lists filenames_train_subset.txt and filenames_test.txt are in the repository "
    "kvilouras/AV-SSRL, folder datasets/vggsound_fnames."
)
OFFICIAL = {"train": 183730, "test": 15446}
SUBSET = {"train": 50000, "test": 13270}


def make(out: Path, options: Options) -> Made:
    """Return the items: all of vggsound.csv; variant "50k" the lists of AV-SSRL; variant "test" the test part alone.

    Raises:
        UsageError: unknown variant, missing lists, or no file at all.
    """
    if options.variant not in ("", "50k", "test"):
        raise UsageError(f"vggsound:{options.variant}: expected vggsound, vggsound:50k or vggsound:test")
    download = Download("vggsound", options, WHERE)
    labels: dict[tuple[str, int], tuple[str, str]] = {}
    for row in csv.reader(download.lines("vggsound.csv")):
        if len(row) != 4 or not re.fullmatch("[0-9]{1,9}", row[1]):
            download.bad_line("vggsound.csv", ",".join(row), "id, second, label, split")
            continue
        labels[row[0], int(row[1])] = (row[2], row[3])
    if options.variant == "50k":
        parts = {"train": "filenames_train_subset.txt", "test": "filenames_test.txt"}
        clips = []
        for part, name in parts.items():
            for line in download.lines(name):
                # A name such as -a_b_30.mp4: id and second.
                match = re.fullmatch(r"(.+)_([0-9]{1,9})(\.\w+)?", line.strip())
                if match is None:
                    download.bad_line(part, line, "a name such as ID_30.mp4")
                else:
                    clips.append((match[1], int(match[2]), part))
        official = SUBSET
    else:
        clips = [(*clip, part) for clip, (_, part) in labels.items() if options.variant in ("", part)]
        official = {part: count for part, count in OFFICIAL.items() if options.variant in ("", part)}
    for name, second, part in clips:
        label = labels.get((name, second), (None, ""))[0]
        path = download.find(f"{name}_{second:06d}", f"{name}_{second}", parent=part)
        item = {"id": f"{name}_{second:06d}", "label": label, "split": part, "group": name}
        download.add(part, path, f"{name}_{second:06d}.mp4", item)
    return download.made(official, options)
