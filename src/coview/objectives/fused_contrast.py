"""What a fused vector and the vectors of its views have in common, sample by sample and group by group.

The terms of CLOVEN (Ke et al. 2023, arXiv 2212.13726). NT-Xent (Chen et al. 2020, arXiv 2002.05709) of a and b, 2B rows
in all, picks out each row's partner among all others, itself left out:

    I(a, b) = mean over the 2B rows r of log sum_{s != r} exp(r . s / T) - r . partner(r) / T

CLOVEN takes it of projected vectors as they are, without their lengths taken off, and C(A, B) of the columns of two
matrices of assignments, as cosines: a column says how much of a group every sample is, and a group's partner is the
same group as the other view sees it. The imbalance log K + sum_k p_k log p_k of the groups' shares p is 0 when all are
equally full. Deep divergence-based clustering (Kampffmeyer et al. 2019, arXiv 1902.04981) adds, with a Gaussian kernel
Q of hidden vectors, assignments A (B, K) and their closeness M to the corners of the simplex,

    separation(A, Q) + off_diagonal_mean(A'A) + separation(M, Q),
    separation(A, Q) = mean_{i < j} (A'QA)_ij / sqrt((A'QA)_ii (A'QA)_jj).

Its original form has A A', over samples, in the middle; CLOVEN's code has A'A, over groups. Everything but
`pair_contrast` takes the rows of all processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.parallel import gather_with_grad, rank, row_counts

_LEAST = 1e-9  # of a width, and of what two groups share


@in_float32
def pair_contrast(x: Tensor, y: Tensor, temperature: float, unit: bool = False) -> Tensor:
    """Return the mean of NT-Xent's two losses of every pair, (N_r,), among the pairs of all processes.

    Args:
        x, y: (N_r, D), row i of one belongs to row i of the other.
        temperature: T.
        unit: take their lengths off first, so that scores are cosines.
    """
    if unit:
        x, y = normalize(x, dim=1), normalize(y, dim=1)
    counts = row_counts(x)
    everyone = gather_with_grad(torch.cat([x, y], 1))
    candidates = torch.cat([everyone[:, : x.shape[1]], everyone[:, x.shape[1] :]])
    start = sum(counts[: rank()])
    first = torch.arange(start, start + len(x), device=x.device)
    second = first + sum(counts)
    losses = [_picked(x, candidates, first, second, temperature), _picked(y, candidates, second, first, temperature)]
    return torch.stack(losses).mean(0)


@in_float32
def group_contrast(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent of the 2K columns of assignments a and b (B, K), as cosines; a scalar."""
    groups = a.shape[1]
    columns = normalize(torch.cat([a.T, b.T]), dim=1)
    own = torch.arange(2 * groups, device=a.device)
    return _picked(columns, columns, own, own.roll(groups), temperature).mean()


@in_float32
def imbalance(assigned: Tensor) -> Tensor:
    """Return log K minus the entropy of the groups' shares of assignments (B, K); 0 where all are equally full."""
    share = assigned.sum(0) / assigned.sum()
    # The logarithm of an empty group would be infinite, and so would be its gradient.
    logarithm = share.clamp(min=torch.finfo(share.dtype).tiny).log()
    return (share * logarithm).sum() + torch.log(share.new_tensor(float(len(share))))


@in_float32
def gaussian_kernel(x: Tensor, share: float = 0.15) -> Tensor:
    """Return exp(-d^2 / (2 s)) of all pairs of rows of x (B, D), (B, B); s is `share` of the median d^2, held fixed.

    The median is the lower one, of all pairs, a row with itself among them.
    """
    # By differences: |x|^2 - 2 x y + |y|^2 loses all digits where rows lie close.
    squares = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    width = (share * squares.detach().median()).clamp(min=_LEAST)
    return torch.exp(-squares / (2 * width))


@in_float32
def separation(assigned: Tensor, kernel: Tensor) -> Tensor:
    """Return the mean Cauchy-Schwarz divergence's cosine between groups, of assignments (B, K) and a kernel (B, B)."""
    shared = (assigned.T @ kernel @ assigned).clamp(min=_LEAST)
    own = shared.diagonal()
    return off_diagonal_mean(shared / torch.outer(own, own).clamp(min=_LEAST**2).sqrt())


@in_float32
def off_diagonal_mean(matrix: Tensor) -> Tensor:
    """Return the mean of what stands above the diagonal of a symmetric matrix (K, K), K at least 2."""
    size = len(matrix)
    return torch.triu(matrix, 1).sum() * (2 / (size * (size - 1)))


@in_float32
def closeness_to_corners(assigned: Tensor) -> Tensor:
    """Return exp(-|A_i - e_j|^2) of assignments A (B, K) and the corners e_j of the simplex, (B, K)."""
    return torch.exp(2 * assigned - 1 - assigned.square().sum(1, keepdim=True))


@in_float32
def divergence_clustering(hidden: Tensor, assigned: Tensor, over_samples: bool = False) -> Tensor:
    """Return the three terms of divergence-based clustering, summed, of hidden vectors (B, D) and assignments (B, K).

    Args:
        hidden, assigned: of the samples of all processes.
        over_samples: the middle term in its original form, over samples.
    """
    kernel = gaussian_kernel(hidden)
    overlap = assigned @ assigned.T if over_samples else assigned.T @ assigned
    corners = separation(closeness_to_corners(assigned), kernel)
    return separation(assigned, kernel) + off_diagonal_mean(overlap) + corners


def _picked(anchors: Tensor, candidates: Tensor, own: Tensor, partner: Tensor, temperature: float) -> Tensor:
    """Return the loss (N,) of picking out candidate `partner` (N,) for every anchor, candidate `own` (N,) left out."""
    scores = anchors @ candidates.T / temperature
    others = scores.scatter(1, own[:, None], -torch.inf)
    return others.logsumexp(1) - scores.gather(1, partner[:, None])[:, 0]
