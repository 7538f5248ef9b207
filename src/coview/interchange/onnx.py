"""Encoders and heads as ONNX, one file per view, each checked against the network it came from."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coview.errors import CoviewError, UsageError
from coview.model import Model
from coview.settings import to_dict

OPSET = 18
TOLERANCE = 1e-3  # largest difference allowed, as a share of the largest output


class _Tower(nn.Module):
    """An encoder and its head, whose outputs are the features and the embedding."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.encoder(view)
        return features, self.head(features)


def export_onnx(model: Model, folder: Path) -> dict[str, float]:
    """Write `<view>.onnx` for every view with an encoder of its own, and preprocessing.json; the folder may exist.

    The graph's input "view" is the model view, float32 (N, ...), N free; its outputs are "features" (N, D) and
    "embedding" (N, E), the same tensor twice where a view has no head. How a view is made of pixels or samples is in
    preprocessing.json and in the graph's metadata, with the statistics that normalise it.

    Returns:
        view -> largest difference between ONNX Runtime's outputs and ours, as a share of the largest output, on
        random views in batches of 1 and 3.

    Raises:
        UsageError: the packages of the extra "onnx" are not installed.
        CoviewError: an exported graph computes something else.
    """
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    _package("onnxscript")
    folder.mkdir(parents=True, exist_ok=True)
    training = model.method.training
    model.method.eval()
    differences = {}
    try:
        for view in model.distinct_views():
            heads = model.method.projectors
            head = heads[view] if view in heads else nn.Identity()
            tower = _Tower(model.method.encoders[view], head)
            path = folder / f"{view}.onnx"
            _write(tower, _random(model, view, 2), path)
            graph = onnx.load(path)
            onnx.helper.set_model_props(graph, {"coview": json.dumps(_about(model, view))})
            onnx.save(graph, path)
            session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            differences[view] = max(_difference(tower, session, _random(model, view, count)) for count in (1, 3))
            if differences[view] > TOLERANCE:
                raise CoviewError(
                    f"{path}: its outputs differ by {differences[view]:.2g}, at most {TOLERANCE:g} is allowed"
                )
    finally:
        model.method.train(training)
    about = {view: _about(model, view) for view in differences}
    (folder / "preprocessing.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return differences


def _write(tower: nn.Module, example: Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own notes are about torch
        torch.onnx.export(
            tower, (example,), path, input_names=["view"], output_names=["features", "embedding"], opset_version=OPSET,
            dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False,
        )  # fmt: skip


def _random(model: Model, view: str, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, *model.views[view].shape, generator=generator)


def _difference(tower: nn.Module, session: Any, x: Tensor) -> float:
    with torch.no_grad():
        wanted = tower(x)
    found = session.run(["features", "embedding"], {"view": x.numpy()})
    return max(
        float(np.abs(theirs - ours.numpy()).max() / max(ours.abs().max().item(), 1e-6))
        for ours, theirs in zip(wanted, found, strict=True)
    )


def _about(model: Model, view: str) -> dict[str, Any]:
    """Return how the graph's input is made."""
    buffers = {name: value.tolist() for name, value in model.preprocess.named_buffers() if name.startswith(f"{view}_")}
    return {"view": view, "shape": list(model.views[view].shape), **to_dict(model.views[view]), **buffers}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"exporting to ONNX needs the package {name}: pip install 'coview[onnx]'") from error
