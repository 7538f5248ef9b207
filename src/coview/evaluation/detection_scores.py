"""What was detected against what is there: VOC's matching, and mean average precision with an interval over pictures.

Everingham et al., "The PASCAL visual object classes challenge", IJCV 2010, section 4.2: the detections of a class, best
first, each take the object they overlap most; it counts as found from an intersection over union of .5 on, once. What
falls on a difficult object counts neither way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from coview.data.scenes import Objects
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition, ranked_precision
from coview.evaluation.statistics import Measurement, logit_interval, resampled_counts

OVERLAP = 0.5


class Found(NamedTuple):
    """The detections of one picture: boxes float (n, 4), scores (n,), numbers of classes int64 (n,)."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Matches:
    """The detections of all pictures, class by class, best first.

    Attributes:
        ranked: class -> (picture int64 (K,), good float64 (K,), bad float64 (K,)).
        positives: float64 (pictures, classes): objects that are not difficult.
    """

    ranked: list[tuple[Tensor, Tensor, Tensor]]
    positives: Tensor

    def average_precision(self, definition: Definition, counts: Tensor | None = None) -> Tensor:
        """Return the average precision (classes,), or (R, classes) with pictures as often as `counts` (R, pictures)
        says; NaN where there is nothing to find.
        """
        whole = torch.ones(1, len(self.positives), dtype=torch.float64) if counts is None else counts.double()
        columns = []
        for number, (picture, good, bad) in enumerate(self.ranked):
            weight = whole[:, picture]
            positives = whole @ self.positives[:, number]
            columns.append(ranked_precision(weight * good, weight * bad, positives, definition))
        values = torch.stack(columns, -1)
        return values[0] if counts is None else values


def match(found: Sequence[Found], truth: Sequence[Objects], classes: int, overlap: float = OVERLAP) -> Matches:
    """Return how the detections of pictures fall on what is there.

    Raises:
        UsageError: not as many pictures, or a score is not finite.
    """
    if len(found) != len(truth):
        raise UsageError(f"detections of {len(found)} pictures cannot be matched with the truth of {len(truth)}")
    if not all(bool(torch.isfinite(one.scores).all()) for one in found):
        raise UsageError("a score of a detection is not finite")
    ranked = []
    for number in range(classes):
        rows = [_match_class(f, t, number, overlap) for f, t in zip(found, truth, strict=True)]
        score, good, bad = (torch.cat([row[k] for row in rows]) for k in range(3))
        picture = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(row[0]) for row in rows]))
        order = torch.argsort(score, descending=True, stable=True)
        ranked.append((picture[order], good[order], bad[order]))
    numbers = torch.arange(classes)
    clear = [(t.classes[:, None] == numbers)[~t.difficult].sum(0) for t in truth]
    return Matches(ranked, torch.stack(clear).double() if clear else torch.zeros(0, classes, dtype=torch.float64))


def _match_class(found: Found, truth: Objects, number: int, overlap: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, good and bad (float64) of one class in one picture, best first."""
    mine, theirs = found.classes == number, truth.classes == number
    order = torch.argsort(found.scores[mine].double(), descending=True, stable=True)
    score, boxes = found.scores[mine][order].double(), found.boxes[mine][order]
    good, bad = torch.zeros_like(score), torch.ones_like(score)
    difficult = truth.difficult[theirs].tolist()
    if len(difficult) and len(score):
        best, which = box_iou(boxes.double(), truth.boxes[theirs].double()).max(1)
        taken: set[int] = set()
        for k, (value, index) in enumerate(zip(best.tolist(), which.tolist(), strict=True)):
            if value < overlap:
                continue
            if difficult[index]:
                bad[k] = 0
            elif index not in taken:
                taken.add(index)
                good[k], bad[k] = 1, 0
    return score, good, bad


def mean_average_precision(
    what: str,
    name: str,
    found: Sequence[Found],
    truth: Sequence[Objects],
    classes: int,
    definition: Definition,
    seed: int,
) -> Measurement:
    """Return "<what>_map-<definition>/<name>", the mean over the classes that there is something of.

    The interval is over resampled pictures. Chance is what the same detections find in other pictures.

    Raises:
        UsageError: as `match`; or no picture has an object that is not difficult.
    """
    matches = match(found, truth, classes)
    if not bool((matches.positives > 0).any()):
        raise UsageError(f"{what}: no test picture has an object that counts")
    value = float(matches.average_precision(definition).nanmean())
    drawn = [matches.average_precision(definition, part).nanmean(1) for part in resampled_counts(len(found), seed)]
    low, high = logit_interval(value, torch.cat(drawn), int(matches.positives.sum()))
    chance = None
    if len(found) > 1:
        half = len(found) // 2
        others = match([*found[half:], *found[:half]], truth, classes)
        chance = float(others.average_precision(definition).nanmean())
    return Measurement(f"{what}_map-{definition}/{name}", value, low, high, chance, len(found))
