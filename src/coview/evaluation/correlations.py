"""The canonical correlations of a space, as it was fitted or on other recordings."""

from __future__ import annotations

from typing import Any

import torch

from coview.data.source import Source
from coview.embedding.extract import extract
from coview.model import Model


def correlations(model: Model, source: Source) -> dict[str, Any]:
    """Return recordings, the mean and the first five correlations of the first two views' embeddings (N, D).

    Dimension by dimension, of the recordings that have both views (Hotelling 1936, for a space already rotated).
    """
    features = extract(model, source, space="projected", batch_size=1024)
    together = torch.stack(list(features.present.values())).all(0)
    first, second = (features.values[view][together].double() for view in list(model.views)[:2])
    x, y = first - first.mean(0), second - second.mean(0)
    values = (x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt().clamp(min=1e-12)
    return {"recordings": int(together.sum()), "mean": float(values.mean()), "first": values[:5].tolist()}
