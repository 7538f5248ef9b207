"""Questions about pictures, answered by a method that reads both together: VQA, VCR and referring expressions.

Lu et al., ViLBERT, NeurIPS 2019 (arXiv 1908.02265), section 3.2. A small head stands on what the method makes of a
picture and a text, and both learn. Answers: two layers and a sigmoid for each, cross-entropy times their number.
Options: a score for each pair of question and option, softmax over them. Things: a score for each region, against
whether its box overlaps with the thing's by half or more. The control sees where regions lie and nothing of
what is in them: what it gets right, texts and places give away.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchvision.ops import box_iou

from coview.data.questions import Asked, Choice, Referred
from coview.data.source import Source, narrowed
from coview.data.views import Batch
from coview.errors import UsageError
from coview.methods.pair_reader import PairReader, Read
from coview.model import Model
from coview.randomness import make_key, uniform

OVERLAP = 0.5  # of boxes of one thing, intersection over union


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How head and method learn: AdamW, a warm-up of a tenth, then linear decay."""

    lr: float = 4e-5
    weight_decay: float = 0.01
    batch_size: int = 256
    epochs: int = 20
    seed: int = 0


class Head(nn.Module, ABC):
    """What a task asks of what was read; `wide` is the length of a pair's vector, `region` of a region's state."""

    options: ClassVar[bool] = False  # every item is read once for each of its options

    @abstractmethod
    def loss(self, read: Read, items: Sequence[Any]) -> Tensor:
        """Return the mean loss."""

    @abstractmethod
    def right(self, read: Read, items: Sequence[Any]) -> Tensor:
        """Return how far each item is answered rightly (B,), from 0 to 1."""


class Answers(Head):
    """VQA: one of the answers that training questions often have.

    Args:
        wide: of a pair's vector.
        answers: all there are.
        dropout: between the two layers.

    Raises:
        UsageError: there is no answer.
    """

    def __init__(self, wide: int, answers: Sequence[str], dropout: float = 0.5) -> None:
        super().__init__()
        if not answers:
            raise UsageError("no answer to choose from: none is given often enough (`frequent_answers`, least)")
        self.place = {answer: number for number, answer in enumerate(answers)}
        self.layers = nn.Sequential(
            nn.Linear(wide, 2 * wide), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * wide, len(answers))
        )

    def truth(self, items: Sequence[Asked]) -> Tensor:
        """Return how far each answer is right, (B, answers)."""
        truth = torch.zeros(len(items), len(self.place))
        for number, item in enumerate(items):
            for answer, score in item.scores.items():
                if answer in self.place:
                    truth[number, self.place[answer]] = score
        return truth

    def loss(self, read: Read, items: Sequence[Asked]) -> Tensor:
        """See `Head.loss`."""
        scores = self.layers(read.pair)
        return binary_cross_entropy_with_logits(scores, self.truth(items).to(scores)) * len(self.place)

    def right(self, read: Read, items: Sequence[Asked]) -> Tensor:
        """See `Head.right`: the official accuracy of the likeliest answer."""
        best = self.layers(read.pair).argmax(1, keepdim=True).cpu()
        return self.truth(items).gather(1, best)[:, 0]


class Options(Head):
    """VCR: one of the options; UsageError where items that are read together have not as many of them."""

    options = True

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.layer = nn.Linear(wide, 1)

    def _scores(self, read: Read, items: Sequence[Choice]) -> tuple[Tensor, Tensor]:
        counts = sorted({len(item.options) for item in items})
        if len(counts) > 1:
            raise UsageError(f"questions have {' and '.join(map(str, counts))} options; expected as many of each")
        scores = self.layer(read.pair).view(len(items), -1)
        return scores, torch.tensor([item.right for item in items], device=scores.device)

    def loss(self, read: Read, items: Sequence[Choice]) -> Tensor:
        """See `Head.loss`."""
        return cross_entropy(*self._scores(read, items))

    def right(self, read: Read, items: Sequence[Choice]) -> Tensor:
        """See `Head.right`."""
        scores, truth = self._scores(read, items)
        return (scores.argmax(1) == truth).float().cpu()


class Things(Head):
    """Referring expressions: which region is meant."""

    def __init__(self, region: int) -> None:
        super().__init__()
        self.layer = nn.Linear(region, 1)

    def _scores(self, read: Read, items: Sequence[Referred]) -> tuple[Tensor, Tensor]:
        """Return each region's score and whether it is meant, (B, R)."""
        boxes = torch.tensor([item.box for item in items]).to(read.boxes)
        meant = torch.stack([box_iou(own, box[None])[:, 0] for own, box in zip(read.boxes, boxes, strict=True)])
        return self.layer(read.regions)[..., 0], (meant >= OVERLAP) & read.there

    def loss(self, read: Read, items: Sequence[Referred]) -> Tensor:
        """See `Head.loss`."""
        scores, meant = self._scores(read, items)
        each = binary_cross_entropy_with_logits(scores, meant.to(scores), reduction="none")
        return torch.where(read.there, each, 0.0).sum() / read.there.sum().clamp(min=1)

    def right(self, read: Read, items: Sequence[Referred]) -> Tensor:
        """See `Head.right`: whether the likeliest region's box overlaps by half or more."""
        scores, meant = self._scores(read, items)
        best = scores.masked_fill(~read.there, -torch.inf).argmax(1, keepdim=True)
        return meant.gather(1, best)[:, 0].float().cpu()


class Reader(nn.Module):
    """A copy of a model with a head, on pictures of a source.

    Args:
        model: of a method that is a `PairReader`; stays as it is.
        source: has the pictures' views; ids are the pictures' names.
        head: of the task.
        blind: see nothing of what is in the regions: the control.

    Raises:
        UsageError: the method reads no pairs.
    """

    def __init__(self, model: Model, source: Source, head: Head, blind: bool = False) -> None:
        super().__init__()
        self.model = model
        if not isinstance(model.method, PairReader):
            raise UsageError(f"{model.method.about.slug} does not read a picture and a text together")
        self.method = copy.deepcopy(model.method)
        self.picture, self.head, self.blind = model.method.picture, head.to(model.device), blind
        self.source = narrowed(source, set(model.method.made_of(self.picture)))
        self.rows = {name: row for row, name in enumerate(source.ids)}

    def known(self, items: Sequence[Any]) -> list[Any]:
        """Return the items whose pictures the source has.

        Raises:
            UsageError: it has none of them.
        """
        kept = [item for item in items if item.picture in self.rows]
        if not kept:
            example = items[0].picture if items else "none"
            raise UsageError(f"{self.source.name} has none of the pictures that are asked about, such as {example!r}")
        return kept

    def read(self, items: Sequence[Any]) -> Read:
        """Return what the method makes of pictures and texts, of an item with options once for each of them."""
        pairs = [
            (item.picture, text)
            for item in items
            for text in ([f"{item.text} {option}" for option in item.options] if self.head.options else [item.text])
        ]
        row = torch.tensor([self.rows[picture] for picture, _ in pairs])
        raw = self.source.read_window(row, 0, 1)
        spelt = torch.stack([cast(Tensor, self.model.views["text"].spell(text)) for _, text in pairs])
        told = torch.ones_like(row, dtype=torch.bool)
        whole = replace(raw, views=raw.views | {"text": spelt}, present=raw.present | {"text": told})
        batch: Batch = self.model.prepared(whole)
        if self.blind:
            batch.views[self.picture] = torch.zeros_like(batch.views[self.picture])
        return cast(PairReader, self.method).read(batch)


def learn(reader: Reader, items: Sequence[Any], how: Learning) -> None:
    """Teach a reader the items of a task, in an order that follows from seed and epoch."""
    items = reader.known(items)
    optimiser = torch.optim.AdamW(reader.parameters(), how.lr, weight_decay=how.weight_decay)
    per_epoch = -(-len(items) // how.batch_size)
    total, done = per_epoch * how.epochs, 0
    reader.train()
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)  # of dropout
        for epoch in range(how.epochs):
            order = uniform(make_key(how.seed, epoch, torch.arange(len(items))), 0).argsort(stable=True)
            for rows in torch.split(order, how.batch_size):
                for group in optimiser.param_groups:
                    group["lr"] = how.lr * min((done + 1) / max(1, 0.1 * total), (total - done) / (0.9 * total))
                some = [items[row] for row in rows.tolist()]
                optimiser.zero_grad()
                torch.autograd.backward(reader.head.loss(reader.read(some), some))
                optimiser.step()
                done += 1
    reader.eval()


@torch.no_grad()
def scores(reader: Reader, items: Sequence[Any], batch_size: int = 256) -> Tensor:
    """Return how far each item whose picture is there is answered rightly (N,), from 0 to 1."""
    items = reader.eval().known(items)
    parts = [items[first : first + batch_size] for first in range(0, len(items), batch_size)]
    return torch.cat([reader.head.right(reader.read(part), part) for part in parts])
