"""UCF-101 (Soomro et al. 2012): 13,320 films of 101 actions, three official folds; the 25 groups share actors.

UCF-51, of which CCL tells (arXiv 2104.10955), is the part with sound: 51 actions. That these are the ones which UCF-101
added to UCF-50 is our reading.
"""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download

WHERE = (
    "Films (UCF101.rar) and lists (UCF101TrainTestSplits-RecognitionTask.zip) are at "
    "https://www.crcv.ucf.edu/data/UCF101.php; the folder holds the .avi files at any depth and ucfTrainTestlist/ with "
    "classInd.txt, trainlist01.txt to trainlist03.txt and testlist01.txt to testlist03.txt."
)
# Films in (train, test) of each fold.
FOLDS = ((9537, 3783), (9586, 3734), (9624, 3696))
_ADDED = """
ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BasketballDunk BlowDryHair BlowingCandles
BodyWeightSquats Bowling BoxingPunchingBag BoxingSpeedBag BrushingTeeth CliffDiving CricketBowling CricketShot
CuttingInKitchen FieldHockeyPenalty FloorGymnastics FrisbeeCatch FrontCrawl Haircut Hammering HammerThrow
HandstandPushups HandstandWalking HeadMassage IceDancing Knitting LongJump MoppingFloor ParallelBars PlayingCello
PlayingDaf PlayingDhol PlayingFlute PlayingSitar Rafting ShavingBeard Shotput SkyDiving SoccerPenalty StillRings
SumoWrestling Surfing TableTennisShot Typing UnevenBars WallPushups WritingOnBoard
"""
WITH_SOUND = frozenset(_ADDED.split())


def make(out: Path, options: Options) -> Made:
    """Return the items; `split` is that of fold 1, and `folds` holds all three.

    Raises:
        UsageError: missing lists, or no file at all.
    """
    return _made("ucf101", options)


def make_with_sound(out: Path, options: Options) -> Made:
    """Return the items of UCF-51; otherwise as `make`."""
    return _made("ucf51", options, WITH_SOUND)


def _made(called: str, options: Options, wanted: frozenset[str] | None = None) -> Made:
    download = Download(called, options, WHERE)
    classes = set()
    for line in download.lines("classInd.txt"):
        if re.fullmatch(r"[0-9]+ \S+", line):
            classes.add(line.split()[1])
        else:
            download.bad_line("classInd.txt", line, "a number and a class")
    folds: dict[str, list[str]] = {}
    official = {}
    for fold, counts in enumerate(FOLDS):
        for part, count in zip(("train", "test"), counts, strict=True):
            name = f"fold {fold + 1} {part}"
            official[name] = count
            for line in download.lines(f"{part}list{fold + 1:02d}.txt"):
                if not re.fullmatch(r"[^/\s]+/\S+( [0-9]+)?", line):
                    download.bad_line(name, line, "CLASS/FILM.avi, in lists of training a number")
                    continue
                if wanted is not None and line.partition("/")[0] not in wanted:
                    continue
                download.listed[name] += 1
                folds.setdefault(line.split()[0], ["", "", ""])[fold] = part
    for name, parts in sorted(folds.items()):
        label, stem = name.partition("/")[0], Path(name).stem
        item = {"id": name, "label": label, "split": parts[0] or None, "folds": tuple(parts)}
        download.add("films", download.find(stem, parent=label), name, {**item, "group": stem.rsplit("_", 1)[0]})
    if wanted is not None:  # how many films of each part these are, their owners do not say
        download.listed["classes"] = len(classes & wanted)
        return download.made({"classes": len(wanted)}, options)
    download.listed["classes"] = len(classes)
    return download.made({"films": 13320, "classes": 101, **official}, options)
