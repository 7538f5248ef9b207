"""NOI: deep canonical correlation in small batches, by nonlinear orthogonal iterations.

W. Wang, Arora, Livescu & Srebro, Stochastic optimization for deep CCA via nonlinear orthogonal iterations, Allerton
2015. Each view's outputs G, centred over the global batch of n samples, have a running second moment

    S <- rho S + (1 - rho) G'G / n

and each view regresses on the other's whitened outputs, which carry no gradient:

    loss = mean_i sum_v |G_vi - G_wi (S_w + r I)^-1/2|^2 / 2

Both views learn in every step. S follows the optimiser step, so that accumulated parts of a batch regress on the same;
it is started at the identity. Because S remembers, batches may be smaller than the dimension.

Recipe: that of `dcca` in batches of 100; its rate and decay are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coview.data.views import Batch
from coview.methods.contract import About, Facts, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings
from coview.objectives.orthogonal_iterations import update_scatter, whitened_targets
from coview.parallel import mean_over_world, reduced_moments


@dataclass(frozen=True, kw_only=True)
class NOISettings(FusionSettings):
    """Settings of NOI."""

    rho: float = 0.99  # share of the old second moment that is kept
    ridge: float = 1e-4  # r

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.views) != 2 or not 0 <= self.rho < 1 or self.ridge <= 0:
            raise ValueError("noi needs exactly two views, rho from 0 to below 1 and ridge > 0")


class NOI(Fusion):
    """A network per view, its outputs' running second moment, and the linear map fitted at the end."""

    about = About(
        slug="noi",
        title="Nonlinear orthogonal iterations for deep CCA",
        paper="Wang, Arora, Livescu & Srebro, Allerton 2015",
        family="correlation",
        state="verified: three steps equal an independent computation to 1e-9",
    )
    Settings = NOISettings
    settings: NOISettings
    whitens = False  # the second moments remember
    published = replace(Fusion.published, batch_size=100)

    def __init__(self, settings: NOISettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.register_buffer("scatter", torch.eye(settings.dimension, dtype=torch.float64).repeat(2, 1, 1))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: each view's squared error."""
        outputs = self.outputs(batch)
        rho, scatter = self.settings.rho, self.waiting[-1][0] if self.waiting else self.get_buffer("scatter")
        scatter = torch.stack([update_scatter(s, g, rho) for s, g in zip(scatter, outputs.values(), strict=True)])
        self.later(scatter)
        targets = [whitened_targets(g, s, self.settings.ridge) for g, s in zip(outputs.values(), scatter, strict=True)]
        errors = {}
        for (name, g), target in zip(outputs.items(), reversed(targets), strict=True):
            wide = g.to(target.dtype)
            _, mean, _ = reduced_moments(wide)
            errors[name] = mean_over_world((wide - mean - target).square().sum(1))
        parts = {name: error.detach() for name, error in errors.items()}
        return Step(torch.stack(list(errors.values())).sum() / 2, parts, detached(outputs))

    def take_in(self, scatter: Tensor) -> None:
        """Keep the second moments that a forward pass led to."""
        self.get_buffer("scatter").copy_(scatter)
