"""Controls: what the same measurement gives without learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from coview.data.source import Source
from coview.embedding.extract import read_windows
from coview.methods import build
from coview.methods.contract import Facts
from coview.randomness import make_key, uniform

if TYPE_CHECKING:
    from coview.model import Model

CALIBRATION = 2560  # unlabelled recordings
NOTE = (
    f"random weights: the running statistics of their normalisation layers come from up to {CALIBRATION} unlabelled "
    "training recordings; nothing else was fitted"
)


def random_weights(model: Model, unlabelled: Source, *, seed: int = 0, batch_size: int = 64) -> Model:
    """Return a model of the same architecture and preprocessing with newly drawn weights.

    Its batch normalisation layers are calibrated on unlabelled recordings, because layers that do not know the scale
    of their input would make the control weaker than random features are.
    """
    from coview.model import Model

    facts = Facts(rows=model.about["collection"]["rows"], classes=len(model.about["classes"]))
    with torch.random.fork_rng():  # initialisers draw from torch's own generator; the caller's is put back
        torch.manual_seed(int(make_key(seed, 0x72616E64)))
        method = build(model.method.about.slug, model.method.settings, facts)
    with torch.no_grad():
        # What the networks were told and did not learn, such as which words there are; statistics are calibrated below.
        for own, told in zip(method.encoders.buffers(), model.method.encoders.buffers(), strict=True):
            own.copy_(told)
    twin = Model(method, model.preprocess, model.about).to(next(model.method.parameters()).device)
    calibrate(twin, unlabelled, seed=seed, batch_size=batch_size)
    return twin


@torch.no_grad()
def calibrate(model: Model, source: Source, *, seed: int = 0, batch_size: int = 64) -> None:
    """Set the running statistics of all batch normalisation layers to plain means over some recordings' batches."""
    layers = _normalisations(model)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
    _run(model, source, seed, batch_size, CALIBRATION)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def drift(model: Model, source: Source, *, seed: int = 0, batch_size: int = 32) -> None:
    """Let the running statistics follow all recordings' batches, each layer by its own momentum, as training does."""
    _run(model, source, seed, batch_size, len(source))


def _normalisations(model: Model) -> list[_BatchNorm]:
    return [layer for layer in model.method.modules() if isinstance(layer, _BatchNorm)]


def _run(model: Model, source: Source, seed: int, batch_size: int, count: int) -> None:
    """Send `count` recordings through encoders and heads in training mode."""
    method, device = model.method, next(model.method.parameters()).device
    if not _normalisations(model):
        return
    method.train()
    # In random order: neighbours in a collection are often alike, and a batch should not be.
    chosen = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 3), stable=True)[:count]
    views = [name for name in model.distinct_views() if name in method.encoders]
    preprocess = model.preprocess_for(views)
    for raw in read_windows(source, chosen, 1, batch_size):
        batch = preprocess(raw.to(device), train=False)
        for name in views:
            present = batch.present[name]
            if int(present.sum()) < 2:
                continue
            features = method.encoders[name](batch.views[name][present])
            if name in method.projectors:
                method.projectors[name](features)
    method.eval()
