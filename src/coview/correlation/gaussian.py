"""The joint mean and covariance of views when some rows lack some: complete rows only, or all rows by likelihood."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from coview.correlation.moments import Moments, Pattern, TooFewRowsError
from coview.errors import InputError

_ROUNDS, _TOLERANCE = 500, 1e-9


def joint_gaussian(moments: Moments, missing: str = "complete") -> tuple[int, Tensor, Tensor]:
    """Return the number of rows used, the joint mean (D,) and covariance (D, D, divisor N - 1), float64.

    Args:
        moments: of V views.
        missing: "complete" uses the rows that have every view. "likelihood" uses all rows, by the maximum likelihood of
            a joint Gaussian (EM of Dempster, Laird & Rubin 1977, on the moments of each pattern of presence: the rows
            themselves are not needed). It equals "complete" where no row lacks a view.

    Raises:
        InputError: another word, or a pair of views that no row has together.
    """
    if missing not in ("complete", "likelihood"):
        raise InputError(f"missing is {missing!r}; expected 'complete' or 'likelihood'")
    if missing == "complete" or set(moments.patterns) <= {(True,) * len(moments.dims)}:
        return moments.count, moments.complete.mean, moments.covariance()
    for pair in combinations(range(len(moments.dims)), 2):
        if not any(all(pattern[view] for view in pair) for pattern in moments.patterns):
            raise TooFewRowsError(f"no row has views {pair[0]} and {pair[1]} together, so nothing ties them")
    return _expectation_maximisation(moments)


def _expectation_maximisation(moments: Moments) -> tuple[int, Tensor, Tensor]:
    parts = [
        (moments.columns(pattern).cpu(), state.count, state.mean.cpu(), state.scatter.cpu())
        for pattern, state in moments.patterns.items()
    ]
    total = sum(count for _, count, _, _ in parts)
    mean, covariance = (start.cpu() for start in _start(moments))
    for _ in range(_ROUNDS):
        sums, conditional, filled = torch.zeros_like(mean), torch.zeros_like(covariance), []
        for seen, count, seen_mean, _ in parts:
            # Regression of all columns on those seen; on the seen ones it is the identity.
            regression = torch.linalg.lstsq(covariance[seen][:, seen], covariance[seen], driver="gelsd").solution
            expected = mean + (seen_mean - mean[seen]) @ regression
            sums += count * expected
            conditional += count * (covariance - covariance[:, seen] @ regression)
            filled.append((expected, regression))
        new_mean = sums / total
        joint = conditional
        for (expected, regression), (_, count, _, scatter) in zip(filled, parts, strict=True):
            away = expected - new_mean
            joint = joint + regression.T @ scatter @ regression + count * torch.outer(away, away)
        new = (joint + joint.T) / (2 * total)
        change = float((new - covariance).abs().max() / new.diagonal().max())
        mean, covariance = new_mean, new
        if change < _TOLERANCE:
            break
    return total, mean, covariance * (total / (total - 1))


def _start(moments: Moments) -> tuple[Tensor, Tensor]:
    """Return each view's own moments over the rows that have it, without ties between views."""
    mean = torch.zeros(sum(moments.dims), dtype=torch.float64, device=moments.device)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=moments.device)
    for view, columns in enumerate(moments.slices):
        alone = Moments([moments.dims[view]], moments.device)
        for pattern in moments.patterns:
            if pattern[view]:
                alone.merge(_one_view(moments, pattern, view))
        mean[columns], covariance[columns, columns] = alone.means[0], alone.covariance()
    return mean, covariance


def _one_view(moments: Moments, pattern: Pattern, view: int) -> Moments:
    state, start = moments.patterns[pattern], sum(moments.dims[v] for v in range(view) if pattern[v])
    columns = slice(start, start + moments.dims[view])
    single = Moments([moments.dims[view]], moments.device)
    single.patterns[(True,)] = type(state).of(state.count, state.mean[columns], state.scatter[columns, columns])
    return single
