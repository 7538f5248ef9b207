"""Regions of a picture as a sequence: their features, where they lie, and a token for the whole picture before them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from coview.encoders.co_attention import EPSILON

WHOLE = (0.0, 0.0, 1.0, 1.0)  # the box of the whole picture


def with_areas(boxes: Tensor) -> Tensor:
    """Return boxes (..., 4), left, top, right and bottom as shares of width and height, with their share of the area
    behind them (..., 5).
    """
    left, top, right, bottom = boxes.unbind(-1)
    return torch.cat([boxes, ((right - left) * (bottom - top))[..., None]], -1)


def with_whole(features: Tensor, boxes: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (B, 1 + R, D), boxes (B, 1 + R, 5) and which are there, led by a token for the whole picture.

    Its feature is the sum of the regions' over their number; what is masked to 0 counts among the number. It is always
    there.

    Args:
        features: (B, R, D).
        boxes: (B, R, 4), see `with_areas`.
        there: bool (B, R); what stands in other places is not looked at.
    """
    features = torch.where(there[..., None], features, 0.0)
    boxes = torch.where(there[..., None], boxes, 0.0)
    whole = features.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
    around = boxes.new_tensor(WHOLE).expand(len(boxes), 1, 4)
    features = torch.cat([whole[:, None], features], 1)
    return features, with_areas(torch.cat([around, boxes], 1)), pad(there, (1, 0), value=True)


class RegionEmbedding(nn.Module):
    """The sum of what stands for a region's feature and of a linear map of its box, normalised.

    Args:
        features: D, of features, which go through a linear map.
        width: of the states.
        dropout: of the states.
        codes: K, where regions are codes, each of which has a vector, as have a masked region (code K) and the whole
            picture (K + 1); 0: they are features.
    """

    def __init__(self, features: int, width: int, dropout: float, codes: int = 0) -> None:
        super().__init__()
        self.dim = width
        self.features: nn.Module = nn.Embedding(codes + 2, width) if codes else nn.Linear(features, width)
        self.boxes = nn.Linear(5, width)
        self.norm, self.dropout = nn.LayerNorm(width, EPSILON), nn.Dropout(dropout)

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Return states (B, R, width) of features (B, R, D), or codes int64 (B, R), and boxes with areas (B, R, 5)."""
        states: Tensor = self.dropout(self.norm(self.features(features) + self.boxes(boxes)))
        return states
