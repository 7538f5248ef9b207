"""DGCCA: deep generalised canonical correlation analysis, one space for any number of views.

Benton, Khayrallah, Gujral, Reisinger, Zhang & Arora, arXiv 1702.02519. With the outputs of one network per view over
the global batch and P_v the projection onto view v's outputs, ridge r within a view:

    loss = - sum of the k largest eigenvalues of sum_v P_v

Each eigenvalue is at most the number of views; with two views and all dimensions the loss is that of `dcca` minus k.
See `coview.objectives.generalised_correlation`; no matrix of the batch's size is formed.

Recipe: that of `dcca`; the paper's own was not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from coview.data.views import Batch
from coview.methods.contract import About, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings
from coview.objectives.generalised_correlation import generalised_correlation


@dataclass(frozen=True, kw_only=True)
class DGCCASettings(FusionSettings):
    """Settings of DGCCA."""

    ridge: float = 1e-4  # r, on the covariances of the outputs, here and in the final linear analysis
    components: int | None = None  # k; None: dimension

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ridge <= 0 or (self.components is not None and not 1 <= self.components <= self.dimension):
            raise ValueError("dgcca needs ridge > 0 and components between 1 and dimension")


class DGCCA(Fusion):
    """A network per view, and the linear map that is fitted behind each at the end."""

    about = About(
        slug="dgcca",
        title="Deep generalised canonical correlation analysis",
        paper="Benton et al., Deep Generalized Canonical Correlation Analysis; arXiv 1702.02519",
        family="correlation",
        state="verified: loss and gradients of three views equal cca-zoo's to 1e-10",
    )
    Settings = DGCCASettings
    settings: DGCCASettings

    def learn(self, batch: Batch) -> Step:
        """Return minus the shared variance of the samples that have every view; part: shared, per component."""
        outputs = self.outputs(batch)
        components = self.settings.components or self.settings.dimension
        shared = generalised_correlation(list(outputs.values()), self.settings.ridge, components)
        return Step(-shared, {"shared": shared.detach() / components}, detached(outputs))
