"""VAE-CCA: two variational autoencoders through one shared trunk, whose latents agree by pair and by class.

J. Zhang, Yu, Tang, Wu & Li, Variational Autoencoder with CCA for Audio-Visual Cross-Modal Retrieval (TOMM 2023, arXiv
2112.02601). Each view has a first layer and an output layer of its own; the trunk, mean, log-variance, classifier and
decoder between are shared. With latents z drawn around the means mu (in evaluation z = mu), the labelled samples i of
the global batch and the weights of the settings,

    loss = vae + label + correlation + distance + centre
    vae          sum_v mean_i [ |x_vi - reconstruction|^2 / numbers in x_v + KL ]
    label        sum_v mean_i |classifier(z_vi) - one-hot|          a length, not squared
    distance     mean_i |z_1i - z_2i|
    centre       mean_v mean_i |z_vi - centre of its class|^2 / (4 n_c)
    correlation  variant "cca": minus the total correlation of mu_1 and mu_2, over pairs and over classes, a dimension;
                 variant "published-code": a pairwise likelihood on Pearson correlations across features, in which no
                 covariance occurs (see `coview.objectives.vae_cca`)

The paper describes spaces built by CCA, the released code has none: the default is what the paper describes, and a
reconstruction. `as_released` returns the rest of the code's behaviour: the KL summed over the batch, so that its weight
grows with it, and centres that are drawn afresh in every step instead of following the classes' running means.

Published recipe: hidden 512, latent 64, Adam at 1e-4 with betas (0.5, 0.999), batches of 128, 500 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from coview.data.augment import PRESETS
from coview.data.views import Batch
from coview.encoders.features import FeatureDecoder, Unchanged
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, detached, within
from coview.methods.parts.correlation import FusionSettings, build_encoder, enough_to_correlate
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.paired import squared_error
from coview.objectives.total_correlation import canonical_sum, class_covariance, covariances
from coview.objectives.vae_cca import centre_distance, label_distance, length, pairwise_likelihood
from coview.objectives.variational import LOG_VARIANCE, draw, gaussian_kl
from coview.parallel import gather, mean_over_world, row_counts
from coview.randomness import make_key, normal

_LATENT, _CENTRES = 0x76616531, 0x76616532  # keep these draws apart from other users of a sample's key


@dataclass(frozen=True, kw_only=True)
class VAECCASettings(FusionSettings):
    """Settings of VAE-CCA; the weights are those of the published run, except that of the CCA term."""

    hidden: tuple[int, ...] = (512,)  # of each view's own layers, before the trunk; the last is what the trunk sees
    dimension: int = 64  # of the latents
    # the correlation term of CCA, or the likelihood that the published code has
    variant: Literal["cca", "published-code"] = "cca"
    as_released: bool = False  # KL as a sum over the batch, centres drawn afresh; with variant published-code
    vae: float = 1e-4  # weight of the divergence from the prior
    label: float = 1.0  # weight of the classification
    likelihood: float = 1e-3  # of the correlation term in variant published-code
    cca: float = 0.1  # of the correlation term in variant cca
    distance: float = 0.1  # weight of the distances between labels
    centre: float = 0.01  # weight of the distances to the classes' centres
    momentum: float = 0.9  # of the classes' centres
    ridge: float = 1e-4  # of the CCA term

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.views) != 2 or not self.hidden:
            raise ValueError("vae-cca needs exactly two views and at least one hidden layer")
        if self.as_released and self.variant != "published-code":
            raise ValueError("as_released belongs to variant published-code")
        if not 0 <= self.momentum < 1 or self.ridge <= 0:
            raise ValueError("vae-cca needs momentum from 0 to below 1 and ridge > 0")


class Trunk(nn.Module):
    """What both views share: `hidden` numbers to a Gaussian, and from its latent to a class and back to `hidden`."""

    def __init__(self, hidden: int, dim: int, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(hidden, dim)
        self.mean = nn.Linear(dim, dim)
        self.log_variance = nn.Linear(dim, dim)
        self.classifier = nn.Linear(dim, classes)
        self.decoder = nn.Linear(dim, hidden)


class LatentEncoder(nn.Module):
    """A view's own layers and the shared trunk; called, it yields the mean (B, dim)."""

    def __init__(self, own: nn.Module, shared: Trunk, dim: int) -> None:
        super().__init__()
        self.own, self.shared, self.dim = own, shared, dim

    def gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (B, dim), of a view (B, ...)."""
        code = self.shared.trunk(torch.relu(self.own(x)))
        return self.shared.mean(code), within(self.shared.log_variance(code), -LOG_VARIANCE, LOG_VARIANCE)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean (B, dim) of a view (B, ...)."""
        return self.gaussian(x)[0]


class VAECCA(Method):
    """Two latent encoders over one trunk, an output layer per view, and the classes' centres."""

    about = About(
        slug="vae-cca",
        title="Variational autoencoder with CCA for retrieval",
        paper="Zhang, Yu, Tang, Wu & Li, TOMM 2023; arXiv 2112.02601",
        family="correlation",
        state="verified: network, terms and gradients of the released code to 1e-10; its CCA term is a reconstruction",
    )
    Settings = VAECCASettings
    settings: VAECCASettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=0.0, betas=(0.5, 0.999)),
        schedule=ScheduleSettings(kind="constant"),
        augment=PRESETS["none"],
        batch_size=128,
        epochs=500,
    )
    coupling: Coupling = "statistics"
    labelled = True
    least_classes = 2

    def __init__(self, settings: VAECCASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        if settings.variant == "cca":
            self.least_batch = 2 * settings.dimension
        before, wide = settings.hidden[:-1], settings.hidden[-1]
        shared = Trunk(wide, settings.dimension, facts.classes)
        self.encoders, self.outputs = nn.ModuleDict(), nn.ModuleDict()
        for name, spec in settings.views.items():
            layers = build_encoder(settings, spec, wide, before)
            self.encoders[name] = LatentEncoder(layers, shared, settings.dimension)
            self.outputs[name] = FeatureDecoder(wide, before[::-1], spec.shape, settings.activation)
        self.shared = shared
        self.projectors = nn.ModuleDict({name: Unchanged(settings.dimension) for name in self.views})
        self.register_buffer("centres", torch.zeros(facts.classes, settings.dimension))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the labelled samples with both views; parts: the five terms, weighted."""
        settings = self.settings
        means, latents, vae = [], [], []
        for place, name in enumerate(self.views):
            encoder = cast(LatentEncoder, self.encoders[name])
            mean, log_variance = encoder.gaussian(batch.views[name])
            noise = normal(make_key(batch.key, _LATENT), place, encoder.dim).to(mean.dtype)
            means.append(mean)
            latents.append(draw(mean, log_variance, noise) if self.training else mean)
            rebuilt = self.outputs[name](self.shared.decoder(latents[-1]))
            error = squared_error(batch.views[name], rebuilt) / prod(rebuilt.shape[1:])
            kl = gaussian_kl(mean, log_variance)
            vae.append(error + kl * sum(row_counts(kl)) if settings.as_released else error + kl)
        first, second = latents
        scores = [label_distance(self.shared.classifier(z), batch.label) for z in latents]
        centres = self._fresh_centres(batch) if settings.as_released else self.get_buffer("centres")
        pull = [centre_distance(z, batch.label, centres.to(z.dtype)) for z in latents]
        terms = {
            "vae": settings.vae * mean_over_world(torch.stack(vae).sum(0)),
            "label": settings.label * mean_over_world(torch.stack(scores).sum(0)),
            "distance": settings.distance * mean_over_world(length(first - second)),
            "centre": settings.centre * mean_over_world(torch.stack(pull).mean(0)),
        }
        if settings.variant == "cca":
            terms["correlation"] = -settings.cca * self._correlation(means[0], means[1], batch.label)
        else:
            likelihood = pairwise_likelihood(first, second, batch.label)
            terms["correlation"] = settings.likelihood * mean_over_world(likelihood)
        if not settings.as_released:
            self.later(torch.cat([z.detach().to(centres) for z in latents]), batch.label.repeat(2))
        embeddings = dict(zip(self.views, means, strict=True))
        return Step(torch.stack(list(terms.values())).sum(), detached(terms), detached(embeddings))

    def usable(self, batch: Batch) -> Batch | None:
        """Return the complete samples with labels; of too few to correlate, see `enough_to_correlate`."""
        if self.settings.variant != "cca":
            return super().usable(batch)
        batch = complete(batch, self.views, labelled=True)
        return batch if enough_to_correlate(batch, self.least_batch) else None

    def _correlation(self, x: Tensor, y: Tensor, label: Tensor) -> Tensor:
        """Return the mean singular value over pairs plus that over classes, of the latents' means."""
        with torch.autocast(x.device.type, enabled=False):
            wide_x, wide_y, ridge = x.double(), y.double(), self.settings.ridge
            c11, c12, c22 = covariances(wide_x, wide_y, (ridge, ridge))
            classes = class_covariance(wide_x, wide_y, label, self.facts.classes)
            total = canonical_sum(c11, c12, c22) + canonical_sum(c11, classes, c22)
        return (total / self.settings.dimension).to(x.dtype if x.dtype == torch.float64 else torch.float32)

    def _fresh_centres(self, batch: Batch) -> Tensor:
        """Draw centres anew, the same on every process: shrinkage towards random points."""
        key = make_key(gather(batch.key).sum(), _CENTRES)
        return normal(key, 0, self.facts.classes, self.settings.dimension)

    def take_in(self, z: Tensor, label: Tensor) -> None:
        """Move the centre of every class of the step towards its mean; a class not seen before starts at it."""
        centres, everyone = self.get_buffer("centres"), gather(z)
        member = one_hot(gather(label), self.facts.classes).to(everyone)
        counts = member.sum(0)[:, None]
        means = member.T @ everyone / counts.clamp(min=1)
        keep = self.settings.momentum * centres.any(1, keepdim=True)
        centres.copy_(torch.where(counts > 0, keep * centres + (1 - keep) * means, centres))
