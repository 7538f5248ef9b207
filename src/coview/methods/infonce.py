"""InfoNCE in the batch between any two named views of a recording.

van den Oord, Li & Vinyals 2018 (arXiv 1807.03748); symmetric and with a learned temperature as in CLIP (Radford et al.
2021, arXiv 2103.00020). With unit embeddings x_i, y_i of the N samples of all processes and g = 1 / temperature,

    loss = mean_i [ -log softmax_j(g x_i . y_j)_i - log softmax_j(g y_i . x_j)_i ] / 2

With `positives="label"` all samples of one label are partners of each other (see `coview.objectives.infonce`): for
captions that several recordings share, for instance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import bound, detached, unit
from coview.methods.parts.towers import TwoViews, TwoViewSettings, towers_of
from coview.objectives.infonce import in_batch_scores, infonce
from coview.parallel import mean_over_world

_LEAST_TEMPERATURE = 0.01  # CLIP's bound: below it a few pairs take over the gradient


@dataclass(frozen=True, kw_only=True)
class InfoNCESettings(TwoViewSettings):
    """Settings of InfoNCE over two views."""

    temperature: float = 0.07  # to start from
    learn_temperature: bool = True  # learn it with the networks
    positives: Literal["pair", "label"] = "pair"  # partners of a sample: its own recording, or all of its label

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature < _LEAST_TEMPERATURE:
            raise ValueError(f"infonce needs temperature >= {_LEAST_TEMPERATURE}")


class InfoNCE(TwoViews):
    """Two encoders, two heads and one temperature."""

    about = About(
        slug="infonce",
        title="InfoNCE in the batch between any two views",
        paper="van den Oord, Li & Vinyals, Contrastive predictive coding; arXiv 1807.03748",
        family="instance",
        state="verified: objective equals independent values",
    )
    Settings = InfoNCESettings
    settings: InfoNCESettings
    coupling: Coupling = "negatives"

    def __init__(self, settings: InfoNCESettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders, self.projectors = towers_of(settings, self.views, settings.head_batchnorm)
        start = torch.tensor(math.log(1 / settings.temperature))
        self.log_scale = nn.Parameter(start, requires_grad=settings.learn_temperature)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: temperature."""
        z = {name: unit(value) for name, value in self.embed_both(batch).items()}
        temperature = (-self.log_scale).exp()
        groups = batch.label if self.settings.positives == "label" else None
        x, y = z.values()
        pairs = in_batch_scores(x, y, temperature, groups)
        loss = torch.stack([infonce(*pair) for pair in pairs]).mean(0)
        return Step(mean_over_world(loss), {"temperature": temperature.detach()}, detached(z))

    def after_step(self) -> None:
        """Keep the temperature above its bound."""
        super().after_step()
        bound(self.log_scale, high=-math.log(_LEAST_TEMPERATURE))

    def negatives(self, global_batch: int) -> int:
        """Return the other samples of the global batch."""
        return global_batch - 1
