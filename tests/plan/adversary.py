"""Plan: a second player with its own rate. A reconstruction that a critic must not tell from the view.

One backward pass serves both: the critic's gradient reaches the autoencoder with the other sign.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from coview.data.views import FeaturesView
from coview.encoders.features import FeatureDecoder, FeatureEncoder
from coview.methods.contract import About, Method, Step
from coview.parallel import mean_over_world


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return -0.01 * gradient


@dataclass(frozen=True, kw_only=True)
class Settings:
    view: FeaturesView = field(default_factory=lambda: FeaturesView(dim=12))
    critic_rate: float = 4.0

    @classmethod
    def tiny(cls):
        return cls()

    def specs(self):
        return {"left": self.view}


class Adversary(Method):
    about = About(slug="plan-adversary", title="With a critic", paper="plan", family="plan", state="plan")
    Settings = Settings
    coupling = "none"

    def __init__(self, settings, facts):
        super().__init__(settings, facts)
        shape = settings.view.shape
        self.encoders = nn.ModuleDict({"left": FeatureEncoder(shape, (16,), 4)})
        self.decoder = FeatureDecoder(4, (16,), shape)
        self.critic = FeatureEncoder(shape, (16,), 1)

    def lr_scale(self, name):
        return self.settings.critic_rate if name.startswith("critic.") else 1.0

    def learn(self, batch):
        clean = batch.views["left"]
        code = self.encoders["left"](clean)
        made = self.decoder(code)
        scores = torch.cat([self.critic(clean), self.critic(Reversed.apply(made))])[:, 0]
        true = torch.cat([torch.ones(len(clean)), torch.zeros(len(clean))]).to(scores)
        told = nn.functional.binary_cross_entropy_with_logits(scores, true, reduction="none").view(2, -1).mean(0)
        error = (made - clean).square().mean(1)
        return Step(mean_over_world(error + told), {"error": mean_over_world(error).detach()}, {"left": code.detach()})
