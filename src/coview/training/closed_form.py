"""Methods without training: their targets and maps are fitted on the whole source, and that is the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.model import Model
from coview.training.settings import RunSettings, choose_device
from coview.training.setup import build_method

_ROWS = 1024  # recordings at a time


def fit(
    settings: RunSettings,
    out: Path,
    *,
    source: Source | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Model:
    """Fit a method that declares a closed form, write its model folder `out`, and return the model.

    Args:
        settings: the method, its settings, the source and its split are used.
        source: what to fit on instead of opening `settings.collection`.
        progress: called with (recordings done, recordings) while they are read.

    Raises:
        UsageError: the method has to be trained, or something is in `out`.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: the folder is not empty; choose another one or remove it")
    device = choose_device(settings.train.device)
    method, source = build_method(settings, source)
    if not method.closed_form:
        raise UsageError(f"{settings.method} has no closed form; train it by `coview pretrain {settings.method}`")
    preprocess = Preprocess(method.views, AugmentSettings())
    preprocess.fit_features(source)
    model = Model.of(method.to(device), preprocess.to(device), source, steps=0)
    method.fit_targets(_prepared(model, source, device))
    method.finish(lambda space="projected": _embed(model, source, space, progress))
    model.save(out)
    return model


def _embed(model: Model, source: Source, space: Any, progress: Callable[[int, int], None]) -> Any:
    return extract(model, source, space=space, batch_size=_ROWS, progress=progress)


def _prepared(model: Model, source: Source, device: str) -> Iterator[Batch]:
    for rows in torch.split(torch.arange(len(source)), _ROWS):
        batch = source.read_window(rows, 0, 1).to(device)
        yield dataclasses.replace(model.preprocess(batch, train=False), row=rows.to(device))
