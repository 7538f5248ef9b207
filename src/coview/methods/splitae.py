"""SplitAE: one encoder, of the first view, reconstructs every view.

Ngiam et al., Multimodal deep learning, ICML 2011; as compared in W. Wang et al., ICML 2015:

    loss = mean_i sum_v |x_vi - p_v(f(x_1i))|^2       squared errors summed over a view's numbers

Only the first view is needed to use it. The others have no encoder, and so there is no common space to retrieve in.

Recipe: that of `dcca` in batches of 100; its rate and decay are ours.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from coview.data.views import Batch
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.correlation import Fusion, FusionSettings, build_decoder, build_encoder
from coview.objectives.paired import squared_error
from coview.parallel import mean_over_world


class SplitAE(Method):
    """The first view's encoder and a decoder per view."""

    about = About(
        slug="splitae",
        title="Split autoencoder: the first view reconstructs all",
        paper="Ngiam et al., ICML 2011; Wang, Arora, Livescu & Bilmes, ICML 2015",
        family="correlation",
        state="working: one encoder, as in the paper; no published values to compare with",
    )
    Settings = FusionSettings
    settings: FusionSettings
    published = replace(Fusion.published, batch_size=100)
    coupling: Coupling = "none"

    def __init__(self, settings: FusionSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        first, spec = next(iter(settings.views.items()))
        self.encoders = nn.ModuleDict({first: build_encoder(settings, spec, settings.dimension)})
        decoders = {name: build_decoder(settings, spec, settings.dimension) for name, spec in self.views.items()}
        self.decoders = nn.ModuleDict(decoders)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have every view; parts: the squared error of each view."""
        ((first, encoder),) = self.encoders.items()
        code = encoder(batch.views[first])
        errors = {
            name: mean_over_world(squared_error(batch.views[name], decoder(code)))
            for name, decoder in self.decoders.items()
        }
        return Step(torch.stack(list(errors.values())).sum(), detached(errors), {first: code.detach()})
