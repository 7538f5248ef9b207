"""Stanford-40 (Yao et al., ICCV 2011): pictures of people in 40 actions, 100 of each for training by the lists."""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Pictures (Stanford40_JPEGImages.zip) and lists (Stanford40_ImageSplits.zip) are at "
    "http://vision.stanford.edu/Datasets/40actions.html; the folder holds ImageSplits/ with actions.txt, "
    "ACTION_train.txt and ACTION_test.txt of each action, and the pictures, such as applauding_001.jpg, at any depth."
)
OFFICIAL = {"train": 4000, "test": 5532, "classes": 40}


def make(out: Path, options: Options) -> Made:
    """Return the items; the label is the action, such as "riding_a_bike".

    Raises:
        UsageError: unknown variant, a list is missing, or no file at all.
    """
    if options.variant:
        raise UsageError(f"stanford40:{options.variant}: expected stanford40")
    download = Download("stanford40", options, WHERE)
    pictures = {path.name: path for path in download.below.files}
    actions = []
    for number, line in enumerate(download.lines("actions.txt")):
        if re.fullmatch(r"\w+\s+[0-9]+", line):
            actions.append(line.split()[0])
        elif number:  # the first line names the columns
            download.bad_line("actions.txt", line, "an action and how many pictures there are")
    for action in actions:
        for part in ("train", "test"):
            for line in download.lines(f"{action}_{part}.txt"):
                if not re.fullmatch(rf"{re.escape(action)}_[0-9]+\.\w+", line):
                    download.bad_line(part, line, f"a name such as {action}_001.jpg")
                    continue
                download.add(part, pictures.get(line), line, {"id": line, "label": action, "split": part})
    download.listed["classes"] = len(actions)
    return download.made(OFFICIAL, options)
