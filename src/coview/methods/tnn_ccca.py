"""TNN-C-CCA: cluster-CCA of two views, then a small shared network trained on triplets across them.

Zeng, Yu & Oyama, Deep Triplet Neural Networks with Cluster-CCA for Audio-Visual Cross-Modal Retrieval (TOMM 2020, arXiv
1908.03737). First, in closed form and before the first step, linear cluster-CCA of the labelled samples (beta mixes
pairs in); its maps stay. Then both views go through ONE network of tanh layers with dropout and a sigmoid at the end:

    loss = mean over anchors of both views of max(0, margin + furthest of the class - nearest of another class)

with distances 1 - cosine to the other view's samples of the global batch. A reconstruction: the released scripts hold
several ways of choosing triplets; the hardest ones are taken here.

Published recipe: 10 components, layers 300, 300, 300, 10, dropout 0.1, margin 0.4, Adam at 1e-4, batches of 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self, cast

import torch
from torch import nn

from coview.correlation.cluster import ClusterCCA
from coview.data.augment import PRESETS
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.encoders import Head
from coview.encoders.features import FittedMap, perceptron
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, detached
from coview.methods.parts.correlation import FusionSettings
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.triplet import hardest_triplets
from coview.parallel import gather, mean_over_world


def _features() -> dict[str, ViewSpec]:
    return {"video": FeaturesView(dim=1024), "audio": FeaturesView(dim=128)}


@dataclass(frozen=True, kw_only=True)
class TNNSettings(FusionSettings):
    """Settings of TNN-C-CCA; `hidden` is the shared network's, `dimension` that of both stages.

    The views are as wide as the paper's features.
    """

    views: dict[str, ViewSpec] = field(default_factory=_features)
    hidden: tuple[int, ...] = (300, 300, 300)
    beta: float = 0.0  # weight of pairs against classes in the first stage
    ridge: float = 1e-4  # of the first stage's covariances
    dropout: float = 0.1  # in the shared network
    margin: float = 0.4  # of cosine distances

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.views) != 2 or not 0 <= self.beta <= 1 or self.ridge <= 0:
            raise ValueError("tnn-c-cca needs exactly two views, beta from 0 to 1 and ridge > 0")
        if not 0 <= self.dropout < 1 or self.margin <= 0:
            raise ValueError("tnn-c-cca needs dropout from 0 to below 1 and margin > 0")
        if any(len(spec.shape) != 1 for spec in self.views.values()):
            raise ValueError("tnn-c-cca starts from linear maps: its views are feature vectors")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: two short feature vectors, no dropout."""
        return replace(super().tiny(), dropout=0.0)


class TNNCCCA(Method):
    """Linear maps fitted before training, and the shared network behind them."""

    about = About(
        slug="tnn-c-cca",
        title="Triplet network on cluster-CCA",
        paper="Zeng, Yu & Oyama, TOMM 2020; arXiv 1908.03737",
        family="correlation",
        state="reconstruction: cluster-CCA verified; which triplets the paper takes is uncertain, here the hardest",
    )
    Settings = TNNSettings
    settings: TNNSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=0.0),
        schedule=ScheduleSettings(kind="constant"),
        augment=PRESETS["none"],
    )
    coupling: Coupling = "negatives"
    labelled = True
    least_batch = 2
    least_classes = 2

    def __init__(self, settings: TNNSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        maps = {name: FittedMap(spec.shape[0], settings.dimension) for name, spec in self.views.items()}
        self.encoders = nn.ModuleDict(maps)
        layers = list(perceptron((settings.dimension, *settings.hidden, settings.dimension), "tanh"))
        with_dropout = [nn.Sequential(layer, nn.Dropout(settings.dropout)) for layer in layers[1:-1:2]]
        layers[1:-1:2] = with_dropout
        shared = Head(settings.dimension, *layers, nn.Sigmoid())
        self.projectors = nn.ModuleDict(dict.fromkeys(self.views, shared))

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Fit cluster-CCA on the labelled samples of the first epoch, of all processes."""
        chosen = [complete(batch, self.views, labelled=True) for batch in samples]
        label = torch.cat([gather(batch.label) for batch in chosen])
        views = [torch.cat([gather(batch.views[name]) for batch in chosen]) for name in self.views]
        if len(label) == 0 or bool((label == label[0]).all()):
            raise UsageError(f"cluster-CCA needs labelled samples of two classes or more, found {len(label)} samples")
        estimator = ClusterCCA(self.settings.dimension, beta=self.settings.beta, ridge=self.settings.ridge)
        estimator.fit(views, label.cpu())
        for name, mean, weight in zip(self.views, estimator.means_, estimator.weights_, strict=True):
            cast(FittedMap, self.encoders[name]).set(torch.from_numpy(mean), torch.from_numpy(weight))

    def learn(self, batch: Batch) -> Step:
        """Return the triplet loss of the labelled samples with both views; parts: that of each view's anchors."""
        outputs = {name: self.projectors[name](self.encoders[name](batch.views[name])) for name in self.views}
        (first, x), (second, y) = outputs.items()
        losses = {
            first: mean_over_world(hardest_triplets(x, y, batch.label, self.settings.margin)),
            second: mean_over_world(hardest_triplets(y, x, batch.label, self.settings.margin)),
        }
        loss = torch.stack(list(losses.values())).mean()
        return Step(loss, detached(losses), detached(outputs))
