"""Two transformers, one of words and one of regions, joined by co-attention: each stream's queries read the other's
keys and values.

J. Lu, D. Batra, D. Parikh, S. Lee, "ViLBERT", NeurIPS 2019 (arXiv 1908.02265), after BERT (arXiv 1810.04805): every
block normalises behind its residual sum, with an epsilon of 1e-12. The released code's second projections of the
queries inside a connection reach no output and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

EPSILON = 1e-12  # of every layer normalisation


@dataclass(frozen=True, kw_only=True)
class StreamSize:
    """How large a stream is."""

    width: int  # of its states
    heads: int  # of its own layers, a divisor of the width
    hidden: int  # width inside of its perceptrons
    layers: int  # of its own

    def __post_init__(self) -> None:
        if min(self.width, self.heads, self.hidden, self.layers) < 1 or self.width % self.heads:
            raise ValueError("a stream needs width, heads, hidden and layers >= 1, and heads that divide the width")


@dataclass(frozen=True, kw_only=True)
class TwoStreamSize:
    """How large two streams and their connections are; as published, the text's as BERT's base."""

    text: StreamSize = field(default_factory=lambda: StreamSize(width=768, heads=12, hidden=3072, layers=12))
    regions: StreamSize = field(default_factory=lambda: StreamSize(width=1024, heads=8, hidden=1024, layers=6))
    joint: int = 1024  # width of the connections, and of the vectors of a whole text and a whole picture
    heads: int = 8  # of the connections, a divisor of `joint`
    text_anchors: tuple[int, ...] = (6, 7, 8, 9, 10, 11)  # layers of words before each connection
    region_anchors: tuple[int, ...] = (0, 1, 2, 3, 4, 5)  # layers of regions before each connection

    def __post_init__(self) -> None:
        if min(self.joint, self.heads) < 1 or self.joint % self.heads:
            raise ValueError("heads divide joint")
        for anchors, stream in ((self.text_anchors, self.text), (self.region_anchors, self.regions)):
            if list(anchors) != sorted(anchors) or any(not 0 <= anchor <= stream.layers for anchor in anchors):
                raise ValueError("anchors never fall, and are at most a stream's layers")
        if len(self.text_anchors) != len(self.region_anchors) or not self.text_anchors:
            raise ValueError("there are as many text_anchors as region_anchors, one or more")


@dataclass(frozen=True)
class Connected:
    """What a connection leaves, B samples of T words and R regions.

    Attributes:
        text, regions: (B, T, E_t) and (B, R, E_r).
        text_maps: (B, heads, T, R), how each word looks at the regions; rows sum to 1.
        region_maps: (B, heads, R, T), how each region looks at the words.
    """

    text: Tensor
    regions: Tensor
    text_maps: Tensor
    region_maps: Tensor


class AttentionBlock(nn.Module):
    """norm(x + attention of x to a sequence), then norm(x + perceptron(x)); of its own layers the sequence is x itself.

    Args:
        own, other: widths of x and of the sequence.
        joint: width of queries, keys and values.
        heads: a divisor of `joint`.
        hidden: width inside of the perceptron.
        dropout: of the maps, the context and the perceptron's output.
    """

    def __init__(self, own: int, other: int, joint: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(own, joint), nn.Linear(other, joint), nn.Linear(other, joint)
        self.attended, self.norm_attended = nn.Linear(joint, own), nn.LayerNorm(own, EPSILON)
        self.wide, self.narrow, self.norm = nn.Linear(own, hidden), nn.Linear(hidden, own), nn.LayerNorm(own, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sequence: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, T, own) and the maps (B, heads, T, S), for x (B, T, own) and a sequence (B, S, other).

        there: bool (B, S), of which at least one of each sample is true; what is not there is not looked at.
        """
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(sequence), self.value(sequence))
        )
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        maps = scores.masked_fill(~there[:, None, None], -torch.inf).softmax(3)
        context = (self.dropout(maps).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        x = self.norm_attended(x + self.dropout(self.attended(context)))
        return self.norm(x + self.dropout(self.narrow(gelu(self.wide(x))))), maps


class TwoStreams(nn.Module):
    """Both streams' own layers, and the connections between them.

    Before connection k come each stream's own layers up to, not including, its anchor k; behind the last one those that
    are left.

    Args:
        size: of all.
        dropout: everywhere.
    """

    def __init__(self, size: TwoStreamSize, dropout: float) -> None:
        super().__init__()
        self.anchors = tuple(zip(size.text_anchors, size.region_anchors, strict=True))
        self.text, self.regions = (
            nn.ModuleList(
                AttentionBlock(own.width, own.width, own.width, own.heads, own.hidden, dropout)
                for _ in range(own.layers)
            )
            for own in (size.text, size.regions)
        )
        self.text_sees, self.regions_see = (
            nn.ModuleList(
                AttentionBlock(own.width, other.width, size.joint, size.heads, own.hidden, dropout)
                for _ in self.anchors
            )
            for own, other in ((size.text, size.regions), (size.regions, size.text))
        )

    def forward(
        self, text: Tensor, regions: Tensor, text_there: Tensor, regions_there: Tensor
    ) -> tuple[Tensor, Tensor, list[Connected]]:
        """Return both streams behind all layers, (B, T, E_t) and (B, R, E_r), and what every connection left.

        Args:
            text, regions: (B, T, E_t) and (B, R, E_r), as they enter.
            text_there, regions_there: bool (B, T) and (B, R); the first of each sample is always there.
        """
        done_text = done_regions = 0
        steps = []
        for number, (to_text, to_regions) in enumerate(self.anchors):
            text = _through(self.text[done_text:to_text], text, text_there)
            regions = _through(self.regions[done_regions:to_regions], regions, regions_there)
            done_text, done_regions = to_text, to_regions
            (text, text_maps), (regions, region_maps) = (
                self.text_sees[number](text, regions, regions_there),
                self.regions_see[number](regions, text, text_there),
            )
            steps.append(Connected(text, regions, text_maps, region_maps))
        text = _through(self.text[done_text:], text, text_there)
        return text, _through(self.regions[done_regions:], regions, regions_there), steps


class FirstState(nn.Module):
    """The state of a stream's first token through a linear layer and a rectifier: (B, T, width) to (B, dim)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.dim, self.linear = dim, nn.Linear(width, dim)

    def forward(self, states: Tensor) -> Tensor:
        """Return (B, dim), nothing below 0."""
        pooled: Tensor = self.linear(states[:, 0])
        return pooled.relu()


class MaskedHead(nn.Module):
    """What stood at masked places: linear, GELU, normalisation, and scores (..., out) of states (..., width).

    Args:
        width: of the states.
        out: scores; their matrix is the head's own, unless `forward` is given one.
        tied: the head has no matrix, only the bias.
    """

    def __init__(self, width: int, out: int, tied: bool = False) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, EPSILON)
        self.weight = None if tied else nn.Parameter(torch.empty(out, width))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, states: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores; `weight` (out, width) is the matrix of a tied head."""
        matrix = self.weight if weight is None else weight
        assert matrix is not None
        return nn.functional.linear(self.norm(gelu(self.dense(states))), matrix, self.bias)


def draw_weights(module: nn.Module, deviation: float) -> None:
    """Draw matrices from a normal distribution and set biases to 0, as BERT begins (with a deviation of .02)."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=deviation)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def _through(layers: nn.ModuleList, x: Tensor, there: Tensor) -> Tensor:
    for layer in layers:
        x, _ = layer(x, x, there)
    return x
