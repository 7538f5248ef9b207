"""Two sequences that look at each other: each is enriched by attention to the other, in both directions.

Qian et al., "Multimodal open-vocabulary video classification via pre-trained vision and language models"
(arXiv 2207.07646), whose text was not read: the form of the blocks is the usual one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class CrossBlock(nn.Module):
    """q + attention(norm(q), norm(kv)), then x + perceptron(norm(x)); pre-norm, without dropout.

    Args:
        width: E, of both sequences.
        heads: a divisor of E.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_own, self.norm_other, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)  # a key's cancels out
        self.value, self.attended = nn.Linear(width, width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, own: Tensor, other: Tensor, there: Tensor) -> Tensor:
        """Return (B, T, E) of own (B, T, E), which looks at other (B, S, E) where there (B, S) is true."""
        around = self.norm_other(other)
        query, key, value = (
            self._split(part) for part in (self.query(self.norm_own(own)), self.key(around), self.value(around))
        )
        seen = scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None])
        x = own + self.attended(seen.transpose(1, 2).flatten(2))
        output: Tensor = x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))
        return output

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class TwoWayFusion(nn.Module):
    """Two streams through `depth` layers, in each of which either looks at the other as the layer before left it.

    Before the second stream stands a learnt token, which is all there is to see where the stream is absent. Both means
    over time go through a linear layer that begins as the identity.

    Args:
        width: E, of both streams and of the output.
        heads: a divisor of E.
        depth: layers.
    """

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.first = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.second = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.ends = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        for end in self.ends:
            nn.init.eye_(end.weight)  # type: ignore[arg-type]

    def pooled(self, x: Tensor, y: Tensor, x_there: Tensor, y_there: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means over time (B, E) of both streams behind the layers.

        Args:
            x, y: (B, T, E) and (B, S, E).
            x_there, y_there: bool (B, T) and (B, S): which steps there are; of y there may be none.
        """
        token = self.absent.to(y).expand(len(y), 1, -1)
        y, seen = torch.cat([token, y], 1), torch.cat([torch.ones_like(y_there[:, :1]), y_there], 1)
        for first, second in zip(self.first, self.second, strict=True):
            x, y = first(x, y, seen), second(y, x, x_there)
        return mean_over_steps(x, x_there), mean_over_steps(y[:, 1:], y_there)

    def forward(self, x: Tensor, y: Tensor, x_there: Tensor, y_there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `pooled` does, through the linear layers."""
        one, other = self.pooled(x, y, x_there, y_there)
        return self.ends[0](one), self.ends[1](other)


def mean_over_steps(x: Tensor, there: Tensor) -> Tensor:
    """Return the mean (B, E) of the steps of x (B, T, E) that are there (B, T); 0 where none is."""
    kept = torch.where(there[:, :, None], x, 0.0)
    return kept.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
