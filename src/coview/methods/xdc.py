"""XDC and its siblings SDC, MDC and CDC: clusters of one modality as labels for the other.

Alwassel, Mahajan, Korbar, Torresani, Ghanem & Tran, "Self-Supervised Learning by Cross-Modal Audio-Video Clustering",
NeurIPS 2020 (arXiv 1911.12667).

Before an epoch the features of the whole collection, in evaluation mode and from one fixed cut each, are clustered by
k-means (features of unit length); then every encoder E_m learns to tell the clusters y of its samples:

    loss = sum over the views m and their heads h of  CE(h(E_m(x)), y_h)

with the clusters y_h of XDC: the other view's; SDC: the own; MDC: both, with a head each; CDC: those of both views'
features side by side. The first labels come from random encoders. Labels permute from round to round, so that the heads
start anew, from keys of (seed, round); an optimiser's memory of them is kept and fades. Samples are weighed so that
every cluster counts the same in expectation, which is what drawing uniformly over clusters does. Nothing passes
between the encoders but labels.

No training code was released: what the paper does not say (heads, weights, features of unit length) is DeepCluster's
(arXiv 1807.05520). The released R(2+1)D has a batch normalisation momentum of 0.9, Caffe2's way of saying the 0.1 that
is used here. Recipe from memory: SGD in large batches, the rate falling by steps or a cosine; the numbers are ours.
State under another number of processes: replicate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.views import AudioView, Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.memories import fewer_clusters, need_rows
from coview.methods.parts.towers import TINY, PairSettings, dim_of, encoders_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.contingency import nmi
from coview.objectives.kmeans import kmeans
from coview.objectives.precision import in_float32
from coview.parallel import divided_as, gather, mean_over_world, rank, world_size
from coview.randomness import integers, make_key, uniform

JOINT = "joint"  # clusters of both views' features side by side
_PAPER = "Alwassel et al., NeurIPS 2020; arXiv 1911.12667"
_STATE = "verified: clusters, losses and sampling equal independent values; no official training code exists"


@dataclass(frozen=True, kw_only=True)
class XDCSettings(PairSettings):
    """Settings of XDC, SDC, MDC and CDC."""

    audio: AudioView = field(default_factory=lambda: AudioView(seconds=1.0, mels=40))
    clusters: int = 256  # 64 to 1024: more for a larger and more varied collection
    every: int = 1  # epochs between clusterings
    iterations: int = 100  # of k-means, at most
    balanced: bool = True  # every cluster counts the same, not every sample
    seed: int = 0  # of clusterings and heads

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.every < 1 or self.iterations < 1:
            raise ValueError("clusters >= 2, every >= 1 and iterations >= 1 are needed")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY, clusters=10)


class XDC(Method):
    """Two encoders; each learns the clusters of the other's features."""

    about = About(slug="xdc", title="XDC: cross-modal deep clustering", paper=_PAPER, family="clustering", state=_STATE)
    Settings = XDCSettings
    settings: XDCSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.08, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="cosine"),
        batch_size=256,
    )
    coupling: Coupling = "assignment"
    least_batch = 2
    # View -> whose clusters its heads learn.
    targets: ClassVar[Mapping[str, tuple[str, ...]]] = {"video": ("audio",), "audio": ("video",)}

    @classmethod
    def fitted(cls, settings: XDCSettings, rows: int) -> XDCSettings:
        """See `Method.fitted`."""
        return replace(settings, clusters=fewer_clusters(settings.clusters, rows))

    def __init__(self, settings: XDCSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        need_rows(facts, settings.clusters, f"{settings.clusters} clusters need at least as many recordings")
        self.encoders = encoders_of(settings, self.views)
        # The heads know this collection's clusters, and are not kept with a model.
        self.heads = nn.ModuleDict(
            {
                f"{view}_from_{source}": nn.Linear(dim_of(self.encoders[view]), settings.clusters)
                for view, sources in self.targets.items()
                for source in sources
            }
        )
        row = torch.arange(facts.rows if facts.training else 0)
        for place, source in enumerate(self.sources()):
            # Until the first clustering: clusters by lot.
            labels = integers(make_key(settings.seed, row), place, settings.clusters)
            self.register_buffer(f"labels_{source}", labels)
            self.register_buffer(f"weights_{source}", torch.ones(settings.clusters))
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))
        # NMI of the video's clusters with the audio's (0 where only joint ones are made), and with the round before.
        self.register_buffer("agreement", torch.zeros(2))

    @classmethod
    def sources(cls) -> list[str]:
        """Return whose clusters are needed, in a fixed order."""
        return sorted({source for sources in cls.targets.values() for source in sources})

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views.

        Parts: loss per view; agreement, the NMI of video's clusters with audio's; stability, with the round before.
        """
        features = {name: self.encoders[name](batch.views[name]) for name in self.views}
        parts = {}
        for view, sources in self.targets.items():
            losses = [self._loss(features[view], view, source, batch.row) for source in sources]
            parts[f"loss/{view}"] = torch.stack(losses).sum()
        loss = torch.stack(list(parts.values())).sum()
        said = detached(parts)
        for place, name in enumerate(("agreement", "stability")):
            said[name] = self.get_buffer("agreement")[place].to(loss)
        return Step(loss, said, detached(features))

    def _loss(self, features: Tensor, view: str, source: str, row: Tensor) -> Tensor:
        labels = self.get_buffer(f"labels_{source}")[row]
        known = labels >= 0
        labels = labels.clamp(min=0)
        losses = _cross_entropy(self.heads[f"{view}_from_{source}"](features), labels)
        return mean_over_world(self.get_buffer(f"weights_{source}").to(losses)[labels] * losses, known)

    def refresh(self, epoch: int, embed: Any) -> None:
        """Cluster the collection and begin a round with new heads, every `every` epochs."""
        if epoch % self.settings.every:
            return
        features = embed("backbone")
        before = {source: self.get_buffer(f"labels_{source}").clone() for source in self.sources()}
        for source in self.sources():
            views = list(self.views) if source == JOINT else [source]
            self._cluster(source, [features.values[view] for view in views], [features.present[view] for view in views])
        self._reset_heads()
        self._compare(before)
        self.get_buffer("rounds").add_(1)

    @torch.no_grad()
    def _cluster(self, source: str, values: list[Tensor], present: list[Tensor]) -> None:
        """Put labels and weights of a clustering in place; recordings without one of the views get -1."""
        settings, labels = self.settings, self.get_buffer(f"labels_{source}")
        everyone = torch.nonzero(torch.stack(present).all(0)).flatten()
        mine = everyone[rank() :: world_size()].to(labels.device)
        seed = int(make_key(settings.seed, self.get_buffer("rounds").cpu()))
        found = kmeans(
            values,
            settings.clusters,
            seed=seed,
            index=mine,
            iterations=settings.iterations,
            unit=True,
            device=labels.device,
        )
        labels.fill_(-1)
        labels[gather(mine)] = gather(found.labels)
        weights = self.get_buffer(f"weights_{source}")
        weights.copy_(cluster_weights(found.counts) if settings.balanced else torch.ones_like(weights))

    @torch.no_grad()
    def _reset_heads(self) -> None:
        """Draw the heads anew as a linear layer is drawn, from keys, so that every process has the same."""
        for place, head in enumerate(self.heads.values()):
            key = make_key(self.settings.seed, self.get_buffer("rounds").cpu(), place)
            for stream, weight in enumerate(head.parameters()):
                reach = 1 / math.sqrt(head.in_features)  # type: ignore[arg-type]
                weight.copy_(divided_as((2 * uniform(key, stream, *weight.shape) - 1) * reach, weight))

    def _compare(self, before: Mapping[str, Tensor]) -> None:
        labels = {source: self.get_buffer(f"labels_{source}") for source in self.sources()}
        both = "video" in labels and "audio" in labels
        between = nmi(labels["video"], labels["audio"]) if both else 0.0
        started = bool(self.get_buffer("rounds"))
        kept = [nmi(labels[source], before[source]) for source in labels] if started else [0.0]
        self.get_buffer("agreement").copy_(torch.tensor([between, sum(kept) / len(kept)]))

    def chance_loss(self, global_batch: int) -> float:
        """Return the loss of guessing: ln k for every head."""
        return len(self.heads) * math.log(self.settings.clusters)


class SDC(XDC):
    """Two encoders; each learns the clusters of its own features."""

    about = About(
        slug="sdc", title="SDC: single-modality deep clustering", paper=_PAPER, family="clustering", state=_STATE
    )
    targets = {"video": ("video",), "audio": ("audio",)}


class MDC(XDC):
    """Two encoders with two heads each; they learn both views' clusters."""

    about = About(slug="mdc", title="MDC: multi-head deep clustering", paper=_PAPER, family="clustering", state=_STATE)
    targets = {"video": ("video", "audio"), "audio": ("audio", "video")}


class CDC(XDC):
    """Two encoders; both learn the clusters of their joined features."""

    about = About(
        slug="cdc", title="CDC: concatenation deep clustering", paper=_PAPER, family="clustering", state=_STATE
    )
    targets = {"video": (JOINT,), "audio": (JOINT,)}


def cluster_weights(counts: Tensor) -> Tensor:
    """Return for every cluster the weight (K,) of its samples with which all clusters that have some count the same.

    counts: (K,). The mean weight over the samples is 1: w_k = N / (number of clusters that have samples x n_k).
    """
    filled = (counts > 0).sum()
    return torch.where(counts > 0, counts.sum() / (filled * counts.clamp(min=1)), 0.0)


@in_float32
def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits, labels, reduction="none")
