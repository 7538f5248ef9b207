"""DCASE acoustic scenes (2013 challenge, used as "DCASE" since SoundNet): 10 scenes, 100 and 100 sounds of 30 seconds.

The official archives have no list: a file's name is its class and number, its folder says train or test.
"""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "scenes_stereo.zip (train) and scenes_stereo_testset.zip (test) are at "
    "https://dcase.community/challenge2013/download; the folder holds scenes_stereo/ and scenes_stereo_testset/ with "
    "bus01.wav to tubestation10.wav in each."
)
SCENES = (
    "bus", "busystreet", "office", "openairmarket", "park", "quietstreet", "restaurant", "supermarket", "tube",
    "tubestation",
)  # fmt: skip
_FOLDERS = {"train": "scenes_stereo", "test": "scenes_stereo_testset"}
_EACH = 10


def make(out: Path, options: Options) -> Made:
    """Return the items: every scene's ten sounds of each part; other names are refused with their reason.

    Raises:
        UsageError: a folder is missing, or no file is there at all.
    """
    download = Download("dcase", options, WHERE)
    for part, name in _FOLDERS.items():
        folder = next((path for path in sorted(download.root.rglob(name)) if path.is_dir()), None)
        if folder is None:
            raise UsageError(f"dcase: {download.root} lacks the folder {name}. {WHERE}")
        there = {path.stem: path for path in sorted(folder.rglob("*.wav"))}
        for stem in there:
            if not re.fullmatch(rf"({'|'.join(SCENES)})\d+", stem):
                download.bad_line(part, f"{name}/{stem}.wav", "names such as bus01.wav")
        for scene in SCENES:
            own = {int(stem.removeprefix(scene)): stem for stem in there if re.fullmatch(rf"{scene}\d+", stem)}
            for number in sorted({*own, *range(1, _EACH + 1)}):
                stem = own.get(number, f"{scene}{number:02d}")
                path = there[stem].relative_to(download.root) if stem in there else None
                item = {"id": f"{part}/{stem}", "label": scene, "split": part}
                download.add(part, path, f"{name}/{stem}.wav", item)
    return download.made({"train": _EACH * len(SCENES), "test": _EACH * len(SCENES)}, options)
