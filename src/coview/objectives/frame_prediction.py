"""Predicted pictures: the loss, which pictures are fed back in training, and how like the true ones they are.

Finn, Goodfellow & Levine 2016 (arXiv 1605.07157) for the loss; Bengio, Vinyals, Jaitly & Shazeer, "Scheduled sampling",
NIPS 2015 (arXiv 1506.03099), section 2.4, inverse sigmoid decay; Wang, Bovik, Sheikh & Simoncelli, "Image quality
assessment", IEEE TIP 13 (2004), equation 13, for SSIM.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from coview.objectives.precision import in_float32
from coview.parallel import gather
from coview.randomness import integers, make_key

# The squared error of rounding to 8 bits: pictures that are equal have this much, 58.9 dB.
ROUNDING = 1 / (12 * 255**2)
_SIDE, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


@in_float32
def prediction_error(true: Tensor, made: Tensor) -> Tensor:
    """Return the mean squared error of every sample (B,), over all that it holds, of (B, ...)."""
    return (true - made).square().flatten(1).mean(1)


def truth_share(step: int, slowness: float) -> float:
    """Return the share of samples that are shown true pictures at a step: k / (k + exp(step / k)), without overflow.

    Args:
        slowness: k; 0 shows what was predicted from the first step on.
    """
    if slowness <= 0:
        return 0.0
    return 1 / (1 + math.exp(min(step / slowness - math.log(slowness), 700)))


def shown_truth(key: Tensor, stream: int, step: int, times: int, slowness: float) -> Tensor:
    """Return which samples are shown the true picture at which time, bool (B, times).

    At every time it is `round(N * truth_share)` of the N samples of all processes, drawn from the samples' keys and the
    step: on any number of processes the same.

    Args:
        key: int64 (B,).
        stream: of the keys.
    """
    drawn = integers(make_key(key, step), stream, 1 << 62, times)
    everyone = gather(drawn)
    count = round(len(everyone) * truth_share(step, slowness))
    if not count:
        return torch.zeros_like(drawn, dtype=torch.bool)
    return drawn <= everyone.sort(0).values[count - 1]


@in_float32
def psnr(true: Tensor, made: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE) of pictures in [0, 1], in dB: (B,) of (B, ...); the MSE is at least that of rounding."""
    return -10 * prediction_error(true, made).clamp_min(ROUNDING).log10()


@in_float32
def ssim(true: Tensor, made: Tensor) -> Tensor:
    """Return the structural similarity (B,) of pictures (B, C, H, W) in [0, 1], sides of at least 11.

    Windows of 11 x 11 with Gaussian weights (1.5 pixels), wholly inside; the mean over places and channels.
    """
    step = torch.arange(_SIDE, dtype=true.dtype, device=true.device) - _SIDE // 2
    weight = torch.exp(-step.square() / (2 * _SIGMA**2))
    weight = weight / weight.sum()

    def mean(x: Tensor) -> Tensor:
        planes = x.reshape(-1, 1, *x.shape[-2:])
        return conv2d(conv2d(planes, weight.reshape(1, 1, -1, 1)), weight.reshape(1, 1, 1, -1))

    a, b = mean(true), mean(made)
    var_a, var_b, both = mean(true * true) - a * a, mean(made * made) - b * b, mean(true * made) - a * b
    like = (2 * a * b + _C1) * (2 * both + _C2) / ((a * a + b * b + _C1) * (var_a + var_b + _C2))
    return like.reshape(len(true), -1).mean(1)
