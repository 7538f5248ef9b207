"""DCCAE, CorrAE and DistAE: two autoencoders whose codes agree, in three senses of agreement.

W. Wang, Arora, Livescu & Bilmes, On Deep Multi-View Representation Learning, ICML 2015. With encoders f_v, decoders p_v
and H_v = f_v(x_v) over the global batch,

    loss = agreement + lambda mean_i sum_v |x_vi - p_v(f_v(x_vi))|^2        squared errors summed over a view's numbers

    dccae    agreement = - total correlation of the codes (see `dcca`), uncorrelated within a view
    corrae   agreement = - sum_j corr(dimension j, dimension j): unit variance only, so that dimensions may be copies
    distae   agreement = mean_i |f(x_i) - g(y_i)|^2 / (|f(x_i)|^2 + |g(y_i)|^2), unconstrained, for any batch: DistAE-1

The second and third are the paper's controls of the first. More than two views: agreement is the sum over pairs. The
paper draws its second stream of small batches for the reconstruction; here both terms see the same batch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings, build_decoder, pairs
from coview.objectives.paired import paired_correlation, relative_distance, squared_error
from coview.objectives.total_correlation import total_correlation
from coview.parallel import mean_over_world

_PAPER = "Wang, Arora, Livescu & Bilmes, On Deep Multi-View Representation Learning, ICML 2015"


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(FusionSettings):
    """Settings of DCCAE, CorrAE and DistAE."""

    reconstruction: float = 1e-3  # lambda, per squared unit of the input
    ridge: float = 1e-4  # r, on the covariances of the codes, here and in the final linear analysis

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ridge <= 0 or self.reconstruction <= 0:
            raise ValueError("an autoencoder of views needs ridge > 0 and reconstruction > 0 (without it, use dcca)")


class Autoencoders(Fusion, base=True):
    """Encoders, decoders and the final linear maps; what agreement means is the subclass's."""

    Settings = AutoencoderSettings
    settings: AutoencoderSettings

    def __init__(self, settings: AutoencoderSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        decoders = {name: build_decoder(settings, spec, settings.dimension) for name, spec in self.views.items()}
        self.decoders = nn.ModuleDict(decoders)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have every view; parts: agreement and reconstruction, unweighted."""
        outputs = self.outputs(batch)
        agreement = torch.stack([self.agreement(x, y) for x, y in pairs(outputs)]).sum()
        errors = [squared_error(batch.views[name], self.decoders[name](code)) for name, code in outputs.items()]
        reconstruction = mean_over_world(torch.stack(errors).sum(0))
        parts = {"agreement": agreement.detach(), "reconstruction": reconstruction.detach()}
        return Step(agreement + self.settings.reconstruction * reconstruction, parts, detached(outputs))

    @abstractmethod
    def agreement(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the agreement term of two views' codes (N_r, D)."""


class DCCAE(Autoencoders):
    """Agreement is total correlation."""

    about = About(
        slug="dccae",
        title="Deep canonically correlated autoencoders",
        paper=_PAPER,
        family="correlation",
        state="verified: correlation term to 1e-10; reconstruction from one batch with it, where the paper draws two",
    )

    def agreement(self, x: Tensor, y: Tensor) -> Tensor:
        """Return minus the total correlation."""
        return -total_correlation(x, y, (self.settings.ridge, self.settings.ridge))


class CorrAE(Autoencoders):
    """Agreement is the correlation of each dimension with its own partner."""

    about = About(
        slug="corrae",
        title="Correlated autoencoders",
        paper=_PAPER,
        family="correlation",
        state="verified: correlation term to 1e-9; copies within a view as the paper's control shows them",
    )
    whitens = False

    def agreement(self, x: Tensor, y: Tensor) -> Tensor:
        """Return minus the sum of the dimensions' correlations."""
        return -paired_correlation(x, y)


class DistAE(Autoencoders):
    """Agreement is closeness relative to length."""

    about = About(
        slug="distae",
        title="Minimum-distance autoencoders (DistAE-1)",
        paper=_PAPER,
        family="correlation",
        state="verified: distance term and gradients to 1e-10; DistAE-2, whose form is uncertain, is absent",
    )
    coupling: Coupling = "none"
    whitens = False

    def agreement(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean relative distance."""
        return relative_distance(x, y)
