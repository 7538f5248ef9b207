"""Clips whose time was changed, for a network that is to tell: frames in another order, or from the last to the first.

Misra, Zitnick & Hebert, "Shuffle and Learn", ECCV 2016 (arXiv 1603.08561); Wei et al., "Learning and Using the Arrow of
Time", CVPR 2018. Here each is a question with two answers of about equal chance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.randomness import uniform

_WHETHER, _ORDER, _BACK = range(3)  # streams of a key


def shuffled(clip: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return clips (B, C, T, H, W), half of them with frames in an order by lot, and whether it is another (B,).

    Args:
        key: int64 (B,), that everything is drawn from.
    """
    frames = torch.arange(clip.shape[2], device=clip.device)
    drawn = uniform(key, _ORDER, len(frames)).argsort(1)
    order = torch.where((uniform(key, _WHETHER) < 0.5)[:, None], drawn, frames)
    return clip.gather(2, order[:, None, :, None, None].expand_as(clip)), (order != frames).any(1)


def turned(clip: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return clips (B, C, T, H, W), half of them from the last frame to the first, and which (B,)."""
    back = uniform(key, _BACK) < 0.5
    return torch.where(back[:, None, None, None, None], clip.flip(2), clip), back
