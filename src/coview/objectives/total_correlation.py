"""Total correlation: the sum of canonical correlations of two views, and of its class-wise relatives.

Andrew, Arora, Bilmes & Livescu, Deep CCA (ICML 2013), over the n rows of all processes, row-wise features X and Y:

    C11 = Xc'Xc / (n - 1) + r1 I,  C12 = Xc'Yc / (n - 1),  C22 likewise;  T = L1^-1 C12 L2^-T,  C = L L' (Cholesky)
    total correlation = sum of the k largest singular values s_i of T

With T = U S V', P = L1^-T U and Q = L2^-T V (k columns) the derivative is closed,

    d / dC12 = P Q',   d / dC11 = -P S P' / 2,   d / dC22 = -Q S Q' / 2,

without a difference of singular values in any denominator: repeated values do no harm, unlike in the derivative of an
eigendecomposition. Everything is float64 inside.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from coview.objectives.precision import in_float32
from coview.parallel import reduced_moments, sum_with_grad


@in_float32
def total_correlation(x: Tensor, y: Tensor, ridge: tuple[float, float], components: int | None = None) -> Tensor:
    """Return the sum of the largest canonical correlations of x (N_r, D1) and y (N_r, D2), the same on every process.

    Args:
        ridge: r1 and r2, added to the covariances' diagonals; above 0, the values are no longer correlations.
        components: k, how many are summed; None for all min(D1, D2). Where s_k = s_(k+1) the derivative is one of many.
    """
    return canonical_sum(*covariances(x, y, ridge), components).to(x.dtype)


def covariances(x: Tensor, y: Tensor, ridge: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return C11, C12 and C22 of all processes' rows, float64, with gradient; the ridge is on C11 and C22."""
    wide = x.shape[1]
    _, _, joint = reduced_moments(torch.cat([x, y], 1).double(), covariance=True)
    return _ridged(joint[:wide, :wide], ridge[0]), joint[:wide, wide:], _ridged(joint[wide:, wide:], ridge[1])


@in_float32
def class_covariance(x: Tensor, y: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return the covariance over all pairs of one class, float64 (D1, D2): cluster CCA's C12.

    Rasiwasia et al., Cluster CCA (AISTATS 2014): the mean over every same-class pair (i, j) of x_i y_j', which is
    sum_c (sum of class c's x) (sum of class c's y)' / sum_c n_c^2 on globally centred features. It needs one pass, not
    every pair. With one class only it is 0.

    Args:
        label: int64 (N_r,), 0 to classes - 1.
    """
    both = torch.cat([x, y], 1).double()
    _, mean, _ = reduced_moments(both)
    member = torch.nn.functional.one_hot(label, classes).to(both)
    sums = sum_with_grad(member.T @ (both - mean))
    counts = sum_with_grad(member.sum(0))
    return sums[:, : x.shape[1]].T @ sums[:, x.shape[1] :] / counts.square().sum().clamp(min=1)


def canonical_sum(c11: Tensor, c12: Tensor, c22: Tensor, components: int | None = None) -> Tensor:
    """Return the sum of the k largest singular values of L1^-1 C12 L2^-T, with the closed derivative.

    NaN where a covariance is not positive definite, which with a ridge means that it is not finite.
    """
    return cast(Tensor, _CanonicalSum.apply(c11, c12, c22, components or min(c12.shape)))


def _ridged(covariance: Tensor, ridge: float) -> Tensor:
    return covariance + ridge * torch.eye(covariance.shape[0], dtype=covariance.dtype, device=covariance.device)


class _CanonicalSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, c11: Tensor, c12: Tensor, c22: Tensor, components: int) -> Tensor:
        # D x D numbers only: float64 factorisations are slow on accelerators, and a copy of them is not.
        first, cross, second = c11.cpu(), c12.cpu(), c22.cpu()
        (lower1, failed1), (lower2, failed2) = torch.linalg.cholesky_ex(first), torch.linalg.cholesky_ex(second)
        if bool(failed1 | failed2) or not bool(cross.isfinite().all()):
            ctx.save_for_backward(*(torch.full_like(c, torch.nan) for c in (c11, c12, c22)))
            return torch.full_like(c11[0, 0], torch.nan)
        half = torch.linalg.solve_triangular(lower1, cross, upper=False)
        whitened = torch.linalg.solve_triangular(lower2, half.T, upper=False).T
        u, s, vh = torch.linalg.svd(whitened, full_matrices=False)
        s = s[:components]
        p = torch.linalg.solve_triangular(lower1.T, u[:, :components], upper=True)
        q = torch.linalg.solve_triangular(lower2.T, vh[:components].T, upper=True)
        derivatives = (p * s) @ p.T / -2, p @ q.T, (q * s) @ q.T / -2
        ctx.save_for_backward(*(derivative.to(c11.device) for derivative in derivatives))
        total: Tensor = s.sum().to(c11.device)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *(gradients[0] * derivative for derivative in ctx.saved_tensors), None
