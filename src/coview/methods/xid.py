"""xID: cross-modal instance discrimination with a memory bank and a (robust) InfoNCE.

K. Vilouras, "Audio-Visual Self-Supervised Representation Learning in-the-wild" (MSc thesis, code AV-SSRL), after AVID
(arXiv 2004.12943), RINCE (arXiv 2201.04309) and MoCHi (arXiv 2010.01028).

The video embedding v of recording y must pick out, among K randomly drawn rows n_k of the audio memory A, the row of
its own recording, and the audio embedding a the same in the video memory V:

    s+ = v . A[y] / temperature,   s-_k = v . A[n_k] / temperature;   loss = (RINCE(v to A) + RINCE(a to V)) / 2

The same n_k serve both directions. Scores use the memories before this step's update
M[y] <- normalise(momentum M[y] + (1 - momentum) embedding), which follows the optimiser step.

Published recipe: clips of 16 frames at 224 pixels and 2 s of sound (here the defaults are 8 at 112), Adam at 5e-4 with
decay 1e-5 on everything, times 0.9 every 10 of 100 epochs, global batch 32, five clips of each recording per epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, unit
from coview.methods.parts.memories import banks_of, need_rows
from coview.methods.parts.towers import TINY, PairSettings, encoders_of, heads_of
from coview.methods.recipe import OptimiserSettings, Recipe
from coview.objectives.hard_negatives import mix_hard_negatives
from coview.objectives.infonce import in_batch_scores, infonce, log_total
from coview.objectives.memory_bank import MemoryBank
from coview.objectives.rince import rince
from coview.parallel import mean_over_world
from coview.randomness import make_key

_NEGATIVES, _MIXES = 0x6E6567, 0x6D6978  # keep these draws apart from other users of a sample's key


@dataclass(frozen=True, kw_only=True)
class HardNegatives:
    """Synthetic negatives from the nearest memory rows, appended to the drawn ones."""

    start_epoch: int = 10
    nearest: int = 1024  # rows of the other view's memory, the own one left out; off in the released configuration
    between: int = 512  # mixtures of two of them
    towards: int = 128  # mixtures of one of them with the query

    def __post_init__(self) -> None:
        if self.nearest < 1 or self.between < 0 or self.towards < 0:
            raise ValueError("hard negatives need nearest >= 1, between >= 0 and towards >= 0")


@dataclass(frozen=True, kw_only=True)
class XIDSettings(PairSettings):
    """Settings of xID; the defaults are the released ones."""

    hidden: tuple[int, ...] = (512, 512)  # hidden layers of each head
    head_batchnorm: bool = False  # batch normalisation in the heads
    embedding: int = 128  # length of the vectors that are compared
    variant: Literal["bank", "in-batch"] = "bank"  # negatives: memory rows, or the other samples of the global batch
    # Partners of a sample: its own, or in-batch all those of its label (-1: its own); s+ is then their mean score.
    positives: Literal["pair", "label"] = "pair"
    temperature: float = 0.07  # what cosines are divided by
    negatives: int = 1024  # memory rows per anchor
    momentum: float = 0.5  # of the memory rows
    q: float = 0.001  # RINCE's q in the first epoch, growing linearly to q_max in the last; 0: InfoNCE
    q_max: float = 0.4  # RINCE's q in the last epoch
    density: float = 0.01  # lambda of RINCE
    hard: HardNegatives | None = None
    as_released: bool = False  # RINCE by plain powers, which loses digits in float32

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.density <= 0 or self.negatives < 1:
            raise ValueError("xid needs temperature > 0, density > 0 and negatives >= 1")
        if not 0 <= self.q <= 1 or not 0 <= self.q_max <= 1 or not 0 <= self.momentum <= 1:
            raise ValueError("xid needs q, q_max and momentum between 0 and 1")
        if self.hard and self.variant != "bank":
            raise ValueError("hard negatives are mined in the memory: they need variant bank")
        if self.positives == "label" and self.variant != "in-batch":
            raise ValueError("positives label are found in the batch: they need variant in-batch")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY, hidden=(256,), head_batchnorm=True)


class XID(Method):
    """Two encoders, two heads, two memories (variant "bank") that every process updates in the same way."""

    about = About(
        slug="xid",
        title="xID: cross-modal instance discrimination, memory bank, robust InfoNCE",
        paper="Vilouras, Audio-Visual Self-Supervised Representation Learning in-the-wild; arXiv 2201.04309",
        family="instance",
        state="verified: objective, gradients and memory equal values of the official code",
    )
    Settings = XIDSettings
    settings: XIDSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=5e-4, weight_decay=1e-5, decay="everything"), clips_per_recording=5
    )
    coupling: Coupling = "bank"
    length_matters = True  # q

    def __init__(self, settings: XIDSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders = encoders_of(settings, self.views)
        self.projectors = heads_of(settings, self.encoders, settings.head_batchnorm)
        if settings.variant == "in-batch":
            self.coupling, self.least_batch, self.banks = "negatives", 2, nn.ModuleDict()
            return
        self.least_batch = 2 if settings.head_batchnorm else 1
        needed = settings.hard.nearest + 1 if settings.hard else 2
        need_rows(facts, needed, f"xid with these negatives needs at least {needed} recordings")
        self.banks = banks_of(self.views, facts, settings.embedding, settings.momentum)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: infonce (the plain one) and q."""
        z = {name: unit(self.projectors[name](self.encoders[name](batch.views[name]))) for name in self.views}
        if self.settings.variant == "bank":
            pairs = [self._bank_scores(z["video"], "audio", batch), self._bank_scores(z["audio"], "video", batch)]
        else:
            groups = batch.label if self.settings.positives == "label" else None
            pairs = in_batch_scores(z["video"], z["audio"], self.settings.temperature, groups)
        q, density, released = self.q(batch.epoch, batch.epochs), self.settings.density, self.settings.as_released
        losses = torch.stack([rince(*pair, q, density, released) for pair in pairs])
        plain = torch.stack([infonce(*pair) for pair in pairs]).detach()
        self.later(batch.row, detached(z))
        parts = {"infonce": mean_over_world(plain.mean(0)), "q": plain.new_tensor(q)}
        return Step(mean_over_world(losses.mean(0)), parts, detached(z))

    def _bank_scores(self, query: Tensor, other: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Score queries (N, D) against the memory of the other view; returns s+ and the log of the denominator."""
        bank, settings = cast(MemoryBank, self.banks[other]), self.settings
        rows = bank.draw(make_key(batch.key, _NEGATIVES), batch.row, settings.negatives)
        scores = bank.scores(query, torch.cat([batch.row[:, None], rows], 1)) / settings.temperature
        positive, negative = scores[:, 0], scores[:, 1:]
        if settings.hard and batch.epoch >= settings.hard.start_epoch:
            hard = bank.memory[bank.nearest(query.detach(), batch.row, settings.hard.nearest)]
            key = make_key(batch.key, _MIXES)
            mixes = mix_hard_negatives(query.detach(), hard, key, settings.hard.between, settings.hard.towards)
            negative = torch.cat([negative, (query[:, None] * mixes).sum(2) / settings.temperature], 1)
        return positive, log_total(positive, negative)

    def take_in(self, row: Tensor, embeddings: Mapping[str, Tensor]) -> None:
        """Let the memories take in a forward pass's embeddings."""
        for name, bank in self.banks.items():
            cast(MemoryBank, bank).update(row, embeddings[name])

    def q(self, epoch: int, epochs: int) -> float:
        """Return RINCE's q in an epoch: linear from q to q_max, reached in the last epoch; 0 stays 0."""
        start, end = self.settings.q, self.settings.q_max
        return start + min(epoch / max(epochs - 1, 1), 1.0) * (end - start) if start else 0.0

    def negatives(self, global_batch: int) -> int:
        """Return K, with the mixtures where hard negatives are on; in-batch, all other samples."""
        if self.settings.variant == "in-batch":
            return global_batch - 1
        hard = self.settings.hard
        return self.settings.negatives + (hard.between + hard.towards if hard else 0)
