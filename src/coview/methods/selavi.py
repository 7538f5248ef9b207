"""SeLaVi: labels for videos that sight and sound agree on, shared evenly over the clusters.

Asano, Patrick, Rupprecht & Vedaldi, "Labelling unlabelled videos from scratch with multi-modal self-supervision",
NeurIPS 2020 (arXiv 2006.13662).

Before an epoch every head's labels y of the whole collection are the balanced assignment to the product of both views'
softmaxes (`coview.objectives.selavi`); then

    loss = mean over heads of  (CE(h(E_v(video)), y) + CE(h'(E_a(audio)), y)) / 2

Cluster sizes are drawn from a Gaussian around N / K, large ones for large clusters; `as_released` reproduces the
released code, which inverts them and leaves them in random order. The recipe is from memory and unverified (SGD at 0.64
for a batch of 1024, 10 of 200 epochs of warm-up, decay 1e-5). State under another number of processes: replicate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.views import AudioView, Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.memories import fewer_clusters, need_rows
from coview.methods.parts.towers import TINY, PairSettings, dim_of, encoders_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.objectives.selavi import agreed_labels, gaussian_marginal
from coview.parallel import gather, mean_over_world, rank, sum_with_grad, world_size
from coview.randomness import integers, make_key


@dataclass(frozen=True, kw_only=True)
class SeLaViSettings(PairSettings):
    """Settings of SeLaVi."""

    audio: AudioView = field(default_factory=lambda: AudioView(seconds=1.0, mels=40))
    clusters: int = 309  # VGG-Sound's number of classes
    heads: int = 10  # clusterings side by side
    power: float = 20.0  # lambda: the sharpness of the assignment
    gaussian: bool = True  # cluster sizes from N(1, 0.1) N / K, and not all the same
    every: int = 1  # epochs between assignments
    seed: int = 0  # of clusterings and heads
    as_released: bool = False  # sizes inverted and in random order

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.heads < 1 or self.power <= 0 or self.every < 1:
            raise ValueError("selavi needs clusters >= 2, heads >= 1, power > 0 and every >= 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY, clusters=10, heads=2)


class SeLaVi(Method):
    """Two encoders with the same number of linear heads; one label per recording and head for both."""

    about = About(
        slug="selavi",
        title="SeLaVi: balanced labels that sight and sound agree on",
        paper="Asano et al., NeurIPS 2020; arXiv 2006.13662",
        family="clustering",
        state="verified: labels equal values of the official code; not trained at scale",
    )
    Settings = SeLaViSettings
    settings: SeLaViSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.64, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="constant", warm_up=0.05, warm_up_from=0.01 / 0.64),
        batch_size=1024,
        epochs=200,
    )
    coupling: Coupling = "assignment"
    least_batch = 2

    @classmethod
    def fitted(cls, settings: SeLaViSettings, rows: int) -> SeLaViSettings:
        """See `Method.fitted`."""
        return replace(settings, clusters=fewer_clusters(settings.clusters, rows))

    def __init__(self, settings: SeLaViSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        need_rows(facts, settings.clusters, f"{settings.clusters} clusters need at least as many recordings")
        self.encoders = encoders_of(settings, self.views)
        # All heads of a view in one layer: head h has the outputs h K to (h + 1) K.
        width = settings.heads * settings.clusters
        self.heads = nn.ModuleDict({name: nn.Linear(dim_of(net), width) for name, net in self.encoders.items()})
        # Until the first assignment: clusters by lot.
        labels = integers(
            make_key(settings.seed, torch.arange(facts.rows if facts.training else 0)),
            0,
            settings.clusters,
            settings.heads,
        )
        self.register_buffer("labels", labels.T.contiguous())
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: the loss of each view."""
        features = {name: self.encoders[name](batch.views[name]) for name in self.views}
        labels = self.get_buffer("labels")[:, batch.row].T
        known = labels[:, 0] >= 0
        parts = {}
        for name, value in features.items():
            losses = _head_losses(self._logits(name, value), labels.clamp(min=0))
            parts[f"loss/{name}"] = mean_over_world(losses, known)
        return Step(
            torch.stack(list(parts.values())).mean(),
            detached(parts),
            detached(features),
        )

    def _logits(self, view: str, features: Tensor) -> Tensor:
        """Return (N, heads, K)."""
        logits: Tensor = self.heads[view](features)
        return logits.view(len(features), self.settings.heads, self.settings.clusters)

    @torch.no_grad()
    def refresh(self, epoch: int, embed: Any) -> None:
        """Assign the collection to the clusters, head by head, every `every` epochs."""
        if epoch % self.settings.every:
            return
        labels, features = self.get_buffer("labels"), embed("backbone")
        rows = torch.nonzero(torch.stack([features.present[view] for view in self.views]).all(0)).flatten()
        mine = rows[rank() :: world_size()]
        weight = next(self.heads.parameters())
        logits = {view: self._logits(view, features.values[view][mine].to(weight)) for view in self.views}
        everyone = gather(mine.to(labels.device))
        fresh = torch.full_like(labels, -1)
        for head in range(self.settings.heads):
            own = {view: value[:, head] for view, value in logits.items()}
            assigned, _ = agreed_labels(own, power=self.settings.power, marginal=self._sizes(own, head, len(rows)))
            fresh[head, everyone] = gather(assigned)
        labels.copy_(fresh)
        self.get_buffer("rounds").add_(1)

    def _sizes(self, logits: dict[str, Tensor], head: int, rows: int) -> Tensor | None:
        """Draw the clusters' shares (K,) where they are not all the same."""
        if not self.settings.gaussian:
            return None
        log_p = torch.stack([torch.log_softmax(value.double(), 1) for value in logits.values()]).sum(0)
        mass = sum_with_grad(torch.softmax(log_p, 1).sum(0))
        key = make_key(self.settings.seed, self.get_buffer("rounds").cpu(), head).to(mass.device)
        return gaussian_marginal(mass, key=key, rows=rows, as_released=self.settings.as_released)

    def chance_loss(self, global_batch: int) -> float:
        """Return the loss of guessing, ln K."""
        return math.log(self.settings.clusters)


@in_float32
def _head_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy (N,) over the heads of logits (N, H, K) with labels (N, H)."""
    return cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
