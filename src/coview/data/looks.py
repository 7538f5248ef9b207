"""The random choices of a view: whose they are, and which crops of a frame are drawn from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.views import ViewSpec
from coview.media.cuts import Crop
from coview.randomness import make_key


def key_of(views: Mapping[str, ViewSpec], name: str, key: Tensor) -> Tensor:
    """Return the keys (B,) of a view's random choices: by its place among the views, or by that of its partner."""
    places = {name: place for place, name in enumerate(views)}
    return make_key(key, places.get(views[name].with_ or name, places[name]))


def augment_of(views: Mapping[str, ViewSpec], name: str, augment: AugmentSettings) -> AugmentSettings:
    """Return a view's augmentation: the run's with its own changes, over those of its partner."""
    spec = views[name]
    partner = views.get(spec.with_ or name, spec)
    return spec.changed(augment if partner is spec else partner.changed(augment))


@dataclass(frozen=True)
class Crops:
    """Those of a run's views that take a random crop of the frame in training, and how it is drawn."""

    views: Mapping[str, ViewSpec]
    augment: AugmentSettings
    names: frozenset[str]

    @classmethod
    def among(cls, names: Iterable[str], views: Mapping[str, ViewSpec], augment: AugmentSettings) -> Crops:
        """Return those of the views called `names` that take one."""
        every = cls(views, augment, frozenset(names))
        return cls(views, augment, frozenset(every.drawn(torch.zeros(1, dtype=torch.int64))[0]))

    def drawn(self, key: Tensor) -> list[dict[str, Crop]]:
        """Return view -> crop of every sample, from the samples' keys (B,)."""
        found: list[dict[str, Crop]] = [{} for _ in range(len(key))]
        for name in sorted(self.names):
            keys, augment = key_of(self.views, name, key), augment_of(self.views, name, self.augment)
            for sample, crop in zip(found, self.views[name].crops(keys, augment) or (), strict=False):
                sample[name] = crop
        return found
