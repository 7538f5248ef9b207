"""Terms of VAE-CCA: classes and pairs of two latent variables brought together.

Zhang, Yu, Tang, Wu & Li, Variational Autoencoder with CCA for Audio-Visual Cross-Modal Retrieval (arXiv 2112.02601).
Lengths are sqrt(|.|^2 + 1e-12): the derivative of a plain length does not exist where two latents coincide.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad, sum_with_grad


@in_float32
def length(difference: Tensor, inside: float = 1e-12) -> Tensor:
    """Return sqrt(|d_i|^2 + inside) of every row (N_r,)."""
    return torch.sqrt(difference.square().sum(1) + inside)


@in_float32
def label_distance(scores: Tensor, label: Tensor, inside: float = 1e-12) -> Tensor:
    """Return the distance of scores (N_r, C) to the one-hot label (N_r,) of every row: the discriminative term."""
    return length(scores - one_hot(label, scores.shape[1]).to(scores), inside)


@in_float32
def pairwise_likelihood(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """Return, for every row i (N_r,), sum over pairs of views of mean_j [ log(1 + exp(t_ij)) - S_ij t_ij ].

    t_ij is half the Pearson correlation, across features, of row i of one latent (N_r, D) and row j of the other one,
    j over all processes; S_ij says whether their labels are equal. The pairs of views: each with itself, and both.
    Published as the correlation term; it contains no covariance matrix.
    """
    own = [_centred_unit(latent) for latent in (first, second)]
    everyone = [gather_with_grad(latent) for latent in own]
    same = (label[:, None] == gather(label)[None]).to(first)
    total = torch.zeros_like(own[0][:, 0])
    for one, other in itertools.combinations_with_replacement(range(2), 2):
        theta = own[one] @ everyone[other].T / 2
        total = total + (softplus(theta) - same * theta).mean(1)
    return total


def _centred_unit(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    size: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return centred / size.clamp(min=1e-6)


@in_float32
def centre_distance(z: Tensor, label: Tensor, centres: Tensor) -> Tensor:
    """Return |z_i - centre of i's class|^2 / (4 n_c) of every row (N_r,); n_c counts the class in the global batch.

    Args:
        z: (N_r, D); label: int64 (N_r,); centres: (C, D), without gradient.
    """
    counts = sum_with_grad(one_hot(label, len(centres)).sum(0).to(z))
    return (z - centres[label]).square().sum(1) / (4 * counts[label])
