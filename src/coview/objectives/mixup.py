"""Soft labels and mixtures of samples, as UAVM learns from (Gong et al., SPL 2022, arXiv 2208.00061).

With C classes and smoothing s, class c of a sample of label y gets

    alone      1 - s                                                where c = y, else s / C
    mixed      s / C + (1 - s) (lambda [c = y] + (1 - lambda) [c = y'])

The released code sets the cell of a label and adds to those of a mixture, so that the first sum to a little less than
1; y' is the partner's label and lambda ~ Beta(10, 10) the sample's own share. (Zhang et al., ICLR 2018, is mixup.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from coview.objectives.precision import in_float32
from coview.randomness import integers, uniform

BETA = 10  # both parameters of the shares' distribution


def draw_mixtures(key: Tensor, stream: int, candidates: int, rate: float) -> tuple[Tensor, Tensor]:
    """Draw what each sample is mixed with.

    Args:
        key: int64 (N,), each sample's own; `stream` and the two after it are used up.
        candidates: samples of all processes, one of which is the partner.
        rate: of the samples that are mixed.

    Returns:
        int64 (N,), the partner's position, and float32 (N,), the sample's own share, 1 where it stays alone.
    """
    # The median of 2 b - 1 uniform numbers is Beta(b, b).
    share = uniform(key, stream + 1, 2 * BETA - 1).sort(1).values[:, BETA - 1]
    alone = uniform(key, stream) >= rate
    return integers(key, stream + 2, max(candidates, 1)), torch.where(alone, 1.0, share)


def soft_targets(label: Tensor, partner: Tensor, share: Tensor, classes: int, smoothing: float) -> Tensor:
    """Return the soft labels (N, classes), of share's type, of labels and partners' labels, int64 (N,), and shares."""
    own, other = (one_hot(each, classes).to(share) for each in (label, partner))
    mixed = smoothing / classes + (1 - smoothing) * (share[:, None] * own + (1 - share)[:, None] * other)
    alone = torch.where(own > 0, 1 - smoothing, smoothing / classes)
    return torch.where((share < 1)[:, None], mixed, alone)


@in_float32
def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -sum_c target_c log softmax(logits)_c (N,), both (N, C); targets need not sum to 1."""
    return cross_entropy(logits, target, reduction="none")


@in_float32
def soft_binary(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over classes of the binary cross-entropies (N,), both (N, C) in."""
    return binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
