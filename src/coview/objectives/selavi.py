"""SeLaVi's labels: balanced clusters that sight and sound agree on.

Asano, Patrick, Rupprecht & Vedaldi 2020, "Labelling unlabelled videos from scratch" (arXiv 2006.13662).
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.parallel import row_counts, sum_with_grad
from coview.randomness import normal

CHECKED_EVERY = 10  # iterations


@torch.no_grad()
def agreed_labels(
    logits: dict[str, Tensor],
    *,
    power: float,
    marginal: Tensor | None = None,
    tolerance: float = 0.1,
    iterations: int = 2000,
) -> tuple[Tensor, float]:
    """Return the labels int64 (N_r,) of this process's samples and the cost, minus the mean log-probability of them.

    P = (product over the views of softmax(logits)) ** (power / 2) is scaled by Sinkhorn in float64 until its clusters
    hold `marginal` and its samples 1 / N, to a summed relative change of the samples' factors below `tolerance`; a
    sample's label is its largest entry.

    Args:
        logits: view -> (N_r, K). N_r may differ between processes.
        power: lambda of the paper, 20.
        marginal: (K,), the share of every cluster, of sum 1; None: all the same. `gaussian_marginal` draws the paper's.
    """
    if not logits:
        raise UsageError("labels need the logits of at least one view")
    log_p = torch.stack([torch.log_softmax(value.double(), dim=1) for value in logits.values()]).sum(0) * (power / 2)
    rows, clusters = sum(row_counts(log_p)), log_p.shape[1]
    p = torch.exp(log_p)
    share = p.new_full((clusters,), 1 / clusters) if marginal is None else marginal.to(p)
    beta = p.new_full((p.shape[0],), 1 / rows)
    for number in range(iterations):
        alpha = share / sum_with_grad(beta @ p).clamp(min=torch.finfo(p.dtype).tiny)
        fresh = 1 / rows / (p @ alpha)
        change = sum_with_grad((beta / fresh - 1).abs().sum()) if number % CHECKED_EVERY == 0 else None
        beta = fresh
        if change is not None and float(change) < tolerance:
            break
    labels = (alpha * p).argmax(1)
    cost = -sum_with_grad(log_p.gather(1, labels[:, None]).sum()) / rows / power
    return labels, float(cost)


@torch.no_grad()
def gaussian_marginal(mass: Tensor, *, key: Tensor, rows: int, as_released: bool = False) -> Tensor:
    """Draw cluster sizes from N(1, 0.1) N / K, at least 1, and return them as shares (K,) of sum 1; large ones to
    clusters that are large now.

    The released code neither matches nor keeps them: it scales by 1 / size, and sorts along an axis of length one, so
    that sizes land on clusters at random.

    Args:
        mass: (K,), what every cluster holds now, the same on every process.
        key: int64 scalar, of the draw.
        rows: N.
        as_released: as the released code does it.
    """
    sizes = ((1 + 0.1 * normal(key, 0, mass.shape[0]).double()) * rows / mass.shape[0]).clamp(min=1)
    placed = torch.empty_like(sizes)
    placed[mass.argsort(stable=True)] = sizes if as_released else sizes.sort().values
    share = 1 / placed if as_released else placed
    return share / share.sum()
