"""Generalised canonical correlation of several views (MAXVAR): what they have in common, as a sum of eigenvalues.

Kettenring 1971; Benton et al., Deep Generalized CCA (arXiv 1702.02519). With C the joint covariance of all views over
the n rows of all processes, divisor n - 1, and B its diagonal blocks plus r I:

    C g = lambda B g,  g' B g = 1;   value = sum of the k largest lambda

The lambda are the eigenvalues of the sum of the projections onto the views, so each is at most the number of views; for
two views and r = 0 they are 1 + the canonical correlations. d / dC = G G' - blocks of G diag(lambda) G', G = [g_1 ..].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from coview.objectives.precision import in_float32
from coview.parallel import reduced_moments


def generalised_correlation(views: Sequence[Tensor], ridge: float, components: int) -> Tensor:
    """Return the sum of the `components` largest eigenvalues of views (N_r, D_v), the same on every process.

    NaN where a covariance is not positive definite, which with a ridge means that it is not finite.
    """
    return _of_joined(torch.cat(list(views), 1), [view.shape[1] for view in views], ridge, components)


@in_float32
def _of_joined(joined: Tensor, widths: list[int], ridge: float, components: int) -> Tensor:
    _, _, covariance = reduced_moments(joined.double(), covariance=True)
    return cast(Tensor, _EigenvalueSum.apply(covariance, widths, ridge, components)).to(joined.dtype)


class _EigenvalueSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, covariance: Tensor, widths: list[int], ridge: float, components: int) -> Tensor:
        joint = covariance.cpu()  # D x D numbers only: float64 factorisations are slow on accelerators
        owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
        blocks = (owner[:, None] == owner[None]).to(joint)
        lower, failed = torch.linalg.cholesky_ex(joint * blocks + ridge * torch.eye(len(joint), dtype=joint.dtype))
        if bool(failed) or not bool(joint.isfinite().all()):
            ctx.save_for_backward(torch.full_like(covariance, torch.nan))
            return torch.full_like(covariance[0, 0], torch.nan)
        half = torch.linalg.solve_triangular(lower, joint, upper=False)
        values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(lower, half.T, upper=False))
        values, vectors = values[-components:], vectors[:, -components:]
        g = torch.linalg.solve_triangular(lower.T, vectors, upper=True)
        ctx.save_for_backward((g @ g.T - blocks * ((g * values) @ g.T)).to(covariance.device))
        total: Tensor = values.sum().to(covariance.device)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (derivative,) = ctx.saved_tensors
        return gradients[0] * derivative, None, None, None
