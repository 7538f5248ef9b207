"""AVID: audio-visual instance discrimination against memory banks, in its Cross, Self and Joint forms.

P. Morgado, N. Vasconcelos, I. Misra, "Audio-Visual Instance Discrimination with Cross-Modal Agreement", CVPR 2021
(arXiv 2004.12943). With v and a the unit embeddings of recording y, V and A the memories of both views, n_k rows drawn
from all but y (the same for every term) and NCE(u, M) the binary noise-contrastive loss of `coview.objectives.nce` on

    s+ = u . M[y] / temperature,   s-_k = u . M[n_k] / temperature,

    loss = (cross (NCE(v, A) + NCE(a, V)) / 2 + within (NCE(v, V) + NCE(a, A)) / 2) / (cross + within)

Cross is (cross, within) = (1, 0), the paper's choice; Self is (0, 1); Joint is (1, 1). The normaliser z of all terms is
the mean of exp(s-) over the first term's negatives in the first batch of all processes; it is then kept for ever, in
the state. The memories take the step's embeddings in after the optimiser step, M[y] <- normalise(momentum M[y] +
(1 - momentum) embedding). A right start costs log(K z) + K z / (K z) = 7.7 + 1.0 at K = 1024, D = 128.

Published recipe (Kinetics-400): Adam at 2e-4, constant, decay 1e-5 on everything, batch 256, 30 epochs of ten clips per
recording, sound 10 % louder or softer, no masks. Sound is
the dB spectrogram at 24 kHz, (1, 200, 257), time first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from coview.data.augment import AugmentSettings
from coview.data.views import AudioView, Batch, VideoView
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, unit
from coview.methods.parts.memories import banks_of, need_rows
from coview.methods.parts.towers import TINY, PairSettings, encoders_of, heads_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.infonce import log_total
from coview.objectives.memory_bank import MemoryBank
from coview.objectives.nce import estimate_z, nce
from coview.parallel import mean_over_world
from coview.randomness import make_key

NEGATIVES = 0x6E6567  # keeps these draws apart from other users of a sample's key
OTHER = {"video": "audio", "audio": "video"}


def published_video() -> VideoView:
    """Return half a second at 16 frames per second, 224 pixels cut from 256."""
    return VideoView(frames=8, fps=16.0, size=224, margin=256 / 224)


def published_audio() -> AudioView:
    """Return two seconds at 24 kHz as 200 x 257 decibels, each bin by the data's statistics."""
    return AudioView(
        seconds=2.0, sample_rate=24000, layout="spectrogram", n_fft=512, hop=240, window=512, normalise="statistics"
    )


@dataclass(frozen=True, kw_only=True)
class AVIDSettings(PairSettings):
    """Settings of AVID; the defaults are the released ones, Cross."""

    video: VideoView = field(default_factory=published_video)
    audio: AudioView = field(default_factory=published_audio)
    hidden: tuple[int, ...] = (512, 512)  # hidden layers of each head; none: a linear head
    head_batchnorm: bool = False  # batch normalisation in the heads
    embedding: int = 128  # length of the vectors that are compared
    cross: float = 1.0  # weight of the terms against the other view's memory
    within: float = 0.0  # weight of the terms against the own view's memory; Joint: 1
    temperature: float = 0.07  # what cosines are divided by
    negatives: int = 1024  # memory rows per anchor
    momentum: float = 0.5  # of the memory rows

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.negatives < 1 or not 0 <= self.momentum <= 1:
            raise ValueError("avid needs temperature > 0, negatives >= 1 and momentum between 0 and 1")
        if min(self.cross, self.within) < 0 or self.cross + self.within == 0:
            raise ValueError("cross and within are weights: neither below 0 and not both 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(
            **TINY,
            hidden=(256,),
            head_batchnorm=True,
        )


class Term(NamedTuple):
    """One part of the loss: every view's queries against the rows of a memory, in both directions."""

    name: str  # goes before the direction, as in "pos-v2v"
    weight: float
    cross: bool  # against the other view's memory, not the own one's
    positive: Tensor  # int64 (N, P)
    negative: Tensor  # int64 (N, K)


class AVID(Method):
    """Two encoders, two heads, two memories that every process updates in the same way, and the normaliser z.

    State under another number of processes: replicate. `z` is a scalar buffer, -1 until the first batch has set it.
    """

    about = About(
        slug="avid",
        title="AVID: audio-visual instance discrimination (Cross, Self, Joint)",
        paper="Morgado, Vasconcelos & Misra, CVPR 2021; arXiv 2004.12943",
        family="instance",
        state="verified: losses, normaliser, gradients and memories equal values of the official code",
    )
    Settings = AVIDSettings
    settings: AVIDSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=2e-4, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="constant"),
        augment=AugmentSettings(volume=(0.9, 1.1), time_masked=(0.0, 0.0), band_masked=(0.0, 0.0)),
        batch_size=256,
        epochs=30,
        clips_per_recording=10,
    )
    coupling: Coupling = "bank"
    z: Tensor

    def __init__(self, settings: AVIDSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        need_rows(facts, 2, f"{self.about.slug} needs at least 2 recordings")
        self.least_batch = 2 if settings.head_batchnorm else 1
        self.encoders = encoders_of(settings, self.views)
        self.projectors = heads_of(settings, self.encoders, settings.head_batchnorm)
        self.banks = banks_of(self.views, facts, settings.embedding, settings.momentum)
        self.register_buffer("z", torch.tensor(-1.0))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views.

        Parts: every scored term by name, such as v2a; z; and infonce of the first term's scores, which tells a plateau.
        """
        z = {name: unit(self.projectors[name](self.encoders[name](batch.views[name]))) for name in self.views}
        loss, parts = self.criterion(z, batch)
        self.later(batch.row, detached(z))
        return Step(loss, parts, detached(z))

    def criterion(self, embeddings: dict[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts from unit embeddings (N, D) of both views."""
        terms = [term for term in self.terms(batch) if term.weight]
        total = 2 * sum(term.weight for term in terms)
        losses, parts, plain = [], {}, []
        for term in terms:
            for view, query in embeddings.items():
                memory = OTHER[view] if term.cross else view
                true, drawn = self.score(query, memory, term.positive, term.negative)
                value = nce(true, drawn, self.normaliser(drawn))
                parts[f"{term.name}{view[0]}2{memory[0]}"] = mean_over_world(value.detach())
                losses.append(value * (term.weight / total))
                if term is terms[0]:
                    plain.append((log_total(true[:, 0], drawn) - true[:, 0]).detach())
        parts |= {"infonce": mean_over_world(torch.stack(plain).mean(0)), "z": self.z.clone()}
        return mean_over_world(torch.stack(losses).sum(0)), parts

    def terms(self, batch: Batch) -> list[Term]:
        """Return what is scored for a batch; the first term with a weight sets z."""
        own = batch.row[:, None]
        drawn = self.bank("video").draw(make_key(batch.key, NEGATIVES), batch.row, self.settings.negatives)
        return [
            Term("", self.settings.cross, True, own, drawn),
            Term("", self.settings.within, False, own, drawn),
        ]

    def score(self, query: Tensor, memory: str, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return s+ (N, P) and s- (N, K) of query (N, D) with rows `positive` and `negative` of a view's memory."""
        scores = self.bank(memory).scores(query, torch.cat([positive, negative], 1)) / self.settings.temperature
        return scores[:, : positive.shape[1]], scores[:, positive.shape[1] :]

    def normaliser(self, drawn: Tensor) -> Tensor:
        """Return z; the first call sets it from the scores s- (N, K), and in evaluation forgets it again."""
        if float(self.z) >= 0:
            return self.z
        z = self.z.new_tensor(estimate_z(drawn))
        if self.training:
            self.z.copy_(z)
        return z

    def bank(self, view: str) -> MemoryBank:
        """Return the memory of a view."""
        return cast(MemoryBank, self.banks[view])

    def take_in(self, row: Tensor, embeddings: Mapping[str, Tensor]) -> None:
        """Let the memories take in a forward pass's embeddings."""
        for name in self.views:
            self.bank(name).update(row, embeddings[name])

    def negatives(self, global_batch: int) -> int:
        """Return K: it does not depend on the batch."""
        return self.settings.negatives
