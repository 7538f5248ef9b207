"""DeepCluster-v2: clusters of the last epoch's embeddings as labels for every crop.

Caron et al., NeurIPS 2020 (arXiv 2006.09882, appendix), a modern form of DeepCluster (arXiv 1807.05520).

While an epoch runs, the embeddings of the first crops are remembered, one memory for each. Before the next one each
head h clusters memory h mod 2 by spherical k-means; its centroids become the prototypes, which no gradient moves, and

    loss = mean over heads and crops of  CE(z_v C_h^T / temperature, y_h)

Samples that the last epoch left out have no label and cost nothing. Before the first epoch the memories are filled with
the embeddings of the whole collection. Seeds are drawn over all processes, where the official code takes rows of
process 0, whose result depends on their number. State under another number of processes: replicate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.data.views import Batch, ImageView, VideoView, ViewSpec
from coview.encoders import mlp
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.parts.crops import TINY_IMAGE, SmallCrops, build_eye, crop_views, embed_crops
from coview.objectives.kmeans import kmeans
from coview.objectives.memory_bank import MemoryBank
from coview.objectives.swav import cluster_prediction
from coview.parallel import gather, mean_over_world, rank, world_size
from coview.randomness import integers, make_key, normal


@dataclass(frozen=True, kw_only=True)
class DeepClusterV2Settings:
    """Settings of DeepCluster-v2; the defaults are the published ones."""

    view: ImageView | VideoView = field(default_factory=lambda: ImageView(size=224, area=(0.14, 1.0)))
    encoder: str = "resnet-50"
    crops: int = 2  # of the view's size; the first two are remembered
    small: SmallCrops | None = field(default_factory=SmallCrops)
    hidden: tuple[int, ...] = (2048,)  # hidden layers of the head
    head_batchnorm: bool = True
    embedding: int = 128
    clusters: tuple[int, ...] = (3000, 3000, 3000)  # of each clustering
    temperature: float = 0.1
    iterations: int = 10  # of k-means
    seed: int = 0  # of the clusterings

    def __post_init__(self) -> None:
        if self.crops < 1 or not self.clusters or min(self.clusters) < 2 or self.temperature <= 0:
            raise ValueError(
                "deepcluster-v2 needs crops >= 1, clusters >= 2 of at least one clustering, temperature > 0"
            )

    @classmethod
    def tiny(cls) -> DeepClusterV2Settings:
        """Return settings for tests, dry runs and the demo: a small network on frames of the digits world."""
        return cls(
            view=TINY_IMAGE,
            encoder="image-tiny",
            small=SmallCrops(number=2, size=16, area=(0.2, 0.5)),
            hidden=(64,),
            embedding=16,
            clusters=(10, 8),
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views: crops of one picture or clip."""
        return crop_views(self.view, self.crops, self.small)


class DeepClusterV2(Method):
    """One encoder, one head, a memory for each remembered crop, centroids and labels."""

    about = About(
        slug="deepcluster-v2",
        title="DeepCluster-v2: clusters of the last epoch as labels",
        paper="Caron et al., NeurIPS 2020; arXiv 2006.09882",
        family="clustering",
        state="verified: clustering equals values of the official code",
    )
    Settings = DeepClusterV2Settings
    settings: DeepClusterV2Settings
    views: Mapping[str, ViewSpec]
    coupling: Coupling = "assignment"

    def __init__(self, settings: DeepClusterV2Settings, facts: Facts) -> None:
        super().__init__(settings, facts)
        if facts.rows < max(settings.clusters):
            raise UsageError(f"{max(settings.clusters)} clusters need as many recordings, found {facts.rows}")
        self.name = next(iter(self.views))
        encoder = build_eye(settings.view, settings.encoder)
        head = mlp((encoder.dim, *settings.hidden, settings.embedding), batchnorm=settings.head_batchnorm)
        self.encoders = nn.ModuleDict({self.name: encoder})
        self.projectors = nn.ModuleDict({self.name: head})
        banks = [MemoryBank(facts.rows, settings.embedding, 0.0, crop) for crop in range(min(settings.crops, 2))]
        self.memories = nn.ModuleList(banks)
        self.register_buffer("visited", torch.zeros(facts.rows, dtype=torch.bool))
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))
        row = torch.arange(facts.rows)
        for place, count in enumerate(settings.clusters):
            # Until the first clustering: clusters by lot.
            key = make_key(settings.seed, place)
            self.register_buffer(f"labels_{place}", integers(make_key(settings.seed, row), place, count))
            self.register_buffer(f"centroids_{place}", normalize(normal(key, 0, count, settings.embedding), dim=1))
        self._pending: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> Step:
        """Return the loss of the samples that have a label."""
        batch = complete(batch, self.views)
        if not enough(batch, 2):
            return self.idle()
        z = embed_crops(self.encoders[self.name], self.projectors[self.name], self.views, batch)
        losses = []
        for place in range(len(self.settings.clusters)):
            labels = self.get_buffer(f"labels_{place}")[batch.row]
            scores = z @ self.get_buffer(f"centroids_{place}").to(z).T
            each = cluster_prediction(scores, labels, self.settings.temperature)
            losses.append(mean_over_world(each, labels >= 0))
        if self.training:
            self._pending.append((batch.row, z[: len(self.memories)].detach()))
        return Step(torch.stack(losses).mean(), {}, {self.name: z[0].detach()})

    def after_step(self) -> None:
        """Remember the step's embeddings."""
        for row, z in self._pending:
            for bank, crop in zip(self.memories, z, strict=True):
                cast(MemoryBank, bank).update(row, crop)
            self.get_buffer("visited")[gather(row)] = True
        self._pending.clear()

    def refresh(self, epoch: int, embed: Any) -> None:
        """Cluster the memories, and begin to fill them anew."""
        visited = self.get_buffer("visited")
        if not bool(visited.any()):
            features = embed("projected")
            rows = torch.nonzero(features.present[self.name]).flatten().to(visited.device)
            visited[rows] = True
            for bank in self.memories:
                values = features.values[self.name].to(visited.device)
                cast(MemoryBank, bank).memory[rows] = normalize(values[rows].float(), dim=1)
        for place in range(len(self.settings.clusters)):
            self._cluster(place, torch.nonzero(visited).flatten())
        visited.fill_(False)
        self.get_buffer("rounds").add_(1)

    @torch.no_grad()
    def _cluster(self, place: int, rows: Tensor) -> None:
        settings, labels = self.settings, self.get_buffer(f"labels_{place}")
        bank = cast(MemoryBank, self.memories[place % len(self.memories)])
        mine = rows[rank() :: world_size()]
        found = kmeans(
            bank.memory,
            settings.clusters[place],
            seed=int(make_key(settings.seed, self.get_buffer("rounds").cpu(), place)),
            index=mine,
            iterations=settings.iterations,
            spherical=True,
            empty="keep",
        )
        self.get_buffer(f"centroids_{place}").copy_(found.centroids)
        labels.fill_(-1)
        labels[gather(mine)] = gather(found.labels)

    def chance_loss(self, global_batch: int) -> float:
        """Return the loss of embeddings that are all the same: the mean of ln K."""
        return sum(math.log(count) for count in self.settings.clusters) / len(self.settings.clusters)
