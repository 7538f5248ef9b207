"""NOI: deep canonical correlation in small batches, by nonlinear orthogonal iterations.

W. Wang, Arora, Livescu & Srebro, Stochastic optimization for deep CCA via nonlinear orthogonal iterations, Allerton
2015. Each view's outputs G, centred over the global batch of n samples, have a running second moment

    S <- rho S + (1 - rho) G'G / n

and each view regresses on the other's whitened outputs, which carry no gradient:

    loss = mean_i sum_v |G_vi - G_wi (S_w + r I)^-1/2|^2 / 2

Both views learn in every step. S follows the optimiser step, so that accumulated parts of a batch regress on the same;
it is started at the identity. Because S remembers, batches may be smaller than the dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.parts.correlation import FusionSettings, detached, encoders_and_maps, fit_maps
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


class NOI(Method):
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
    coupling: Coupling = "statistics"

    def __init__(self, settings: NOISettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders, self.projectors = encoders_and_maps(settings)
        self.register_buffer("scatter", torch.eye(settings.dimension, dtype=torch.float64).repeat(2, 1, 1))
        # Second moments that follow from the step's forward passes in training, the newest last.
        self._pending: list[Tensor] = []

    def forward(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: each view's squared error."""
        batch = complete(batch, self.views)
        if not enough(batch, 2):
            return self.idle()
        outputs = {name: encoder(batch.views[name]) for name, encoder in self.encoders.items()}
        rho, scatter = self.settings.rho, self._pending[-1] if self._pending else self.get_buffer("scatter")
        scatter = torch.stack([update_scatter(s, g, rho) for s, g in zip(scatter, outputs.values(), strict=True)])
        if self.training:
            self._pending.append(scatter)
        targets = [whitened_targets(g, s, self.settings.ridge) for g, s in zip(outputs.values(), scatter, strict=True)]
        errors = {}
        for (name, g), target in zip(outputs.items(), reversed(targets), strict=True):
            wide = g.to(target.dtype)
            _, mean, _ = reduced_moments(wide)
            errors[name] = mean_over_world((wide - mean - target).square().sum(1))
        parts = {name: error.detach() for name, error in errors.items()}
        return Step(torch.stack(list(errors.values())).sum() / 2, parts, detached(outputs))

    def after_step(self) -> None:
        """Keep the second moments that the step's forward passes led to."""
        if self._pending:
            self.get_buffer("scatter").copy_(self._pending[-1])
        self._pending.clear()

    def finish(self, embed: Any) -> None:
        """Fit the linear maps into the common space."""
        fit_maps(self, embed, self.settings.ridge)
