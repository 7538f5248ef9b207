"""Plan: one network over two token sequences with masks. Its embeddings are named "joint", and each view's own."""

from dataclasses import dataclass, field

import torch
from torch import nn

from coview.data.views import FeaturesView
from coview.methods.contract import About, Method, Step
from coview.methods.parts.batch import unit
from coview.objectives.infonce import in_batch_scores, infonce
from coview.parallel import mean_over_world

WIDE = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    left: FeaturesView = field(default_factory=lambda: FeaturesView(dim=6, steps=5))
    right: FeaturesView = field(default_factory=lambda: FeaturesView(dim=4, steps=3))

    @classmethod
    def tiny(cls):
        return cls()

    def specs(self):
        return {"left": self.left, "right": self.right}


class Joint(Method):
    about = About(slug="plan-joint", title="One encoder of two sequences", paper="plan", family="plan", state="plan")
    Settings = Settings
    coupling = "negatives"
    least_batch = 2

    def __init__(self, settings, facts):
        super().__init__(settings, facts)
        self.encoders["tokens"] = nn.ModuleDict({n: nn.Linear(v.dim, WIDE) for n, v in self.views.items()})
        layer = nn.TransformerEncoderLayer(WIDE, 2, 32, dropout=0.0, batch_first=True)
        self.encoders["shared"] = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def pooled(self, batch, names):
        """Return the mean of the valid steps (B, WIDE) of some views together."""
        tokens, masks = [], []
        for name in names:
            x = batch.views[name]
            length = batch.length.get(name, torch.full(x.shape[:1], x.shape[1], device=x.device))
            tokens.append(self.encoders["tokens"][name](x))
            masks.append(torch.arange(x.shape[1], device=x.device) < length[:, None])
        there = torch.cat(masks, 1)
        there[:, 0] = True
        states = self.encoders["shared"](torch.cat(tokens, 1), src_key_padding_mask=~there) * there[..., None]
        return states.sum(1) / there.sum(1, keepdim=True)

    def learn(self, batch):
        left, right = (unit(self.pooled(batch, [name])) for name in self.views)
        pairs = in_batch_scores(left, right, 0.2)
        loss = torch.stack([infonce(*pair) for pair in pairs]).mean(0)
        return Step(mean_over_world(loss), {}, {"left": left.detach(), "right": right.detach()})

    def embed(self, batch, space="projected"):
        found = {name: self.pooled(batch, [name]) for name in self.views if name in batch.views}
        if len(found) == len(self.views):
            found["joint"] = self.pooled(batch, list(self.views))
        for name in found:
            needed = self.views if name == "joint" else [name]
            there = torch.stack([batch.present[view] for view in needed]).all(0)
            found[name] = torch.where(there[:, None], unit(found[name]), 0.0)
        return found
