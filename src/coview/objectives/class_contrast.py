"""Contrast by classes and agreement of class scores, as CCL distils with (Chen et al., CVPR 2021, arXiv 2104.10955).

For rows f_i and g_j of length 1, P_ij = softmax_j(f_i . g_j / temperature), P(i) the rows of i's class, its own
included, and N(i) the others, e = 1e-10:

    NCE(f, g)_i = - mean over P(i) of log(P_ij + e) - mean over N(i) of log(1 - P_ij + e)
    S(f, g) = NCE(f, g) + NCE(g, f)
    D(p, q) = (sum_c p_c log(p_c / q_c + e) + sum_c q_c log(q_c / p_c + e)) / 2

A mean over no rows is 0. D is half of the symmetric Kullback-Leibler divergence, which has no bound; the released code
calls it JSD.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad

_LOG_EPSILON = math.log(1e-10)


@in_float32
def class_nce(f: Tensor, g: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Return NCE(f, g) (N_r,) of pairs (N_r, D), scaled to length 1 here; candidates are those of all processes.

    Args:
        label: int64 (N_r,).
        temperature: of the softmax.
    """
    scores = normalize(f) @ gather_with_grad(normalize(g)).T / temperature
    log_p = scores.log_softmax(1)
    same = label[:, None] == gather(label)
    # 1 - P is computed without cancelling, so that it keeps its digits where P is nearly 1.
    alike = _logaddexp(log_p)
    apart = torch.log(math.exp(_LOG_EPSILON) - torch.expm1(log_p))
    return -_mean(alike, same) - _mean(apart, ~same)


def class_contrast(f: Tensor, g: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Return S(f, g) (N_r,), the sum of both directions; otherwise as `class_nce`."""
    return class_nce(f, g, label, temperature) + class_nce(g, f, label, temperature)


@in_float32
def jeffreys(one: Tensor, other: Tensor) -> Tensor:
    """Return D (N,) of the classes' probabilities under two logits (N, C)."""
    log_p, log_q = one.log_softmax(1), other.log_softmax(1)
    there = log_p.exp() * _logaddexp(log_p - log_q)
    back = log_q.exp() * _logaddexp(log_q - log_p)
    return (there + back).sum(1) / 2


def _logaddexp(log_x: Tensor) -> Tensor:
    """Return log(x + e) of log x."""
    return torch.logaddexp(log_x, torch.full_like(log_x, _LOG_EPSILON))


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of each row's chosen values, 0 where there are none."""
    return torch.where(chosen, values, 0.0).sum(1) / chosen.sum(1).clamp(min=1)
