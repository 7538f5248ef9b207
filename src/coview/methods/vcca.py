"""VCCA and VCCA-private: a latent variable that one view infers and every view is made of.

W. Wang, Yan, Lee & Livescu, Deep Variational Canonical Correlation Analysis (arXiv 1610.03454). With z inferred from
the FIRST view alone, q(z | x_1) = N(mu, diag sigma^2), and Gaussian likelihoods of deviation s,

    loss = mean_i [ sum_v |x_v - p_v(z)|^2 / (2 s^2) + KL(q(z | x_1) || N(0, I)) ]

squared errors summed, not averaged, over a view's numbers: averaging would make the KL about half their number too
strong. Where a view's whole variance is of the order of s^2 the KL wins, and the latent says nothing (part "kl" near
0). VCCA-private gives every view a latent h_v of its own, inferred from that view, with its own KL; decoders then see
[z, h_v]. Evaluation uses z = mu. The first view is all that is needed to use it; there is no common space to retrieve
in.

Recipe: the paper's was not at hand; Adam at 1e-3 in batches of 200 is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from coview.data.views import Batch, ViewSpec
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, within
from coview.methods.parts.correlation import Fusion, FusionSettings, build_decoder, build_encoder
from coview.methods.recipe import OptimiserSettings
from coview.objectives.paired import squared_error
from coview.objectives.variational import LOG_VARIANCE, draw, gaussian_kl
from coview.parallel import mean_over_world
from coview.randomness import make_key, normal

_LATENT = 0x76636361  # keeps these draws apart from other users of a sample's key


@dataclass(frozen=True, kw_only=True)
class VCCASettings(FusionSettings):
    """Settings of VCCA."""

    private: ClassVar[int] = 0  # dimensions of each view's own latent
    deviation: float = 1.0  # s of the likelihoods, in units of the input; small inputs need a small one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deviation <= 0:
            raise ValueError("deviation must be above 0")


@dataclass(frozen=True, kw_only=True)
class VCCAPrivateSettings(VCCASettings):
    """Settings of VCCA-private."""

    private: int = 10  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.private < 1:
            raise ValueError("private must be at least 1; without private latents, use vcca")


class GaussianEncoder(nn.Module):
    """A network to the mean and log-variance of a Gaussian; called, it yields the mean (B, dim)."""

    def __init__(self, settings: FusionSettings, spec: ViewSpec, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.network = build_encoder(settings, spec, 2 * dim)

    def gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (B, dim), of a view (B, ...)."""
        mean, log_variance = self.network(x).split(self.dim, dim=1)
        return mean, within(log_variance, -LOG_VARIANCE, LOG_VARIANCE)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean (B, dim) of a view (B, ...)."""
        return self.gaussian(x)[0]


class VCCA(Method):
    """The first view's Gaussian encoder, those of private latents if any, and a decoder per view."""

    about = About(
        slug="vcca",
        title="Deep variational CCA",
        paper="Wang, Yan, Lee & Livescu, Deep Variational Canonical Correlation Analysis; arXiv 1610.03454",
        family="correlation",
        state="verified: terms in closed form, the posterior from one view as in the paper; no published values",
    )
    Settings: ClassVar[type[VCCASettings]] = VCCASettings
    settings: VCCASettings
    published = replace(Fusion.published, optimiser=OptimiserSettings(lr=1e-3, weight_decay=0.0), batch_size=200)
    coupling: Coupling = "none"

    def __init__(self, settings: VCCASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        own = settings.private
        first, spec = next(iter(settings.views.items()))
        self.encoders = nn.ModuleDict({first: GaussianEncoder(settings, spec, settings.dimension)})
        self.private = nn.ModuleDict()
        for name, spec in settings.views.items():
            if own:
                self.private[name] = GaussianEncoder(settings, spec, own)
        self.decoders = nn.ModuleDict(
            {name: build_decoder(settings, spec, settings.dimension + own) for name, spec in settings.views.items()}
        )

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have every view; parts: kl (of all latents), each view's error."""
        ((first, encoder),) = self.encoders.items()
        mean, z, divergence = self._infer(encoder, batch, first, 0)
        errors = {}
        for place, (name, decoder) in enumerate(self.decoders.items(), 1):
            code = z
            if name in self.private:
                _, own, more = self._infer(self.private[name], batch, name, place)
                code, divergence = torch.cat([z, own], 1), divergence + more
            error = mean_over_world(squared_error(batch.views[name], decoder(code)))
            errors[name] = error / (2 * self.settings.deviation**2)
        kl = mean_over_world(divergence)
        parts = {"kl": kl.detach(), **detached(errors)}
        return Step(kl + torch.stack(list(errors.values())).sum(), parts, {first: mean.detach()})

    def _infer(self, encoder: nn.Module, batch: Batch, view: str, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, latent (B, dim) and KL (B,); the latent is drawn in training and the mean in evaluation."""
        encoder = cast(GaussianEncoder, encoder)
        mean, log_variance = encoder.gaussian(batch.views[view])
        z = mean
        if self.training:
            noise = normal(make_key(batch.key, _LATENT), place, encoder.dim).to(mean.dtype)
            z = draw(mean, log_variance, noise)
        return mean, z, gaussian_kl(mean, log_variance)


class VCCAPrivate(VCCA):
    """VCCA where each view has a latent of its own beside the shared one."""

    about = About(
        slug="vcca-private",
        title="Deep variational CCA with private latents",
        paper="Wang, Yan, Lee & Livescu, Deep Variational Canonical Correlation Analysis; arXiv 1610.03454",
        family="correlation",
        state="verified: terms in closed form; no published values to compare with",
    )
    Settings = VCCAPrivateSettings
