"""How well features go on straight: the rank of what comes next among everything that is known.

Jayaraman & Grauman, CVPR 2016 (arXiv 1506.04714), sequence completion: given two moments, candidates for the third are
ordered by their distance to 2 z_m - z_l. Equal steps in time are the caller's to keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 1024  # triplets compared at a time


def extrapolation_ranks(z: Tensor) -> Tensor:
    """Return, for every three moments in a row, the share of candidates nearer to 2 z_m - z_l than the true z_n.

    0 is best, .5 chance. Candidates are all moments of all recordings but the two that are given; equal distances count
    half.

    Args:
        z: features (R, T, D) of R recordings at T >= 3 moments in equal steps, not scaled to unit length.

    Returns:
        (R, T - 2), float64.
    """
    recordings, moments, _ = z.shape
    everything = z.double().flatten(0, 1)
    at = torch.arange(recordings * moments, device=z.device).view(recordings, moments)
    given, goal = at[:, :-2].flatten(), at[:, 2:].flatten()
    ranks = []
    for l, n in zip(given.split(_ROWS), goal.split(_ROWS), strict=True):  # noqa: E741
        expected = 2 * everything[l + 1] - everything[l]
        distance = torch.cdist(expected, everything, compute_mode="donot_use_mm_for_euclid_dist")
        true = distance.gather(1, n[:, None])
        distance.scatter_(1, torch.stack([l, l + 1], 1), torch.nan)  # what is given is no candidate
        nearer = (distance < true).sum(1) + ((distance == true).sum(1) - 1) / 2
        ranks.append(nearer.double() / (len(everything) - 3))
    return torch.cat(ranks).view(recordings, moments - 2)
