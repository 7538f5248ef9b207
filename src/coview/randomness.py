"""Random numbers as a function of a key and a counter: the same on any worker, process, batch and device.

Every random choice of coview is drawn here from (seed, epoch, position), so that stopping, resuming or splitting the
work never changes a number. The mixer is the 64-bit finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014),
written with torch's wrapping int64 arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of int64."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values one to one."""
    x = x + _GOLDEN  # a tensor of its own: from here on in place
    x.bitwise_xor_(_shift(x, 30)).mul_(_MIX_1)
    x.bitwise_xor_(_shift(x, 27)).mul_(_MIX_2)
    return x.bitwise_xor_(_shift(x, 31))


def make_key(*parts: int | Tensor) -> Tensor:
    """Hash integers (or equally shaped int64 tensors, which broadcast) into int64 keys; the order of parts matters."""
    key = torch.zeros((), dtype=torch.int64)
    for part in parts:
        value = part if isinstance(part, Tensor) else torch.tensor(part, dtype=torch.int64, device=key.device)
        key = mix(key.to(value.device) ^ mix(value))
    return key


def uniform(key: Tensor, stream: int | Tensor, *shape: int) -> Tensor:
    """Draw numbers in [0, 1), float32, shape `key.shape + shape`, from keys and a stream number.

    Different streams of one key are independent; use a different stream for each purpose. Several streams (int64) are
    drawn from at once where they broadcast with the keys.
    """
    bits = _bits(key, stream, shape)
    return _shift(bits, 40).to(torch.float32).mul_(1.0 / (1 << 24))


def normal(key: Tensor, stream: int, *shape: int) -> Tensor:
    """Draw standard normal numbers, float32, shape `key.shape + shape` (Box-Muller on two draws)."""
    bits = _bits(key, stream, shape)
    radius = _shift(bits, 40).to(torch.float32).add_(1.0).mul_(1.0 / (1 << 24))
    angle = bits.bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2 * torch.pi / (1 << 24))
    return radius.log_().mul_(-2.0).sqrt_().mul_(angle.cos_())


def integers(key: Tensor, stream: int, high: int | Tensor, *shape: int) -> Tensor:
    """Draw int64 numbers in [0, high), shape `key.shape + shape`; the bias is below high / 2**63."""
    return _shift(_bits(key, stream, shape), 1) % high


def _bits(key: Tensor, stream: int | Tensor, shape: tuple[int, ...]) -> Tensor:
    count = 1
    for extent in shape:
        count *= extent
    counters = torch.arange(count, dtype=torch.int64, device=key.device).reshape(shape)
    base = mix(key + mix(torch.as_tensor(stream, dtype=torch.int64, device=key.device)))
    return mix(base.reshape(base.shape + (1,) * len(shape)) + counters * _GOLDEN)
