"""Transformers over the patches of a picture or a spectrogram: one that encodes, and one that makes missing patches.

Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929), with the fixed places and the decoder of He et al., "Masked
autoencoders are scalable vision learners", CVPR 2022 (arXiv 2111.06377). Several encoders may share their last blocks,
each with layer normalisations of its own (Gong et al., ICLR 2023, arXiv 2210.07839).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.sequence_transformer import Block

_WAVE = 10_000.0  # longest period of the places, in patches over 2 pi
_SPREAD = 0.02  # deviation of the first tokens


def plane_places(width: int, rows: int, columns: int) -> Tensor:
    """Return float32 (rows * columns, width): sines and cosines of the column, then of the row; row after row.

    `width` is a multiple of 4.
    """
    rate = _WAVE ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.reshape(-1, 1) * rate for place in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1).float()


def drawn_alike(network: nn.Module) -> None:
    """Draw the weights of every linear layer evenly (Glorot & Bengio 2010) and set its bias to 0, in place."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PatchEncoder(Encoder):
    """(B, C, H, W) to tokens of its patches, through blocks of its own and then through shared ones.

    Args:
        shape: (C, H, W) of the view; H and W are multiples of `patch`.
        patch: side of a patch.
        width: of a token, a multiple of 4 and of `heads`.
        heads: of every block.
        depth: blocks of its own.
        shared: blocks whose attention and MLP it has too; their layer normalisations are not.

    Attributes:
        grid: patches along H and W.
        tail: the blocks that are shared, and the last layer normalisation.
    """

    stages = ("patches", "own", "tail")

    def __init__(
        self, shape: tuple[int, ...], patch: int, width: int, heads: int, depth: int, shared: Sequence[Block] = ()
    ) -> None:
        super().__init__()
        channels, height, length = shape
        self.dim, self.grid = width, (height // patch, length // patch)
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.kind = nn.Parameter(torch.randn(width) * _SPREAD)  # says which view a token is of
        self.register_buffer("places", plane_places(width, *self.grid), persistent=False)
        self.own = nn.Sequential(*(Block(width, heads, bias=True) for _ in range(depth)))
        drawn_alike(self.own)
        nn.init.xavier_uniform_(self.patches.weight.view(width, -1))
        self.tail = nn.Sequential(*(block.twin() for block in shared), nn.LayerNorm(width))

    def tokens(self, x: Tensor) -> Tensor:
        """Return one token for every patch of x (B, C, H, W), row after row: (B, L, width)."""
        found: Tensor = self.patches(x).flatten(2).transpose(1, 2) + self.get_buffer("places") + self.kind
        return found

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the tokens at their places, (B, width, rows, columns)."""
        tokens = {"patches": self.tokens(x)}
        for name in ("own", "tail"):
            tokens[name] = self.get_submodule(name)(next(reversed(tokens.values())))
        return {
            name: value.transpose(1, 2).reshape(len(value), value.shape[2], *self.grid)
            for name, value in tokens.items()
        }

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean over all places."""
        return maps.flatten(2).mean(2)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of its own: what is shared belongs to several networks."""
        return list(self.own)


class PatchDecoder(nn.Module):
    """Makes all patches of several views from the tokens of those that were seen.

    Args:
        wide: width of the tokens.
        width, heads, depth: of the decoder.
        grids: view -> patches along H and W.
        numbers: view -> numbers in a patch.
    """

    def __init__(
        self,
        wide: int,
        width: int,
        heads: int,
        depth: int,
        grids: Mapping[str, tuple[int, int]],
        numbers: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.enter, self.missing = nn.Linear(wide, width), nn.Parameter(torch.randn(width) * _SPREAD)
        self.kinds = nn.ParameterDict({name: torch.randn(width) * _SPREAD for name in grids})
        for name, grid in grids.items():
            self.register_buffer(f"places_{name}", plane_places(width, *grid), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads, bias=True) for _ in range(depth)), nn.LayerNorm(width))
        self.leave = nn.ModuleDict({name: nn.Linear(width, count) for name, count in numbers.items()})
        drawn_alike(self)

    def forward(self, seen: Tensor, place: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return view -> patches (B, L, numbers), row after row.

        Args:
            seen: (B, K, wide), tokens of the views after each other, in the order of `place`.
            place: view -> int64 (B, K_view), which patch each of its tokens is.
        """
        entered = self.enter(seen).split([each.shape[1] for each in place.values()], 1)
        whole = []
        for (name, where), tokens in zip(place.items(), entered, strict=True):
            places = self.get_buffer(f"places_{name}")
            empty = self.missing.to(tokens.dtype).expand(len(tokens), *places.shape)
            filled = empty.scatter(1, where[:, :, None].expand_as(tokens), tokens)
            whole.append(filled + places + self.kinds[name])
        made = self.blocks(torch.cat(whole, 1)).split([each.shape[1] for each in whole], 1)
        return {name: self.leave[name](tokens) for name, tokens in zip(place, made, strict=True)}
