"""What a cell is expected to look like, as one Gaussian, and how far a thing explains cells better than stuff does.

Doersch, Gupta & Efros, "Context as supervisory signal: discovering objects with predictable context", ECCV 2014.
Likelihoods leave (2 pi)^(-d/2) out: things and stuff are compared in the same dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from coview.objectives.precision import in_float32

SIGMA, REACH = 2.0, 4  # cells: deviation of what neighbours say, and how far they are heard
MOST = 1 / 3  # of the belief in one predictor
SCORED, BOUND = 0.3, 10.0  # a cell counts where the mimicry is above; by no more than this


@in_float32
def weighted_gaussian(observations: Tensor, weights: Tensor, ridge: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the weighted mean (..., D) and covariance (..., D, D) + ridge I of (..., N, D); the divisor is sum(w).

    Args:
        observations: (..., N, D).
        weights: (..., N), not below 0, of positive sum.
    """
    share = weights / weights.sum(-1, keepdim=True)
    mean = torch.einsum("...n,...nd->...d", share, observations)
    apart = (observations - mean[..., None, :]) * share.sqrt()[..., None]
    return mean, apart.mT @ apart + ridge * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)


@in_float32
def mixture_moments(shares: Tensor, means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (..., D) and covariance (..., D, D) of mixtures: within the parts, and between their means.

    The released code adds a scalar to every entry in place of the outer product between means; this does not.

    Args:
        shares: (..., K), each mixture's sum is 1.
        means, covariances: (K, D) and (K, D, D), the parts, which all mixtures have in common.
    """
    mean = shares @ means
    apart = (means - mean[..., None, :]) * shares.sqrt()[..., None]
    return mean, torch.einsum("...k,kde->...de", shares, covariances) + apart.mT @ apart


@in_float32
def log_likelihood(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return -(log det S + (x - mean)' S^-1 (x - mean)) / 2, shape (...), for x and mean (..., D), S (..., D, D)."""
    root: Tensor = torch.linalg.cholesky(covariance)
    apart: Tensor = torch.linalg.solve_triangular(root, (x - mean)[..., None], upper=False)[..., 0]
    return -root.diagonal(dim1=-2, dim2=-1).log().sum(-1) - apart.square().sum(-1) / 2


@in_float32
def blurred(values: Tensor, valid: Tensor, sigma: float = SIGMA, reach: int = REACH) -> Tensor:
    """Return the Gaussian mean of the valid values within `reach` cells of each cell; 0 where there is none.

    Args:
        values: (..., rows, columns), finite.
        valid: bool or number (rows, columns): what of `values` counts.
    """
    down, across = (_bell(side, sigma, reach, values) for side in values.shape[-2:])
    weight = valid.to(values.dtype)
    return (down @ (values * weight) @ across) / (down @ weight @ across).clamp(min=torch.finfo(values.dtype).tiny)


def _bell(side: int, sigma: float, reach: int, like: Tensor) -> Tensor:
    """Return (side, side): the weight of each cell of a line for each other."""
    at = torch.arange(side, dtype=like.dtype, device=like.device)
    apart = (at[:, None] - at).abs()
    return torch.where(apart <= reach, torch.exp(-apart.square() / (2 * sigma**2)), 0.0)


def belief(log_yes: Tensor, log_no: Tensor, valid: Tensor) -> Tensor:
    """Return the local belief exp(G log t) / (exp(G log t) + exp(G log(1 - t))); one half where no cell says anything.

    Args:
        log_yes, log_no: (..., rows, columns), log t and log(1 - t), apart because 1 - t underflows.
        valid: bool (rows, columns), the cells that were predicted.
    """
    return torch.sigmoid(blurred(log_yes, valid) - blurred(log_no, valid))


def log_odds_of_thing(thing: Tensor, stuff: Tensor) -> tuple[Tensor, Tensor]:
    """Return log t and log(1 - t) of t = p_T / (p_T + p_S), from log likelihoods."""
    return -softplus(stuff - thing), -softplus(thing - stuff)


def log_accuracies(each: Tensor) -> tuple[Tensor, Tensor]:
    """Return log a and log(1 - a) of a = softmax over predictors, for log likelihoods (P, ...), P at least 2.

    The released code takes 1 - a from exponentials of accuracies already normalised, which is nearly constant; here
    it is the sum over the others.
    """
    count = len(each)
    others = each.expand(count, *each.shape).clone()
    others[torch.arange(count), torch.arange(count)] = -torch.inf
    whole = each.logsumexp(0)
    return each - whole, others.logsumexp(1) - whole


def capped(shares: Tensor, most: float = MOST) -> Tensor:
    """Return shares (..., P) of sum 1 of which none is above `most`, or above 1 / P where that is more.

    The small ones are scaled by one constant, those that come to lie above are cut; the order stays.
    """
    count = shares.shape[-1]
    most = max(most, 1 / count)
    ordered = shares.sort(-1, descending=True).values
    rest = ordered.flip(-1).cumsum(-1).flip(-1)
    cut = torch.arange(count, dtype=shares.dtype, device=shares.device)
    factor = (1 - most * cut) / rest.clamp(min=torch.finfo(shares.dtype).tiny)  # where the `cut` largest are cut
    fits = ordered * factor <= most * (1 + 1e-12)
    fewest = fits.to(torch.int8).argmax(-1, keepdim=True)
    return (shares * factor.gather(-1, fewest)).clamp(max=most)


def patch_score(thing: Tensor, stuff: Tensor, mimicry: Tensor) -> Tensor:
    """Return how far things explain a patch's surroundings better than stuff: a number, 0 where nothing counts.

    Args:
        thing, stuff: log likelihoods of the predicted cells, any shape.
        mimicry: of the same shape; cells of at most `SCORED` do not count.
    """
    return torch.where(mimicry > SCORED, (thing - stuff).clamp(-BOUND, BOUND), 0.0).sum()
