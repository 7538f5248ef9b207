"""Runs whose views are features that were computed before, under whatever names they have."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from coview.data.features_source import open_features
from coview.errors import UsageError
from coview.methods import load_method
from coview.settings import from_dict, to_dict
from coview.training.settings import RunSettings, recommended


def fusion_run(
    method: str, name: str, *, split: Literal["train", "validation", "test"] = "train", as_they_are: bool = False
) -> RunSettings:
    """Return the settings of a run of a method on features, before any option.

    Args:
        name: of the features, as `open_features` takes it.
        as_they_are: do not bring every feature to mean 0 and deviation 1 first.

    Raises:
        UsageError: the method does not learn from whatever features there are, or there are no such.
    """
    kind = load_method(method)
    if not getattr(kind.Settings, "any_features", False):
        raise UsageError(f"{method!r} does not fuse features; `coview fuse --help` names those that do")
    normalise: Literal["none", "statistics"] = "none" if as_they_are else "statistics"
    views = {view: dataclasses.replace(spec, normalise=normalise) for view, spec in open_features(name).views.items()}
    start = recommended(method)
    stated: dict[str, Any] = {"views": to_dict(views)}
    if kind.closed_form:
        stated["components"] = min(32, *(spec.dim for spec in views.values()))
    settings = from_dict(type(start.method_settings), stated, start.method_settings)
    train = dataclasses.replace(start.train, batch_size=256)
    return dataclasses.replace(start, method_settings=settings, collection=name, split=split, train=train)
