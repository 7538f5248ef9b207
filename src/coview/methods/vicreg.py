"""VICReg between any two views, without negatives; `av-vicreg` and `vicreg-video` are the published pairs.

Bardes, Ponce & LeCun 2022 (arXiv 2105.04906), used on picture and sound and on two clips in AV-SSRL (K. Vilouras). With
x and y the expanded embeddings of the two views over the N samples of all processes:

    loss = 25 invariance(x, y) + 25 (v(x) + v(y)) / 2 + 1 (c(x) + c(y)),   see `coview.objectives.vicreg`

Gradients flow into both views; two clips of one recording go through one encoder and one expander. The released code
fixes N as a setting and computes the loss in float16 where mixed precision is on; here N is counted and the loss is
float32. It has no released behaviour worth reproducing otherwise.

Published recipe of AV-SSRL: Adam at 5e-4 with decay 1e-6 on everything, times 0.9 every 10 of 100 epochs, global batch
32, five clips of each recording an epoch. At 32 the covariance of 4096 dimensions has rank 31 at most: prefer larger
batches or a smaller `embedding`. The paper's own recipe is for two crops of a picture: LARS, batch 2048, 1000 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.towers import TwoViews, TwoViewSettings, ViewName, encoders_of, heads_of
from coview.methods.recipe import OptimiserSettings, Recipe
from coview.objectives.vicreg import vicreg

_PAPER = "Bardes, Ponce & LeCun, VICReg, ICLR 2022; arXiv 2105.04906"
_STATE = "verified: objective and gradients equal values of both official codes"


@dataclass(frozen=True, kw_only=True)
class VICRegSettings(TwoViewSettings):
    """Settings of VICReg over two views."""

    invariance: float = 25.0  # weight of the squared distances
    variance: float = 25.0  # weight of the hinge on deviations
    covariance: float = 1.0  # weight of the squared covariances


@dataclass(frozen=True, kw_only=True)
class AVVICRegSettings(VICRegSettings):
    """Settings of AV-VICReg; the defaults are the released ones."""

    hidden: tuple[int, ...] = (4096, 4096)
    embedding: int = 4096  # length of the vectors that are compared

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return replace(super().tiny(), embedding=128)


@dataclass(frozen=True, kw_only=True)
class VICRegVideoSettings(AVVICRegSettings):
    """Settings of VICReg-Video; the defaults are the released ones."""

    views: tuple[ViewName, ViewName] = ("video", "video_later")  # a clip and a later one


class VICReg(TwoViews):
    """Two encoders and two expanders; two clips of one recording share one of each."""

    about = About(slug="vicreg", title="VICReg between any two views", paper=_PAPER, family="correlation", state=_STATE)
    Settings = VICRegSettings
    settings: VICRegSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=5e-4, weight_decay=1e-6, decay="everything"), clips_per_recording=5
    )
    coupling: Coupling = "statistics"

    def __init__(self, settings: VICRegSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders = encoders_of(settings, self.views)
        self.projectors = heads_of(settings, self.encoders, batchnorm=settings.head_batchnorm)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: invariance, variance, covariance, unweighted."""
        z, weights = self.embed_both(batch), self.settings
        invariance, variance, covariance = vicreg(*z.values())
        loss = weights.invariance * invariance + weights.variance * variance + weights.covariance * covariance
        parts = {"invariance": invariance, "variance": variance, "covariance": covariance}
        return Step(loss, detached(parts), detached(z))


class AVVICReg(VICReg):
    """VICReg of picture and sound."""

    about = About(
        slug="av-vicreg", title="VICReg across video and audio", paper=_PAPER, family="correlation", state=_STATE
    )
    Settings = AVVICRegSettings


class VICRegVideo(VICReg):
    """VICReg of two clips, 2 to 8 seconds apart."""

    about = About(
        slug="vicreg-video", title="VICReg on two clips of one video", paper=_PAPER, family="correlation", state=_STATE
    )
    Settings = VICRegVideoSettings
