"""DCCA: deep canonical correlation analysis.

Andrew, Arora, Bilmes & Livescu, ICML 2013; W. Wang et al., On Deep Multi-View Representation Learning, ICML 2015. With
the outputs H_v of one network per view and their covariances over the global batch, ridge r on those within a view:

    loss = - sum over pairs of views of the k largest singular values of C_vv^-1/2 C_vw C_ww^-1/2

summed over all of them by default; see `coview.objectives.total_correlation` for the derivative. It sees nothing but
correlation, so any invertible map of the outputs is as good: after training, linear CCA on the outputs of the whole
collection yields the common space. More than two views are a sum over pairs here; `dgcca` has one shared space.

Published recipe: three hidden layers of 1024 sigmoid units, 10 outputs, batches of 800, SGD with momentum 0.99 or
RMSprop at 1e-3, r = 1e-4, weight decay 1e-4 to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete
from coview.methods.parts.correlation import FusionSettings, detached, encoders_and_maps, enough_for, fit_maps, pairs
from coview.objectives.total_correlation import total_correlation


@dataclass(frozen=True, kw_only=True)
class DCCASettings(FusionSettings):
    """Settings of DCCA."""

    ridge: float = 1e-4  # r, on the covariances of the outputs, here and in the final linear analysis
    components: int | None = None  # k, singular values that are summed; None: all

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ridge <= 0 or (self.components is not None and not 1 <= self.components <= self.dimension):
            raise ValueError("dcca needs ridge > 0 and components between 1 and dimension")


class DCCA(Method):
    """A network per view, and the linear map that is fitted behind each at the end."""

    about = About(
        slug="dcca",
        title="Deep canonical correlation analysis",
        paper="Andrew, Arora, Bilmes & Livescu, ICML 2013; Wang, Arora, Livescu & Bilmes, ICML 2015",
        family="correlation",
        state="verified: loss and gradients equal an independent computation to 1e-10, published mistakes are excluded",
    )
    Settings = DCCASettings
    settings: DCCASettings
    coupling: Coupling = "statistics"

    def __init__(self, settings: DCCASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.least_batch = 2 * settings.dimension
        self.encoders, self.projectors = encoders_and_maps(settings)

    def forward(self, batch: Batch) -> Step:
        """Return minus the total correlation of the samples that have every view; part: correlation, per pair."""
        batch = complete(batch, self.views)
        if not enough_for(batch, self.settings.dimension):
            return self.idle()
        outputs = {name: encoder(batch.views[name]) for name, encoder in self.encoders.items()}
        ridge = (self.settings.ridge, self.settings.ridge)
        correlations = torch.stack(
            [total_correlation(x, y, ridge, self.settings.components) for x, y in pairs(outputs)]
        )
        return Step(-correlations.sum(), {"correlation": correlations.mean().detach()}, detached(outputs))

    def finish(self, embed: Any) -> None:
        """Fit the linear maps into the common space."""
        fit_maps(self, embed, self.settings.ridge)
