"""Average precision by its four definitions in circulation; on 200 items they differ by up to .07, so each has a name.

- "11-point" (VOC 2007): the mean over recall 0, .1, ..., 1 of the highest precision at that recall or a higher one.
- "area" (VOC 2010 and later): the area under that highest precision.
- "step": the sum of precision times gained recall, items of one score together; what scikit-learn computes today.
- "trapezoid": the area under straight lines between the points, (0, 1) first; what scikit-learn computed before 0.19.

Sources: Everingham et al., "The PASCAL visual object classes challenge", IJCV 2010, section 4.2; scikit-learn's manual.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from coview.errors import UsageError

Definition = Literal["11-point", "area", "step", "trapezoid"]
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)


def average_precision(scores: Tensor, targets: Tensor, definition: Definition) -> float:
    """Return the average precision of scores (N,) against targets (N,): 1 is positive, 0 or -1 is not.

    "11-point" and "area" keep the order of items of one score; the others take them at once.

    Raises:
        UsageError: a score is not finite, shapes differ, or there is no positive.
    """
    if scores.shape != targets.shape or scores.ndim != 1:
        raise UsageError(f"expected a score for every target, found {tuple(scores.shape)} and {tuple(targets.shape)}")
    if not bool(torch.isfinite(scores).all()):
        raise UsageError("average precision needs finite scores")
    order = torch.argsort(scores.double(), descending=True, stable=True)
    good = (targets[order] > 0).double()
    ends = None
    if definition in ("step", "trapezoid"):
        ranked = scores[order].double()
        ends = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    if not bool(good.any()):
        raise UsageError("average precision needs a positive")
    return float(ranked_precision(good, 1 - good, good.sum(), definition, ends))


def ranked_precision(
    good: Tensor, bad: Tensor, positives: Tensor, definition: Definition, ends: Tensor | None = None
) -> Tensor:
    """Return the average precision (...) of what is ranked from the best to the worst, with weights.

    Args:
        good, bad: float64 (..., K): how often the k-th counts as found and as false; both 0 where it does not count.
        positives: float64 (...): all there was to find; where it is 0, the result is NaN.
        ends: bool (K,): where a group of equal scores ends; None: every item stands alone.
    """
    found, false = good.cumsum(-1), bad.cumsum(-1)
    if ends is not None:
        found, false = found[..., ends], false[..., ends]
    recall = found / positives[..., None]
    precision = found / (found + false).clamp(min=torch.finfo(found.dtype).tiny)
    if definition in ("11-point", "area"):
        precision = precision.flip(-1).cummax(-1).values.flip(-1) if precision.shape[-1] else precision
    if definition == "11-point":
        # As the released code rounds: a recall of 3 / 10 does not reach 3 * .1.
        points = torch.arange(11, dtype=recall.dtype, device=recall.device) * 0.1
        reached = recall[..., None, :] >= points[:, None]
        best = torch.where(reached, precision[..., None, :], 0.0)
        value = best.amax(-1).mean(-1) if best.shape[-1] else torch.zeros_like(positives)
    else:
        gained = torch.diff(recall, dim=-1, prepend=torch.zeros_like(positives)[..., None])
        if definition == "trapezoid":
            precision = torch.where(found + false > 0, precision, 1.0)  # the curve begins at 1 where something counts
            before = torch.cat([torch.ones_like(positives)[..., None], precision[..., :-1]], -1)
            precision = (precision + before) / 2
        value = (gained * precision).sum(-1)
    return torch.where(positives > 0, value, torch.nan)
