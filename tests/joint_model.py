"""A method that makes one embedding of two views of features at once: what is called like no view."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.methods.contract import About, Facts, Method, Step
from coview.methods.reading import Space
from coview.model import Model


@dataclass(frozen=True, kw_only=True)
class JointSettings:
    hidden: int = 6

    def specs(self) -> Mapping[str, ViewSpec]:
        return {"left": FeaturesView(dim=4), "right": FeaturesView(dim=3)}

    @classmethod
    def tiny(cls) -> "JointSettings":
        return cls()


class Joint(Method):
    """`encoders["both"]` reads left and right side by side."""

    about = About(slug="joint-test", title="Joint", paper="none", family="test", state="working")
    Settings = JointSettings
    coupling = "none"

    def __init__(self, settings: JointSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders["both"] = nn.Linear(7, settings.hidden)
        self.projectors["both"] = nn.Linear(settings.hidden, 2)

    def forward(self, batch: Batch) -> Step:
        raise NotImplementedError

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        features = self.encoders["both"](torch.cat([batch.views["left"], batch.views["right"]], 1))
        return {"both": self.projectors["both"](features) if space == "projected" else features}


def joint_model(seed: int = 0) -> Model:
    """Return a small model of two views at once."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = Joint(JointSettings(), Facts(rows=5))
    about = {"collection": {"name": "none", "fingerprint": "", "rows": 5}, "classes": []}
    return Model(method, Preprocess(method.views, AugmentSettings()), about)
