"""Words as classes of pictures: one against all, multi-class logistic, and a softmax over the words of the batch.

Joulin, van der Maaten, Jabri & Vasilache, ECCV 2016 (arXiv 1511.02251). A picture n has scores s_nk = f(x_n) . w_k for
K words and y_nk = 1 for those of its caption. Word k stands in N_k of N captions. By picture,

    one against all   -sum_k [ y_nk / N_k log sigmoid(s_nk) + (1 - y_nk) / (N - N_k) log(1 - sigmoid(s_nk)) ]
    multi-class       -sum_k y_nk log softmax_k(s_n)
    one word k        -log softmax_k(s_n), over all words, or over C alone, the words that the batch has as targets

Pictures are drawn so that every word is equally likely to be the target: p(n, k) = y_nk / (K N_k).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from coview.objectives.precision import in_float32
from coview.parallel import gather
from coview.randomness import uniform


@in_float32
def one_vs_all(scores: Tensor, words: Tensor, counts: Tensor, total: int) -> Tensor:
    """Return the loss (N_r,) that gives a word's captions together as much weight as all the others together.

    Args:
        scores: (N_r, K).
        words: bool (N_r, K), which words a caption has.
        counts: int64 (K,), captions that have the word; a word of none, or of all, is left out.
        total: captions.
    """
    counts = counts.to(scores)
    told = (counts > 0) & (counts < total)
    with_it, without = (torch.where(told, 1 / many.clamp(min=1), 0.0) for many in (counts, total - counts))
    return -torch.where(words, with_it * logsigmoid(scores), without * logsigmoid(-scores)).sum(1)


@in_float32
def multi_class(scores: Tensor, words: Tensor) -> Tensor:
    """Return the loss (N_r,) of all words (bool (N_r, K)) of each caption: a sum, so that long captions weigh more."""
    return -(scores.log_softmax(1) * words).sum(1)


@in_float32
def one_word(x: Tensor, weights: Tensor, word: Tensor, subset: bool = True) -> Tensor:
    """Return the loss (N_r,) of one word of each caption, among the words that all processes have as targets.

    The scores are (N_r, |C|): a dictionary of any size costs no more than its vectors. The loss over C never exceeds
    that over all words; its gradient reaches the vectors of C alone. Where all targets are one word, the loss is 0.

    Args:
        x: (N_r, D), features of pictures.
        weights: (K, D), a vector for each word.
        word: int64 (N_r,).
        subset: False compares with all K words.
    """
    if not subset:
        return cross_entropy(x @ weights.T, word, reduction="none")
    classes = gather(word).unique()  # type: ignore[no-untyped-call]
    return cross_entropy(x @ weights[classes].T, torch.searchsorted(classes, word), reduction="none")


def picture_chances(row: Tensor, word: Tensor, counts: Tensor, rows: int) -> Tensor:
    """Return p(n), float64 (rows,): a word is drawn uniformly, then one of the pictures that have it.

    Args:
        row, word: int64 (P,), every pair of a picture and a different word of its caption.
        counts: int64 (K,), the pictures of each word.
        rows: how many pictures there are.
    """
    share = 1 / (len(counts) * counts.double())
    return torch.zeros(rows, dtype=torch.float64, device=row.device).index_add_(0, row, share[word])


def word_chances(words: Tensor, counts: Tensor) -> Tensor:
    """Return p(k | n), float64 (N, L), of a picture drawn by `picture_chances`: the rarer a word, the likelier.

    Args:
        words: int64 (N, L), the different words of each caption; -1 is none.
        counts: int64 (K,).
    """
    share = torch.where(words >= 0, 1 / counts.clamp(min=1).double()[words.clamp(min=0)], 0.0)
    return share / share.sum(1, keepdim=True)


def drawn_word(words: Tensor, chances: Tensor, key: Tensor, stream: int) -> Tensor:
    """Return one word (N,) of each caption, which has at least one, drawn from its sample's key.

    Args:
        words: as of `word_chances`.
        chances: (N, L), such as `word_chances` yields.
        key: int64 (N,).
        stream: number of the draw.
    """
    passed = chances.cumsum(1) <= uniform(key, stream)[:, None].double() * chances.sum(1, keepdim=True)
    # Rounding may pass all of them: the last word that can be drawn is then taken.
    last = torch.where(chances > 0, torch.arange(words.shape[1], device=words.device), -1).amax(1)
    return words.gather(1, torch.minimum(passed.sum(1), last)[:, None])[:, 0]
