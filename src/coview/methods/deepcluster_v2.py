"""DeepCluster-v2: clusters of the last epoch's embeddings as labels for every crop.

Caron et al., NeurIPS 2020 (arXiv 2006.09882, appendix), a modern form of DeepCluster (arXiv 1807.05520).

While an epoch runs, the embeddings of the first crops are remembered, one memory for each. Before the next one each
head h clusters memory h mod 2 by spherical k-means; its centroids become the prototypes, which no gradient moves, and

    loss = mean over heads and crops of  CE(z_v C_h^T / temperature, y_h)

Samples that the last epoch left out have no label and cost nothing. Before the first epoch the memories are filled with
the embeddings of the whole collection. Seeds are drawn over all processes, where the official code takes rows of
process 0, whose result depends on their number. State under another number of processes: replicate.

Published recipe: that of `swav` (its code base is the same), 800 epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.data.augment import PRESETS
from coview.data.views import Batch, ImageView, VideoView, ViewSpec
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.crops import TINY_IMAGE, SmallCrops, crop_networks, crop_views, embed_crops
from coview.methods.parts.memories import fewer_clusters, need_rows
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.kmeans import kmeans
from coview.objectives.memory_bank import MemoryBank
from coview.objectives.swav import cluster_prediction
from coview.parallel import gather, mean_over_world, rank, world_size
from coview.randomness import integers, make_key, normal


@dataclass(frozen=True, kw_only=True)
class DeepClusterV2Settings:
    """Settings of DeepCluster-v2; the defaults are the published ones."""

    view: ImageView | VideoView = field(default_factory=lambda: ImageView(size=224, area=(0.14, 1.0)))
    encoder: str = "resnet-50"  # network of pictures or clips
    crops: int = 2  # of the view's size; the first two are remembered
    small: SmallCrops | None = field(default_factory=SmallCrops)
    hidden: tuple[int, ...] = (2048,)  # hidden layers of the head
    head_batchnorm: bool = True  # batch normalisation in the head
    embedding: int = 128  # length of the vectors that are clustered
    clusters: tuple[int, ...] = (3000, 3000, 3000)  # of each clustering
    temperature: float = 0.1  # what similarities to centres are divided by
    iterations: int = 10  # of k-means
    seed: int = 0  # of the clusterings

    def __post_init__(self) -> None:
        if self.crops < 1 or not self.clusters or min(self.clusters) < 2 or self.temperature <= 0:
            raise ValueError(
                "deepcluster-v2 needs crops >= 1, clusters >= 2 of at least one clustering, temperature > 0"
            )

    @classmethod
    def tiny(cls) -> Self:
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
    published = Recipe(
        optimiser=OptimiserSettings(kind="larc-swav", lr=4.8, weight_decay=1e-6, decay="everything"),
        schedule=ScheduleSettings(kind="cosine", warm_up=10 / 800, warm_up_from=0.3 / 4.8, final=0.001),
        augment=PRESETS["swav"],
        batch_size=4096,
        epochs=800,
    )
    coupling: Coupling = "assignment"
    least_batch = 2

    @classmethod
    def fitted(cls, settings: DeepClusterV2Settings, rows: int) -> DeepClusterV2Settings:
        """See `Method.fitted`."""
        return replace(settings, clusters=tuple(fewer_clusters(count, rows) for count in settings.clusters))

    def __init__(self, settings: DeepClusterV2Settings, facts: Facts) -> None:
        super().__init__(settings, facts)
        most = max(settings.clusters)
        need_rows(facts, most, f"{most} clusters need as many recordings")
        self.name = next(iter(self.views))
        self.encoders, self.projectors = crop_networks(settings, self.name)
        rows = facts.rows if facts.training else 0
        crops = range(min(settings.crops, 2) if facts.training else 0)
        banks = [MemoryBank(rows, settings.embedding, 0.0, crop) for crop in crops]
        self.memories = nn.ModuleList(banks)
        self.register_buffer("visited", torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))
        row = torch.arange(rows)
        for place, count in enumerate(settings.clusters):
            # Until the first clustering: clusters by lot.
            key = make_key(settings.seed, place)
            self.register_buffer(f"labels_{place}", integers(make_key(settings.seed, row), place, count))
            self.register_buffer(f"centroids_{place}", normalize(normal(key, 0, count, settings.embedding), dim=1))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have a label."""
        z = embed_crops(self.encoders[self.name], self.projectors[self.name], self.views, batch)
        losses = []
        for place in range(len(self.settings.clusters)):
            labels = self.get_buffer(f"labels_{place}")[batch.row]
            scores = z @ self.get_buffer(f"centroids_{place}").to(z).T
            each = cluster_prediction(scores, labels, self.settings.temperature)
            losses.append(mean_over_world(each, labels >= 0))
        self.later(batch.row, z[: len(self.memories)].detach())
        return Step(torch.stack(losses).mean(), {}, {self.name: z[0].detach()})

    def take_in(self, row: Tensor, z: Tensor) -> None:
        """Remember a forward pass's embeddings of the first crops."""
        for bank, crop in zip(self.memories, z, strict=True):
            cast(MemoryBank, bank).update(row, crop)
        self.get_buffer("visited")[gather(row)] = True

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
