"""Supervised deep CCA: a recording is correlated with every recording of its class, not with its partner alone.

Zeng, Yu & Oyama, Audio-Visual Embedding for Cross-Modal Music Video Retrieval through Supervised Deep CCA (ISM 2018,
arXiv 1908.03744), after cluster-CCA (Rasiwasia et al., AISTATS 2014). Over the labelled samples of the global batch,

    C12  = beta C12 of pairs + (1 - beta) C12 of all pairs of one class;   C11, C22 as in `dcca`
    loss = - sum of the k largest singular values of C11^-1/2 C12 C22^-1/2

beta = 1 is `dcca`; beta = 0 does not see who is whose partner within a class. With beta < 1 the singular values are no
correlations: the part "correlation" is the real one, over pairs. After training, linear CCA of the same mixture,
fitted on the outputs of the labelled recordings, yields the common space.

Published recipe: three layers of 100 sigmoid units with dropout 0.2 after batch normalisation of the input, 10
components, r = 1e-4, beta = 0.2, RMSprop at 1e-3 (here Adam, its kin), batches of 200 to 500, 10 to 100 epochs. The
paper's music branch reads its chunks by an attention LSTM; here the views are vectors, and dropout and normalisation
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from coview.correlation.cluster import ClusterCCA
from coview.data.augment import PRESETS
from coview.data.views import Batch
from coview.encoders.features import FittedMap
from coview.methods.contract import About, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.total_correlation import canonical_sum, class_covariance, covariances


@dataclass(frozen=True, kw_only=True)
class SupervisedDCCASettings(FusionSettings):
    """Settings of supervised deep CCA."""

    beta: float = 0.2  # weight of pairs against classes
    ridge: float = 1e-4  # r, on the covariances of the outputs, here and in the final linear analysis
    components: int | None = None  # k, singular values that are summed; None: all

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.views) != 2 or not 0 <= self.beta <= 1 or self.ridge <= 0:
            raise ValueError("supervised-dcca needs exactly two views, beta from 0 to 1 and ridge > 0")
        if self.components is not None and not 1 <= self.components <= self.dimension:
            raise ValueError("components is between 1 and dimension")


class SupervisedDCCA(Fusion):
    """A network per view, and the linear map that is fitted behind each at the end."""

    about = About(
        slug="supervised-dcca",
        title="Supervised deep CCA, with cluster-CCA's targets",
        paper="Zeng, Yu & Oyama, ISM 2018; arXiv 1908.03744",
        family="correlation",
        state="verified: loss and gradients to 1e-9; the attention LSTM of the paper is absent",
    )
    Settings = SupervisedDCCASettings
    settings: SupervisedDCCASettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-3, weight_decay=0.0),
        schedule=ScheduleSettings(kind="constant"),
        augment=PRESETS["none"],
        batch_size=200,
        epochs=100,
    )
    labelled = True
    least_classes = 1

    def learn(self, batch: Batch) -> Step:
        """Return minus the mixed singular values of labelled samples with both views; part: correlation of pairs."""
        outputs = self.outputs(batch)
        x, y = outputs.values()
        beta, ridge = self.settings.beta, self.settings.ridge
        with torch.autocast(x.device.type, enabled=False):
            wide_x, wide_y = x.double(), y.double()
            c11, pairs, c22 = covariances(wide_x, wide_y, (ridge, ridge))
            classes = class_covariance(wide_x, wide_y, batch.label, self.facts.classes)
            total = canonical_sum(c11, beta * pairs + (1 - beta) * classes, c22, self.settings.components)
            correlation = canonical_sum(c11.detach(), pairs.detach(), c22.detach())
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        return Step(-total.to(kind), {"correlation": correlation.to(kind)}, detached(outputs))

    def finish(self, embed: Any) -> None:
        """Fit the linear maps into the common space, on the labelled recordings that have both views."""
        features = embed("backbone")
        first, second = self.projectors
        used = (features.labels >= 0) & features.present[first] & features.present[second]
        estimator = ClusterCCA(self.settings.dimension, beta=self.settings.beta, ridge=self.settings.ridge)
        estimator.fit([features.values[name][used] for name in (first, second)], features.labels[used])
        for name, mean, weight in zip((first, second), estimator.means_, estimator.weights_, strict=True):
            cast(FittedMap, self.projectors[name]).set(torch.from_numpy(mean), torch.from_numpy(weight))
