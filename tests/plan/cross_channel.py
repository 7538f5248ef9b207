"""Plan: two aligned views of one picture. Each half of the colour predicts the other, place by place."""

from dataclasses import dataclass, field

import torch
from torch import nn

from coview.data.views import ImageView
from coview.encoders import build_for
from coview.encoders.decoders import PlaneDecoder
from coview.methods.contract import About, Method, Step
from coview.methods.parts.batch import detached
from coview.parallel import mean_over_world

_STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def _lightness():
    return ImageView(size=32, margin=1.0, space="lightness", augment=_STILL)


@dataclass(frozen=True, kw_only=True)
class Settings:
    image: ImageView = field(default_factory=_lightness)
    encoder: str = "image-tiny"

    @classmethod
    def tiny(cls):
        return cls()

    def specs(self):
        colour = ImageView(
            size=self.image.size, margin=self.image.margin, space="colour", with_="image", augment=_STILL
        )
        return {"image": self.image, "colour": colour}


class CrossChannel(Method):
    about = About(slug="plan-cross-channel", title="Cross-channel", paper="plan", family="plan", state="plan")
    Settings = Settings
    coupling = "none"

    def __init__(self, settings, facts):
        super().__init__(settings, facts)
        self.encoders = nn.ModuleDict({name: build_for(view, settings.encoder) for name, view in self.views.items()})
        first, second = self.views
        self.decoders = nn.ModuleDict({
            first: PlaneDecoder(self.encoders[first].dim, self.views[second].shape),
            second: PlaneDecoder(self.encoders[second].dim, self.views[first].shape),
        })  # fmt: skip

    def learn(self, batch):
        first, second = self.views
        codes = {name: self.encoders[name](batch.views[name]) for name in self.views}
        made = {second: self.decoders[first](codes[first]), first: self.decoders[second](codes[second])}
        errors = [(made[name] - batch.views[name]).square().flatten(1).mean(1) for name in self.views]
        return Step(mean_over_world(torch.stack(errors).sum(0)), {}, detached(codes))
