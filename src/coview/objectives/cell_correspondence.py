"""Which cell of another picture a cell corresponds to, as a Gaussian for each, moved by looks and held by neighbours.

The correspondence of Doersch, Gupta & Efros, ECCV 2014: looks are traded against local affine stiffness and against the
smoothness of the affine field. Reconstruction: expectation and maximisation as there, all cells at once, the precision
of a Gaussian taken as one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WIDE = 2.0  # variance at the start, cells squared
APPEARANCE = 0.05  # variance of a cell's look about its counterpart's, per number
_WINDOW = 3  # cells to either side of a mean that are looked at
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True)
class Correspondence:
    """For P pictures and every cell: mean (P, rows, columns, 2) and covariance (P, rows, columns, 2, 2), in cells."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def identity(cls, pictures: int, rows: int, columns: int, like: Tensor) -> Correspondence:
        """Return every cell at its own place, with the variance of the start."""
        grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).to(like)
        wide = WIDE * torch.eye(2).to(like)
        return cls(grid.expand(pictures, -1, -1, -1).clone(), wide.expand(pictures, rows, columns, 2, 2).clone())


def shares_of(mean: Tensor, covariance: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (places, shares, inside) of Gaussians over cells: what share of each lies on which cell near its mean.

    Args:
        mean, covariance: (..., 2) and (..., 2, 2).

    Returns:
        int64 (..., K) indices row * columns + column, clamped to the grid; shares (..., K) of sum 1; bool (..., K),
        whether the cell is one of the grid.
    """
    steps = torch.arange(-_WINDOW, _WINDOW + 1, device=mean.device)
    nearest = mean.round()
    row, column = (nearest[..., axis, None].to(torch.int64) + steps for axis in (0, 1))
    y, x = ((nearest - mean)[..., axis, None] + steps for axis in (0, 1))
    (a, b), (_, d) = ((covariance[..., i, 0, None], covariance[..., i, 1, None]) for i in (0, 1))
    determinant = a * d - b * b
    squares = (d / determinant * y * y)[..., :, None] + (a / determinant * x * x)[..., None, :]
    squares = squares - (2 * b / determinant * y)[..., :, None] * x[..., None, :]
    above, left = row.clamp(0, rows - 1), column.clamp(0, columns - 1)
    places = (above * columns)[..., :, None] + left[..., None, :]
    inside = (row == above)[..., :, None] & (column == left)[..., None, :]
    return places.flatten(-2), (-squares / 2).flatten(-2).softmax(-1), inside.flatten(-2)


def extended(found: Correspondence, known: Tensor, new: Tensor) -> Correspondence:
    """Return the correspondences with those of new cells: the known neighbours', shifted by one cell.

    Args:
        known, new: bool (rows, columns); every new cell has a known neighbour.
    """
    mean, covariance = torch.zeros_like(found.mean), torch.zeros_like(found.covariance)
    count = torch.zeros_like(known, dtype=mean.dtype)
    for step in _STEPS:  # the neighbour lies a step away, so the cell lies a step back from it
        there = _shifted(known.to(mean.dtype), step)
        shift = torch.tensor(step, dtype=mean.dtype, device=mean.device)
        mean += there[..., None] * (_shifted(found.mean, step, 1) - shift)
        covariance += there[..., None, None] * _shifted(found.covariance, step, 1)
        count += there
    share = 1 / count.clamp(min=1)
    return Correspondence(
        torch.where(new[..., None], mean * share[..., None], found.mean),
        torch.where(new[..., None, None], covariance * share[..., None, None], found.covariance),
    )


def settled(
    found: Correspondence, known: Tensor, confidence: Tensor, match: Tensor, inside: Tensor,
    *, stiffness: float, smoothness: float, sweeps: int = 1,
) -> Correspondence:  # fmt: skip
    """Return the correspondences of known cells after some sweeps; a growing region needs one a step.

    Args:
        known: bool (rows, columns).
        confidence: (rows, columns), how far a cell's look counts.
        match: (P, rows * columns, rows * columns), log likelihood of the query's cell given the other's.
        inside: bool (P, rows, columns), which cells the other pictures have.
        stiffness, smoothness: lambda and lambda' of the paper.
    """
    rows, columns = known.shape
    at = known.flatten().nonzero()[:, 0]
    weight = known.to(found.mean.dtype)
    eye = torch.eye(2, dtype=weight.dtype, device=weight.device)
    affine = eye.expand(*found.covariance.shape).clone()
    for _ in range(sweeps):
        mean, covariance = found.mean.flatten(1, 2)[:, at], found.covariance.flatten(1, 2)[:, at]
        places, shares, in_grid = shares_of(mean, covariance, rows, columns)
        valid = in_grid & inside.flatten(1).gather(1, places.flatten(1)).reshape(places.shape)
        looks = match[:, at].gather(2, places)
        weighed = torch.where(valid, shares.log() + looks, -torch.inf)
        any_valid = valid.any(-1, keepdim=True)
        weighed = torch.where(any_valid, weighed, 0.0).softmax(-1)
        there = torch.stack([places // columns, places % columns], -1).to(mean.dtype)
        seen = (weighed[..., None] * there).sum(-2)
        affine, expected, edges = _field(found.mean, affine, weight, smoothness)
        precision = confidence.flatten()[at] * any_valid[..., 0] * 2 / covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        held = stiffness * edges.flatten()[at]
        total = (precision + held).clamp(min=1e-9)
        moved = (precision[..., None] * seen + held[:, None] * expected.flatten(1, 2)[:, at]) / total[..., None]
        moved = torch.where((precision + held > 0)[..., None], moved, mean)
        apart = there - moved[..., None, :]
        spread = torch.einsum("pmk,pmki,pmkj->pmij", weighed, apart, apart)
        # A Gaussian never shrinks below one cell; where it would, it stays as it was.
        narrow = torch.linalg.det(spread) < 1
        spread = torch.where((narrow | ~any_valid[..., 0])[..., None, None], covariance, spread)
        found = Correspondence(_put(found.mean, at, moved), _put(found.covariance, at, spread))
    return found


def _field(mean: Tensor, affine: Tensor, weight: Tensor, smoothness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the affine field, where each cell's neighbours expect it, and how many neighbours are known."""
    moved, near, count = torch.zeros_like(affine), torch.zeros_like(affine), torch.zeros_like(weight)
    along = torch.zeros(*weight.shape, 2, dtype=weight.dtype, device=weight.device)
    shifts = [torch.tensor(step, dtype=weight.dtype, device=weight.device) for step in _STEPS]
    for step, shift in zip(_STEPS, shifts, strict=True):
        there = _shifted(weight, step)
        moved += there[..., None, None] * ((_shifted(mean, step, 1) - mean)[..., None] * shift)
        near += there[..., None, None] * _shifted(affine, step, 1)
        along += there[..., None] * shift.square()
        count += there
    near = near / count.clamp(min=1)[..., None, None]
    fitted = (moved + smoothness * near) / (along + smoothness).clamp(min=1e-9)[..., None, :]
    affine = torch.where((count > 0)[..., None, None], fitted, affine)
    expected = torch.zeros_like(mean)
    for step, shift in zip(_STEPS, shifts, strict=True):
        middle = (affine + _shifted(affine, step, 1)) / 2
        expected += _shifted(weight, step)[..., None] * (_shifted(mean, step, 1) - middle @ shift)
    return affine, expected / count.clamp(min=1)[..., None], count


def _shifted(values: Tensor, step: tuple[int, int], first: int = 0) -> Tensor:
    """Return each cell's neighbour a step away, zero beyond the border; rows are axis `first`."""
    moved = values.roll((-step[0], -step[1]), (first, first + 1))
    for axis, by in ((first, step[0]), (first + 1, step[1])):
        if by:
            moved = moved.clone()
            moved.select(axis, values.shape[axis] - 1 if by > 0 else 0).zero_()
    return moved


def _put(values: Tensor, at: Tensor, new: Tensor) -> Tensor:
    flat = values.flatten(1, 2).clone()
    flat[:, at] = new
    return flat.reshape(values.shape)
