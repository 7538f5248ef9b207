"""Pooling a video map by attention over time, as in STiCA (Patrick et al., ICCV 2021, arXiv 2103.10211), 3.3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.features import WeighedSteps
from coview.errors import UsageError

EPSILON = 1e-12  # of the layer normalisations


class AttentionLayer(nn.Module):
    """A transformer layer without value and output projections: only queries and keys are learnt. (B, T, C) in and out.

    With x split into heads: y = norm1(x + softmax(q k^T / sqrt(C / heads)) x), then norm2(y + W2 gelu(W1 y)).
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (B, T, C)."""
        query, key, value = (self._split(part) for part in (self.query(x), self.key(x), x))
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        y = self.norm1(x + seen.transpose(1, 2).flatten(2))
        return self.norm2(y + self.narrow(nn.functional.gelu(self.wide(y))))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, C / heads)


class AttentionPooled(Encoder):
    """A video encoder whose maps are averaged over space and pooled over time by attention.

    Without positions: permuting all steps but the first changes nothing.

    Args:
        encoder: gives the maps (B, C, T, H, W) of its last stage, C = its dim.
        layers: 0 for the mean over time.
    """

    def __init__(self, encoder: Encoder, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.trunk = encoder
        self.dim, self.stages = encoder.dim, encoder.stages
        self.layers = nn.Sequential(*(AttentionLayer(encoder.dim, heads, hidden) for _ in range(layers)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the stages' maps of the encoder."""
        return self.trunk.feature_maps(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Average over space and attend over time; (B, C, T, H, W) to (B, C)."""
        return self.attend(maps.mean((3, 4)))

    def attend(self, steps: Tensor) -> Tensor:
        """Pool a sequence (B, C, T) to its first step as the layers leave it, (B, C)."""
        if not len(self.layers):
            return steps.mean(2)
        return self.layers(steps.transpose(1, 2))[:, 0]  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        """Return the encoder's parts and the attention layers."""
        return [*self.trunk.blocks(), *self.layers]


class PlacesPooled(Encoder):
    """An encoder whose last maps are pooled over all places, in time too, by one learnt query (`WeighedSteps`).

    Args:
        encoder: gives maps of its last stage; its own pooling is not used.
        view: (0, ...), no views at all, by which the maps' channels are told.

    Raises:
        UsageError: the encoder makes no maps.
    """

    def __init__(self, encoder: Encoder, view: Tensor) -> None:
        super().__init__()
        self.trunk, self.stages = encoder, encoder.stages
        shape = encoder.feature_maps(view)[encoder.stages[-1]].shape
        if len(shape) < 3:
            raise UsageError(f"{type(encoder).__name__} yields one vector of a view; there are no places to attend to")
        self.dim = shape[1]
        self.weigh = WeighedSteps(self.dim)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the stages' maps of the encoder."""
        return self.trunk.feature_maps(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Weigh the places of (B, C, ...); (B, C)."""
        return self.weigh(maps.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        """Return the encoder's parts."""
        return self.trunk.blocks()
