"""Questions about pictures in their official files: VQA v2, VCR, and referring expressions as RefCOCO has them.

All are JSON; the pickles in which referring expressions are handed out are never read: write them as JSON first, with
the same keys. A picture is called after what the file calls it, so that it meets the id of its recording.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coview.errors import InputError
from coview.files import read_text

_REMEDY = "fetch it again"
_LIMIT = 1 << 30  # bytes of a file; the largest of them have 400 MB
_NAMES = ("Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall")


@dataclass(frozen=True)
class Asked:
    """A question with free answers, and how far each is right, from 0 to 1."""

    picture: str
    text: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Choice:
    """A question with options, one of which is right; `number` tells it from others, across kinds of questions."""

    picture: str
    text: str
    options: tuple[str, ...]
    right: int
    number: str


@dataclass(frozen=True)
class Referred:
    """What is said of a thing in a picture, and its box: left, top, right, bottom as shares of width and height."""

    picture: str
    text: str
    box: tuple[float, float, float, float]


def read_vqa(questions: Path, annotations: Path, named: str = "{}") -> list[Asked]:
    """Return the questions of VQA v2 (Goyal et al., CVPR 2017) that have answers.

    An answer's score is the official accuracy: the mean, over who is left out of the ten, of min(others who say so / 3,
    1). Answers are lowered and lose articles and full stops, those inside of numbers excepted; the official script also
    spells numbers as digits, completes apostrophes and takes off other marks.

    Args:
        named: how a picture's number makes its id, such as "COCO_val2014_{:012d}".

    Raises:
        InputError: a file is not as VQA's; names it.
    """
    asked, found = (_json(path, key) for path, key in ((questions, "questions"), (annotations, "annotations")))
    with _Told(questions):
        texts = {entry["question_id"]: (entry["image_id"], str(entry["question"])) for entry in asked}
    items = []
    with _Told(annotations):
        for entry in found:
            picture, text = texts[entry["question_id"]]
            said = Counter(plain_answer(str(each["answer"])) for each in entry["answers"])
            items.append(Asked(named.format(picture), text, {a: _agreed(n, said.total()) for a, n in said.items()}))
    return items


def frequent_answers(items: Sequence[Asked], least: int = 9) -> list[str]:
    """Return the answers that are fully or partly right for `least` questions or more, in the order of letters."""
    counts = Counter(answer for item in items for answer, score in item.scores.items() if score > 0)
    return sorted(answer for answer, count in counts.items() if count >= least)


def read_vcr(path: Path, kind: str = "answer") -> list[Choice]:
    """Return the questions of VCR (Zellers et al., CVPR 2019), a line each.

    Tagged things are spelt as names: people as names that tell no gender, others as what they are.

    Args:
        kind: "answer" (Q to A), or "rationale" (QA to R: the right answer stands behind the question).

    Raises:
        InputError: the file is not as VCR's; names it.
    """
    items = []
    lines = read_text(path, "questions", remedy=_REMEDY, limit=_LIMIT).split("\n")  # words may hold other line ends
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        with _Told(path, f"line {number}"):
            entry = json.loads(line)
            objects = entry["objects"]
            text = _spelt(entry["question"], objects)
            if kind == "rationale":
                text = f"{text} {_spelt(entry['answer_choices'][entry['answer_label']], objects)}"
            options = tuple(_spelt(option, objects) for option in entry[f"{kind}_choices"])
            right = int(entry[f"{kind}_label"])
            if not 0 <= right < len(options):
                raise ValueError(f"{kind}_label is {right}, of {len(options)} options")
            items.append(Choice(str(entry["img_fn"]), text, options, right, str(entry["annot_id"])))
    return items


def read_referred(refs: Path, instances: Path, split: str, named: str = "{}") -> list[Referred]:
    """Return the expressions of a part of RefCOCO, RefCOCO+ or RefCOCOg, one for each sentence.

    Args:
        refs: the list of references as JSON.
        instances: COCO's instances.json, with sizes of pictures and boxes.
        split: such as "train", "val", "testA".
        named: as in `read_vqa`.

    Raises:
        InputError: a file is not as RefCOCO's, a picture has no size, or the split has no expression.
    """
    with _Told(instances):
        sizes = {entry["id"]: (float(entry["width"]), float(entry["height"])) for entry in _json(instances, "images")}
        boxes = {entry["id"]: [float(x) for x in entry["bbox"]] for entry in _json(instances, "annotations")}
    items = []
    with _Told(refs):
        for entry in _json(refs, None):
            if entry["split"] == split:
                (width, height), (x, y, w, h) = sizes[entry["image_id"]], boxes[entry["ann_id"]]
                box = (x / width, y / height, (x + w) / width, (y + h) / height)
                picture = named.format(entry["image_id"])
                items += [Referred(picture, str(sentence["sent"]), box) for sentence in entry["sentences"]]
    if not items:
        raise InputError(f"{refs}: no expression belongs to the split {split!r}")
    return items


def plain_answer(text: str) -> str:
    """Return an answer as it is compared: lowered, without articles and without full stops that no digit follows."""
    words = re.sub(r"\.(?!\d)", "", text.lower()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def _agreed(count: int, people: int) -> float:
    """Return the mean accuracy of an answer that `count` of `people` gave, over who is left out."""
    without, rest = min((count - 1) / 3, 1.0), min(count / 3, 1.0)
    return (count * without + (people - count) * rest) / people


def _spelt(tokens: Sequence[Any], objects: Sequence[str]) -> str:
    """Return a text of words and of lists of things' numbers."""
    words = []
    for token in tokens:
        if isinstance(token, list):
            names = [_NAMES[n % len(_NAMES)] if objects[n] == "person" else objects[n] for n in token]
            words.append(" and ".join(names))
        else:
            words.append(str(token))
    return " ".join(words)


def _json(path: Path, key: str | None) -> list[dict[str, Any]]:
    """Return the list of objects that a file holds, under a key or as a whole."""
    with _Told(path):
        whole = json.loads(read_text(path, "questions", remedy=_REMEDY, limit=_LIMIT))
        found = whole if key is None else whole[key]
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValueError(f"{key or 'the file'} is no list of objects")
    return found


class _Told:
    """Says of what goes wrong which file it was."""

    def __init__(self, path: Path, where: str = "") -> None:
        self.place = f"{path}, {where}" if where else str(path)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (LookupError, TypeError, ValueError, ArithmeticError, RecursionError)):
            what = f"it lacks {error}" if isinstance(error, LookupError) else str(error)
            raise InputError(f"{self.place}: not as the official file ({what}); {_REMEDY}") from error
