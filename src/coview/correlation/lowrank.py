"""Low-rank parts and gross errors, by the alternating direction method of multipliers in two blocks.

With two blocks, each solved exactly, and a constant penalty, the method converges to the optimum (Boyd et al. 2011,
"Distributed optimization and statistical learning via ADMM"); growing penalties may stop elsewhere. Rows are samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BALANCE, _STEP, _EVERY = 10.0, 2.0, 10  # the penalty changes when residuals are further apart than the first


@dataclass(frozen=True)
class Separated:
    """A matrix as low-rank part plus sparse errors.

    Attributes:
        low_rank, errors: float64, shape of the matrix.
        history: (iterations, 2) float64: residual of the constraint and of the dual, relative to the matrix's norm.
    """

    low_rank: Tensor
    errors: Tensor
    history: Tensor


@dataclass(frozen=True)
class Projected:
    """Two views as projections plus sparse errors.

    Attributes:
        maps: (P_x, P_y), float64 (d, d), acting on columns: the clean view is X P'.
        errors: (E_x, E_y), float64 (N, d).
        history: as in `Separated`.
    """

    maps: tuple[Tensor, Tensor]
    errors: tuple[Tensor, Tensor]
    history: Tensor


def soft(x: Tensor, threshold: float) -> Tensor:
    """Return the proximal map of threshold x |.|_1: every number moved towards 0."""
    moved: Tensor = x.sign() * (x.abs() - threshold).clamp(min=0)
    return moved


def shrink_singular_values(x: Tensor, threshold: float) -> Tensor:
    """Return the proximal map of threshold x the nuclear norm, of x (N, d).

    A tall matrix goes through its Gram matrix: singular values below sqrt(eps) of the largest are not resolved then,
    and lie far below any useful threshold.
    """
    if x.shape[0] < x.shape[1]:
        return shrink_singular_values(x.T, threshold).T
    if x.shape[0] < 2 * x.shape[1]:
        u, s, vt = torch.linalg.svd(x, full_matrices=False)
        rebuilt: Tensor = u * (s - threshold).clamp(min=0) @ vt
        return rebuilt
    values, vectors = torch.linalg.eigh(x.T @ x)
    s = values.clamp(min=0).sqrt()
    kept = s > threshold
    vectors = vectors[:, kept]
    shrunk: Tensor = x @ (vectors * (1 - threshold / s[kept])) @ vectors.T
    return shrunk


def separate(matrix: Tensor, sparsity: float, *, tolerance: float = 1e-7, max_iter: int = 2000) -> Separated:
    """Minimise |L|_* + sparsity |E|_1 subject to matrix = L + E, robust principal component analysis.

    Candès, Li, Ma & Wright 2011 (J. ACM 58), starting from the penalty of its section 5: size / (4 sum |matrix|).

    Args:
        matrix: (N, d) float64.
        sparsity: 1 / sqrt(max(N, d)) is right for a low-rank matrix whose errors are not too many.
        tolerance: both residuals, relative to the norm of the matrix.
        max_iter: iterations at most.
    """
    penalty = matrix.numel() / (4 * float(matrix.abs().sum()))
    norm = matrix.norm()
    errors, dual = torch.zeros_like(matrix), torch.zeros_like(matrix)
    history = []
    for count in range(max_iter):
        low_rank = shrink_singular_values(matrix - errors + dual, 1 / penalty)
        before, errors = errors, soft(matrix - low_rank + dual, sparsity / penalty)
        residual = matrix - low_rank - errors
        dual += residual
        history.append(torch.stack([residual.norm() / norm, (errors - before).norm() / norm]))
        if float(history[-1].max()) < tolerance:
            break
        change = _rebalance(history[-1][0], history[-1][1], count, max_iter)
        penalty *= change
        dual /= change
    return Separated(matrix - errors, errors, torch.stack(history).cpu())


def project_jointly(
    x: Tensor,
    y: Tensor,
    sparsity: tuple[float, float],
    coupling: float,
    *,
    tolerance: float = 1e-7,
    max_iter: int = 10_000,
) -> Projected:
    """Minimise |P|_* + |Q|_* + l1 |X - X P'|_1 + l2 |Y - Y Q'|_1 + coupling/2 |X P' - Y Q'|_F^2.

    Blocks: (P, Q) by one Cholesky factor of size 2d as long as the penalty stays; the errors and the low-rank copies of
    P and Q by their proximal maps.

    Args:
        x, y: (N, d) float64, columns centred and of unit variance.
        sparsity: (l1, l2).
        coupling: mu >= 0.
        tolerance: both residuals, relative to the norm of the views.
        max_iter: iterations at most.
    """
    views, size = (x, y), x.shape[1]
    gram = [view.T @ view for view in views]
    tie = x.T @ y
    identity = torch.eye(size, dtype=x.dtype, device=x.device)
    penalty, norm = 1.0, torch.cat(views).norm()
    errors, copies = [torch.zeros_like(v) for v in views], [torch.zeros_like(identity) for _ in views]
    dual_e, dual_j = [torch.zeros_like(v) for v in views], [torch.zeros_like(identity) for _ in views]
    factor, history = _system(gram, tie, identity, coupling, penalty), []
    for count in range(max_iter):
        right = torch.cat(
            [
                penalty * (v.T @ (v - e + u) + j.T - w.T)
                for v, e, u, j, w in zip(views, errors, dual_e, copies, dual_j, strict=True)
            ]
        )
        maps = torch.split(torch.cholesky_solve(right, factor), size)  # P' and Q'
        primal = dual = torch.zeros((), dtype=x.dtype, device=x.device)
        for n, (view, transposed) in enumerate(zip(views, maps, strict=True)):
            left_over = view - view @ transposed
            error = soft(left_over + dual_e[n], sparsity[n] / penalty)
            copy = shrink_singular_values(transposed.T + dual_j[n], 1 / penalty)
            dual = dual + (view.T @ (error - errors[n])).square().sum() + (copy - copies[n]).square().sum()
            errors[n], copies[n] = error, copy
            dual_e[n] += left_over - error
            dual_j[n] += transposed.T - copy
            primal = primal + (left_over - error).square().sum() + (transposed.T - copy).square().sum()
        primal, dual = primal.sqrt() / norm, penalty * dual.sqrt() / norm
        history.append(torch.stack([primal, dual]))
        if float(history[-1].max()) < tolerance:
            break
        change = _rebalance(primal, dual, count, max_iter)
        if change != 1:
            penalty *= change
            for scaled in (*dual_e, *dual_j):
                scaled /= change
            factor = _system(gram, tie, identity, coupling, penalty)
    return Projected((copies[0], copies[1]), (errors[0], errors[1]), torch.stack(history).cpu())


def _rebalance(primal: Tensor, dual: Tensor, count: int, max_iter: int) -> float:
    """Return the factor that brings two residuals nearer; 1 in the second half, where the penalty must stay."""
    if count % _EVERY != _EVERY - 1 or count >= max_iter // 2:
        return 1.0
    return _STEP if primal > _BALANCE * dual else 1 / _STEP if dual > _BALANCE * primal else 1.0


def _system(gram: list[Tensor], tie: Tensor, identity: Tensor, coupling: float, penalty: float) -> Tensor:
    """Return the Cholesky factor of the least-squares problem for (P', Q')."""
    own = [(coupling + penalty) * g + penalty * identity for g in gram]
    rows = [torch.cat([own[0], -coupling * tie], dim=1), torch.cat([-coupling * tie.T, own[1]], dim=1)]
    factor: Tensor = torch.linalg.cholesky(torch.cat(rows))
    return factor


def explain(rows: Tensor, basis: Tensor, *, tolerance: float = 1e-7, max_iter: int = 500) -> Tensor:
    """Return the points B c (N, D) nearest to rows (N, D) in absolute differences; basis B (D, r) is orthonormal."""
    errors, dual = torch.zeros_like(rows), torch.zeros_like(rows)
    penalty = 1 / rows.abs().mean().clamp(min=torch.finfo(rows.dtype).tiny)
    for _ in range(max_iter):
        fitted = (rows - errors + dual) @ basis @ basis.T
        before, errors = errors, soft(rows - fitted + dual, float(1 / penalty))
        dual += rows - fitted - errors
        moved = torch.maximum((errors - before).norm(), (rows - fitted - errors).norm())
        if float(moved) < tolerance * float(rows.norm()):
            break
    return fitted
