"""CLOVEN: the views of a recording are fused to one vector, which agrees with each of them, one by one and in groups.

G. Ke, G. Chao, X. Wang, C. Xu, Y. Zhu, Y. Yu, "A Clustering-guided Contrastive Fusion for Multi-view Representation
Learning", IEEE TCSVT 2023 (arXiv 2212.13726). With h_v what the network of view v yields, z = fusion(h_1 .. h_V), p the
projector, (u, c) = head(z) the hidden numbers and assignments of z and c_v those of h_v, all heads shared,

    instances = mean_v I(p(z), p(h_v))
    groups    = mean_v [C(c, c_v) + imbalance(c) + imbalance(c_v)]
    geometry  = divergence-based clustering of u and c
    loss      = groups + geometry + instance_weight instances

(`coview.objectives.fused_contrast`). Columns of assignments are those of all processes. Any two or more views will do.
In training a sample has them all; z of a recording that lacks some is made with zeros in their place, as in the paper.

The released code multiplies the instances by 0 (`instance_weight 0`), and reads none of its weights of the terms. No
lengths are taken off in I, whose scale grows with `projection`; with `unit` they are. Not here: a convolutional
network that all views share, and fusion by a plain perceptron or a weighted sum.

Published recipe (Scene-15): Adam at 1e-4, batch 128, 100 epochs, rate along half a cosine down to 1e-6 in five epochs
and up again in five, ten times. T = 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.views import Batch
from coview.encoders.residual_fusion import GroupHead, ResidualFusion, normalised_perceptron
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, or_zeros
from coview.methods.parts.correlation import FusionSettings, build_encoder
from coview.methods.parts.memories import fewer_clusters
from coview.methods.parts.towers import TINY
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.fused_contrast import divergence_clustering, group_contrast, imbalance, pair_contrast
from coview.objectives.variation_weights import next_course, no_course, variation_weights
from coview.parallel import gather_with_grad, mean_over_world, sum_with_grad, world_size

FUSED = "fused"


@dataclass(frozen=True, kw_only=True)
class CLOVENSettings(FusionSettings):
    """Settings of CLOVEN; the defaults are those of Scene-15, with weight 1 of the instances."""

    dimension: int = 128  # length of each view's vector, and of the fused one
    blocks: int = 2  # of the fusion
    clusters: int = 15  # K, groups; the data's number of classes
    cluster_hidden: int = 256  # hidden numbers of the head of groups
    projection: int = 128  # length of the vectors that are compared one by one
    temperature: float = 0.5  # T, of both contrasts
    instance_weight: float = 1.0  # weight of the instances; 0 as released
    unit: bool = False  # take the lengths of projected vectors off
    between_views: bool = False  # compare the views with each other too, one by one
    over_samples: bool = False  # the geometry's middle term over samples, its original form
    by_variation: bool = False  # weigh the three losses by how much each still varies

    def __post_init__(self) -> None:
        super().__post_init__()
        if FUSED in self.views:
            raise ValueError(
                f"views: {FUSED!r} is what cloven calls the vector of all of them; call this one otherwise"
            )
        if min(self.dimension, self.clusters) < 2 or min(self.blocks, self.cluster_hidden, self.projection) < 1:
            raise ValueError("cloven needs dimension and clusters >= 2, blocks, cluster_hidden and projection >= 1")
        if self.temperature <= 0 or self.instance_weight < 0:
            raise ValueError("cloven needs temperature > 0 and instance_weight >= 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        views = {"video": TINY["video"], "audio": TINY["audio"]}
        networks = {name: TINY[name] for name in ("video_encoder", "audio_encoder")}
        return cls(views=views, **networks, dimension=32, clusters=4, cluster_hidden=32, projection=32)


class CLOVEN(Method):
    """A network for each view; the fusion, the head of groups and the projector are shared by all vectors."""

    about = About(
        slug="cloven",
        title="CLOVEN: one vector of all views, contrasted with each",
        paper="Ke et al., Clustering-guided Contrastive Fusion, IEEE TCSVT 2023; arXiv 2212.13726",
        family="clustering",
        state="verified: every term, the fusion and the weights of losses equal the official code's",
    )
    Settings = CLOVENSettings
    settings: CLOVENSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=0.0),
        schedule=ScheduleSettings(kind="cosine", swings=20, final=0.01),
        augment=PRESETS["none"],
        batch_size=128,
        epochs=100,
    )
    coupling: Coupling = "negatives"
    takes_some = True
    course: Tensor

    @classmethod
    def fitted(cls, settings: CLOVENSettings, rows: int) -> CLOVENSettings:
        """See `Method.fitted`."""
        return replace(settings, clusters=fewer_clusters(settings.clusters, rows))

    def __init__(self, settings: CLOVENSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.least_batch = settings.clusters  # fewer cannot fill the groups
        width = settings.dimension
        self.encoders = nn.ModuleDict({name: build_encoder(settings, spec, width) for name, spec in self.views.items()})
        projector = normalised_perceptron((width, width, width, settings.projection))
        self.projectors = nn.ModuleDict(dict.fromkeys(self.views, projector))
        self.makers["fusion"] = ResidualFusion(len(self.views), width, settings.blocks)
        self.makers["groups"] = GroupHead(width, settings.cluster_hidden, settings.clusters)
        self.register_buffer("course", no_course(3))
        for part in (*self.encoders.values(), projector, *self.makers.values()):
            if not hasattr(part, "encoder"):  # what reads raw views has its own start
                part.apply(_xavier)

    @property
    def projector(self) -> nn.Module:
        """The projector that all vectors share."""
        return next(iter(self.projectors.values()))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of samples that have every view; parts: groups, geometry, infonce (a pair's mean)."""
        seen = {name: encoder(batch.views[name]) for name, encoder in self.encoders.items()}
        vectors = {FUSED: self.makers["fusion"](list(seen.values())), **seen}
        projected = {name: self.projector(value) for name, value in vectors.items()}
        settings = self.settings
        own, *others = projected.values()
        pairs = [(own, other) for other in others]
        if settings.between_views:
            pairs += [(a, b) for place, a in enumerate(others) for b in others[place + 1 :]]
        contrasts = [pair_contrast(*pair, settings.temperature, settings.unit) for pair in pairs]
        instances = mean_over_world(torch.stack(contrasts).sum(0) / len(others))
        share = len(pairs) / len(others)
        groups, geometry = self._of_groups(vectors)
        losses = torch.stack([groups, geometry, settings.instance_weight * instances])
        parts = {"groups": groups.detach(), "geometry": geometry.detach(), "infonce": instances.detach() / share}
        return Step((self._weights(losses) * losses).sum(), parts, detached(projected))

    def _of_groups(self, vectors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the groups' contrast with its balance, and their geometry, of the samples of all processes."""
        said = [self.makers["groups"](value) for value in vectors.values()]
        columns = gather_with_grad(torch.cat([said[0][0], *(assigned for _, assigned in said)], 1))
        sizes = [self.settings.cluster_hidden, *[self.settings.clusters] * len(said)]
        hidden, own, *others = torch.split(columns, sizes, 1)
        each = [
            group_contrast(own, other, self.settings.temperature) + imbalance(own) + imbalance(other)
            for other in others
        ]
        return torch.stack(each).mean(), divergence_clustering(hidden, own, self.settings.over_samples)

    def _weights(self, losses: Tensor) -> Tensor:
        if not self.settings.by_variation:
            return torch.ones_like(losses)
        self.later(sum_with_grad(losses.detach()) / world_size())
        return variation_weights(self.course)

    def take_in(self, losses: Tensor) -> None:
        """Follow the losses (3,) of a step."""
        self.course.copy_(next_course(self.course, losses.to(self.course)))

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`; "fused" is made of all views, with zeros in place of those that a recording lacks."""
        vectors, there = self._vectors(batch)
        return {
            name: torch.where(there[name][:, None], self.projector(value) if space == "projected" else value, 0.0)
            for name, value in vectors.items()
        }

    def groups(self, batch: Batch) -> dict[str, Tensor]:
        """See `Method.groups`: logarithms of how much each view, and all fused, belong to each group."""
        return {name: self.makers["groups"](value)[1].log() for name, value in self._vectors(batch)[0].items()}

    def _vectors(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the vectors (B, H) of the views that the batch has, and of all if it has all; who has which."""
        there = {name: batch.present[name] for name in self.views if name in batch.views}
        vectors: dict[str, Tensor] = {name: self.encoders[name](or_zeros(batch, name)) for name in there}
        if len(vectors) == len(self.views):
            vectors[FUSED] = self.makers["fusion"](list(vectors.values()))
            there[FUSED] = torch.stack(list(there.values())).any(0)
        return vectors, there

    def negatives(self, global_batch: int) -> int | None:
        """Return both vectors of every other sample of the batch; None where instances are not learnt from."""
        return 2 * global_batch - 2 if self.settings.instance_weight else None


def _xavier(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
