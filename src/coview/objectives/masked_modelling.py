"""Masked words, masked regions, and whether a text belongs to a picture: ViLBERT's three tasks.

Lu et al., NeurIPS 2019 (arXiv 1908.02265), section 3.1; masked words as BERT (arXiv 1810.04805). What is masked, and
what stands in its place, is drawn from the sample's key. The released code divides the regions' loss by max(count, 0),
NaN where no region is masked; here nothing masked is a loss of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.objectives.precision import in_float32
from coview.randomness import integers, uniform

CHOSEN = 0.15  # share of words and of regions that is masked
_BY_MASK, _BY_ANOTHER = 0.8, 0.9  # of chosen words, a share is replaced by the mask, a share by any word, the rest kept
_EMPTIED = 0.9  # of chosen regions, a share loses its feature


def masked_words(
    tokens: Tensor, words: Tensor, key: Tensor, stream: int, mask: int, first: int, last: int
) -> tuple[Tensor, Tensor]:
    """Return tokens int64 (B, T) with some words masked, and bool (B, T): which are to be said.

    Args:
        tokens: int64 (B, T).
        words: bool (B, T), which can be chosen.
        key: int64 (B,), of the samples; streams `stream` to `stream` + 2 are drawn.
        mask: the token in place of a word.
        first, last: words in place of words are drawn from [first, last).
    """
    count = tokens.shape[1]
    chosen = (uniform(key, stream, count) < CHOSEN) & words
    draw, another = uniform(key, stream + 1, count), first + integers(key, stream + 2, last - first, count)
    replaced = torch.where(draw < _BY_MASK, mask, torch.where(draw < _BY_ANOTHER, another, tokens))
    return torch.where(chosen, replaced, tokens), chosen


def masked_regions(there: Tensor, key: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """Return which regions (B, R) are to be said, and which of these lose their features; both bool.

    Args:
        there: bool (B, R), which can be chosen.
        key: int64 (B,), of the samples; streams `stream` and `stream` + 1 are drawn.
    """
    count = there.shape[1]
    chosen = (uniform(key, stream, count) < CHOSEN) & there
    return chosen, chosen & (uniform(key, stream + 1, count) < _EMPTIED)


def partners(key: Tensor, stream: int, place: Tensor, count: int) -> Tensor:
    """Return whose text each sample is shown, int64 (B,): with a probability of one half another sample's, any of them.

    Args:
        key: int64 (B,), of the samples; streams `stream` and `stream` + 1 are drawn.
        place: int64 (B,), where the samples stand among all `count`, which are two or more.
    """
    other = integers(key, stream, count - 1)
    other = other + (other >= place).long()
    return torch.where(uniform(key, stream + 1) < 0.5, other, place)


@in_float32
def word_costs(scores: Tensor, tokens: Tensor) -> Tensor:
    """Return the cross-entropy (...) of scores (..., V) for the tokens that were there."""
    return cross_entropy(scores.flatten(0, -2), tokens.flatten(), reduction="none").view(tokens.shape)


@in_float32
def region_costs(scores: Tensor, target: Tensor) -> Tensor:
    """Return KL(target | softmax of scores) (...), for scores and target (..., C).

    A target is a distribution; where it is sure of one class, this is the cross-entropy.
    """
    return (torch.xlogy(target, target) - target * scores.log_softmax(-1)).sum(-1)


@in_float32
def feature_costs(made: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference (...) of vectors (..., D)."""
    return (made - target).square().mean(-1)
