"""InfoNCE whose candidates are constants: the gradient reaches the anchors alone.

As in GDT and STiCA (arXiv 2103.10211), section 3.1. The value of two directions added equals symmetric InfoNCE's, the
gradient does not: all that the anchors would say about the keys is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.objectives.precision import in_float32


@in_float32
def one_sided(anchor: Tensor, keys: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Return the loss (N,) of telling each anchor's key among all.

    Args:
        anchor: (N, D), of unit length.
        keys: (M, D), of all processes; they get no gradient.
        own: int64 (N,), each anchor's place in `keys`.
        temperature: divides the scores.
    """
    return cross_entropy(anchor @ keys.detach().T / temperature, own, reduction="none")


def crop_contrast(
    large: tuple[Tensor, Tensor],
    small: Tensor,
    keys: tuple[Tensor, Tensor],
    own: Tensor,
    temperature: float,
) -> list[Tensor]:
    """Return the terms (N,) between crops of two clips: large with large, then small with large.

    Large crop i > 0 of one clip tells that of the other and the reverse, halved; every small crop j of the second clip
    tells every large crop i of the first.

    Args:
        large: of clip 1 and of clip 2, (L, N, D).
        small: of clip 2, (S, N, D).
        keys: the large crops of clip 1 and 2 of all processes, (L, M, D).
        own, temperature: as in `one_sided`.
    """
    terms = [
        (one_sided(large[1][i], keys[0][i], own, temperature) + one_sided(large[0][i], keys[1][i], own, temperature))
        / 2
        for i in range(1, len(large[0]))
    ]
    return terms + [one_sided(anchor, key, own, temperature) for key in keys[0] for anchor in small]


def mean_of_terms(terms: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the mean (N,) of the terms, 0 where there is none; `like` gives N and the dtype."""
    return torch.stack(list(terms)).mean(0) if terms else like.new_zeros(len(like))
