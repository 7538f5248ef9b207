"""DCCA: deep canonical correlation analysis.

Andrew, Arora, Bilmes & Livescu, ICML 2013; W. Wang et al., On Deep Multi-View Representation Learning, ICML 2015. With
the outputs H_v of one network per view and their covariances over the global batch, ridge r on those within a view:

    loss = - sum over pairs of views of the k largest singular values of C_vv^-1/2 C_vw C_ww^-1/2

summed over all of them by default; see `coview.objectives.total_correlation` for the derivative. It sees nothing but
correlation, so any invertible map of the outputs is as good: after training, linear CCA on the outputs of the whole
collection yields the common space. More than two views are a sum over pairs here; `dgcca` has one shared space.

Recipe: three hidden layers of 1024 units, 10 outputs, batches of 800, r = 1e-4, 50 epochs; from memory: sigmoid units,
SGD with momentum 0.99, weight decay 1e-4. The rate of 0.01 is ours; ports of the code take RMSprop at 1e-3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coview.data.views import Batch
from coview.methods.contract import About, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings, pairs
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


class DCCA(Fusion):
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

    def learn(self, batch: Batch) -> Step:
        """Return minus the total correlation of the samples that have every view; part: correlation, per pair."""
        outputs = self.outputs(batch)
        ridge = (self.settings.ridge, self.settings.ridge)
        correlations = torch.stack(
            [total_correlation(x, y, ridge, self.settings.components) for x, y in pairs(outputs)]
        )
        return Step(-correlations.sum(), {"correlation": correlations.mean().detach()}, detached(outputs))
