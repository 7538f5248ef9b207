"""Classes as vectors of their names: logits of any set of them, mixtures of two ways to see, and one figure for both.

Qian et al., "Multimodal open-vocabulary video classification via pre-trained vision and language models"
(arXiv 2207.07646). A class is a candidate by its vector alone: one that was never learnt from can be named.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32


@in_float32
def class_logits(x: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return the cosines of x (N, D) and the vectors of classes (C, D) over a temperature, (N, C).

    Each logit depends on its own class alone. A temperature of .01 leaves half precision two digits: see `precision`.
    """
    return normalize(x, dim=1) @ normalize(texts, dim=1).T / temperature


@in_float32
def mixed_probabilities(frozen: Tensor, fused: Sequence[Tensor], share: Tensor) -> Tensor:
    """Return share p_frozen + (1 - share) mean p_fused, each a softmax over the candidates' logits (N, C).

    Args:
        frozen, fused: logits.
        share: (C,), or (N, C), from 0 to 1: what each class takes from the frozen one.
    """
    mean = torch.stack([logits.softmax(1) for logits in fused]).mean(0)
    return share * frozen.softmax(1) + (1 - share) * mean


def harmonic_mean(base: float, novel: float) -> float:
    """Return 2 base novel / (base + novel): high only where both are; 0 where both are 0."""
    return 2 * base * novel / (base + novel) if base + novel > 0 else 0.0
