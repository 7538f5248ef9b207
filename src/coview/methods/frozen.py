"""Encoders that were trained elsewhere, as a model: one for each view, without heads, and nothing is learnt.

`coview embed --encoder` makes such a model of networks of torchvision, timm and transformers; what embeds, searches,
measures and explains models then takes it like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from coview.data.views import Batch, ViewSpec
from coview.encoders import Encoder, build_for
from coview.encoders.hugging import rebuilt
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step

_SCALES = ("network.logit_scale", "network.logit_scale_a")  # logarithms


@dataclass(frozen=True, kw_only=True)
class FrozenSettings:
    """Which encoders, and how their views are cut: as their libraries cut them."""

    views: dict[str, ViewSpec]  # how each view is cut
    encoders: dict[str, str]  # view -> name, such as "timm:resnet50"
    described: dict[str, dict[str, Any]] = field(default_factory=dict)  # view -> `encoders.hugging.Described`, of "hf:"

    def __post_init__(self) -> None:
        if not self.views or self.views.keys() != self.encoders.keys():
            raise ValueError("every view needs an encoder, and every encoder a view")

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class Frozen(Method):
    """One encoder for each view; see the module."""

    about = About(
        slug="frozen",
        title="Encoders that were trained elsewhere",
        paper="The features of other libraries' networks, as they are",
        family="protocol",
        state="working: outputs equal the libraries' own",
    )
    Settings = FrozenSettings
    settings: FrozenSettings
    coupling: Coupling = "none"

    def __init__(self, settings: FrozenSettings, facts: Facts, own: Mapping[str, Encoder] | None = None) -> None:
        """Build the encoders that the settings name, or take those of one's own code: `own`, by view."""
        super().__init__(settings, facts)
        given = {name: self._built(name) for name in settings.views} if own is None else own
        self.encoders = nn.ModuleDict(given)
        if own is None:  # those of one's own code may be in training
            self.requires_grad_(False)

    def learn(self, batch: Batch) -> Step:
        """Raise UsageError: there is nothing to learn."""
        raise UsageError("frozen encoders are not trained; embed with them, and learn from what is stored: coview fuse")

    def comparable(self, one: str, other: str) -> bool:
        """See `Method.comparable`: the two towers of one network share a space, other encoders do not."""
        return self.settings.encoders[one] == self.settings.encoders[other]

    def sureness(self, view: str) -> tuple[float, float | None] | None:
        """See `Method.sureness`: what networks of two towers learn beside them."""
        learnt = dict(self.encoders[view].named_parameters())
        scale = next((learnt[name] for name in _SCALES if name in learnt), None)
        bias = learnt.get("network.logit_bias")
        return None if scale is None else (float(scale.exp()), None if bias is None else float(bias))

    def _built(self, name: str) -> Encoder:
        described = self.settings.described.get(name)
        return build_for(self.views[name], self.settings.encoders[name]) if described is None else rebuilt(described)
