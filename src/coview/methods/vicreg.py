"""VICReg between any two named views of a recording; `av-vicreg` and `vicreg-video` are the published pairs.

Bardes, Ponce & LeCun 2022 (arXiv 2105.04906). With expanded embeddings x and y, see `coview.objectives.vicreg`:

    loss = 25 invariance(x, y) + 25 (v(x) + v(y)) / 2 + 1 (c(x) + c(y))
"""

from __future__ import annotations

from dataclasses import dataclass

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.parts.towers import TwoViewSettings, build_networks
from coview.objectives.vicreg import vicreg


@dataclass(frozen=True, kw_only=True)
class VICRegSettings(TwoViewSettings):
    """Settings of VICReg over two views."""

    invariance: float = 25.0  # weights of the three parts
    variance: float = 25.0
    covariance: float = 1.0


class VICReg(Method):
    """Two encoders and two expanders; two clips of one recording share one of each."""

    about = About(
        slug="vicreg",
        title="VICReg between any two views",
        paper="Bardes, Ponce & LeCun, VICReg, ICLR 2022; arXiv 2105.04906",
        family="correlation",
        state="verified: objective and gradients equal values of both official codes",
    )
    Settings = VICRegSettings
    settings: VICRegSettings
    coupling: Coupling = "statistics"

    def __init__(self, settings: VICRegSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders, self.projectors = build_networks(settings)

    def forward(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: invariance, variance, covariance, unweighted."""
        batch = complete(batch, self.views)
        if not enough(batch, 2):
            return self.idle()
        x, y = (self.projectors[name](self.encoders[name](batch.views[name])) for name in self.views)
        invariance, variance, covariance = vicreg(x, y)
        weights = self.settings
        loss = weights.invariance * invariance + weights.variance * variance + weights.covariance * covariance
        parts = {"invariance": invariance, "variance": variance, "covariance": covariance}
        first, second = self.views
        embeddings = {first: x.detach(), second: y.detach()}
        return Step(loss, {name: part.detach() for name, part in parts.items()}, embeddings)
