"""Errors of surface normals: angles, pooled over all known pixels of all test pictures, with intervals over pictures.

Fouhey, Gupta & Hebert, "Data-driven 3D primitives for single image understanding", ICCV 2013, section 6: mean and
median angle, and the shares below 11.25, 22.5 and 30 degrees. Means over pictures would be other figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.evaluation.statistics import Measurement, resampled_counts

LIMITS = (11.25, 22.5, 30.0)  # degrees
NAMES = ("mean", "median", *(f"below_{limit:g}" for limit in LIMITS))
_BINS = 3600  # of the angles from which medians of resamples are read: a twentieth of a degree


def angles(said: Tensor, truth: Tensor) -> Tensor:
    """Return the angle in degrees, (...), between vectors (..., 3) of any length but 0."""
    lengths = torch.linalg.vector_norm(said, dim=-1) * torch.linalg.vector_norm(truth, dim=-1)
    cosine = (said * truth).sum(-1) / lengths.clamp(min=torch.finfo(said.dtype).tiny)
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


def summary(errors: Tensor) -> Tensor:
    """Return mean and median in degrees and the shares strictly below the limits, float64 (5,), of angles (N,)."""
    ranked = errors.double().sort().values
    median = (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
    shares = [(ranked < limit).double().mean() for limit in LIMITS]
    return torch.stack([ranked.mean(), median, *shares])


def figures(name: str, errors: Sequence[Tensor], constant: Sequence[Tensor], seed: int) -> list[Measurement]:
    """Return "normals_<mean|median|below_11.25|below_22.5|below_30>/<name>".

    Args:
        errors: angles (N_i,) of the known pixels of every test picture.
        constant: those of the best answer that is the same everywhere, whose figures are chance.
        seed: draws the resamples of pictures.

    Raises:
        UsageError: there is no pixel.
    """
    if not sum(map(len, errors)):
        raise UsageError("normals: no test picture has a pixel whose surface is known")
    values, chance = summary(torch.cat(list(errors))), summary(torch.cat(list(constant)))
    low, high = _interval(errors, seed)
    rows = zip(NAMES, values.tolist(), low.tolist(), high.tolist(), chance.tolist(), strict=True)
    return [
        Measurement(f"normals_{what}/{name}", value, below, above, plain, len(errors))
        for what, value, below, above, plain in rows
    ]


def _interval(errors: Sequence[Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """Return the 95 % bounds of `summary`, each (5,), over resampled pictures, whose pixels stay together."""
    sums = torch.stack([
        torch.stack([one.new_tensor(len(one)), one.sum(), *((one < limit).sum().to(one.dtype) for limit in LIMITS)])
        for one in errors
    ]).double()  # fmt: skip
    bins = [torch.bincount((one * (_BINS / 180)).long().clamp(0, _BINS - 1), minlength=_BINS) for one in errors]
    table, drawn = torch.stack(bins).double(), []
    for counts in resampled_counts(len(errors), seed):
        whole = counts.double() @ sums
        below = (counts.double() @ table).cumsum(1)
        half = (below * 2 < whole[:, :1]).sum(1)
        means = whole[:, 1:] / whole[:, :1]
        drawn.append(torch.cat([means[:, :1], ((half + 0.5) * (180 / _BINS))[:, None], means[:, 1:]], 1))
    bounds = torch.cat(drawn).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return bounds[0], bounds[1]
