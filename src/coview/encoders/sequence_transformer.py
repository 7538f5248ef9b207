"""A pre-norm transformer over a sequence of features, as in UAVM (Gong et al., SPL 2022, arXiv 2208.00061).

Its two kinds of layer normalisation have different epsilons: 1e-6 at its ends, 1e-5 in its blocks, as published. There
is no bias in UAVM's queries, keys and values; vision transformers (`patches`) have one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

ENDS = 1e-6  # epsilon of the layer normalisations before and behind the blocks


class Block(nn.Module):
    """x + attention(norm1(x)), then x + MLP(norm2(x)), without dropout.

    Args:
        width: E, of the sequence.
        heads: a divisor of E.
        bias: whether queries, keys and values have one.
    """

    def __init__(self, width: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def twin(self) -> Block:
        """Return a block with this one's attention and MLP, and layer normalisations of its own."""
        other = Block(self.proj.out_features, self.heads)
        other.qkv, other.proj, other.fc1, other.fc2 = self.qkv, self.proj, self.fc1, self.fc2
        return other

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps (B, heads, T, T), whose rows sum to 1, and the values (B, heads, T, E / heads) they weigh.

        x (B, T, E) is what the maps are computed of: inside the block that is norm1 of its input.
        """
        query, key, value = self._split(x)
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        return scores.softmax(3), value

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, E) of x (B, T, E)."""
        seen = scaled_dot_product_attention(*self._split(self.norm1(x)))  # maps of long sequences are never kept
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        output: Tensor = x + self.fc2(gelu(self.fc1(self.norm2(x))))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """Return queries, keys and values (3, B, heads, T, E / heads)."""
        joined: Tensor = self.qkv(x)
        return joined.view(*x.shape[:2], 3, self.heads, x.shape[2] // self.heads).permute(2, 0, 3, 1, 4)


class SequenceTransformer(nn.Module):
    """Layer normalisation, a linear layer where the width changes, learned positions, then `depth` blocks.

    Args:
        wide: D, of the incoming sequence.
        dim: E, of the outgoing one.
        steps: the longest sequence; a shorter one takes the first positions.
        heads: of each block, a divisor of E.
        depth: blocks.
    """

    def __init__(self, wide: int, dim: int, steps: int, heads: int, depth: int) -> None:
        super().__init__()
        self.dim = dim
        self.enter = nn.LayerNorm(wide, ENDS)
        self.widen = nn.Identity() if wide == dim else nn.Linear(wide, dim)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(steps, dim), std=0.02))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, E) of x (B, T, D), T at most `steps`, or of vectors (B, D), which are one step."""
        return self.layers(x if x.ndim == 3 else x[:, None])[-1]

    def layers(self, x: Tensor) -> list[Tensor]:
        """Return the sequence (B, T, E) as it enters the first block, and behind every block."""
        found = [self.widen(self.enter(x)) + self.positions[: x.shape[1]]]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found
