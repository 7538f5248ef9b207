"""Embeddings as ONNX, one file for each, checked against the networks it came from."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coview.data.views import Batch
from coview.errors import CoviewError, UsageError
from coview.files import write_aside, written_whole
from coview.methods.contract import Method
from coview.model import Model
from coview.randomness import make_key
from coview.settings import to_dict

OPSET = 18
TOLERANCE = 1e-3  # largest difference allowed, as a share of the largest output


class _Embedding(nn.Module):
    """What a method makes of some views in one embedding, as a function of tensors: features and embedding."""

    def __init__(self, method: Method, name: str, views: tuple[str, ...]) -> None:
        super().__init__()
        self.method, self.name, self.views = method, name, views

    def forward(self, view: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        row, values = torch.zeros(view.shape[0], dtype=torch.int64), (view, *more)
        # `whole` says that no row is absent: a graph cannot ask its input.
        batch = Batch(views=dict(zip(self.views, values, strict=True)), row=row, key=row, whole=frozenset(self.views))
        return self.method.embed(batch, "backbone")[self.name], self.method.embed(batch, "projected")[self.name]


def export_onnx(model: Model, folder: Path) -> dict[str, float]:
    """Write `<name>.onnx` for every embedding that differs, and preprocessing.json; the folder may exist.

    The graph's input "view" is the model view, float32 (N, ...), N free; what is made of several views at once has an
    input for each, called like the view. Its outputs are "features" (N, D) and "embedding" (N, E), equal where a view
    has no head. How a view is made of pixels or samples is in preprocessing.json and in the graph's metadata, with the
    statistics that normalise it.

    Returns:
        name -> largest difference between ONNX Runtime's outputs and ours, as a share of the largest output, on
        random views in batches of 1 and 3.

    Raises:
        UsageError: the packages of the extra "onnx" are not installed.
        CoviewError: an exported graph computes something else, or the folder cannot be written.
    """
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    _package("onnxscript")
    differences = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with model.evaluating():
            for name in model.distinct_views():
                embedding = _Embedding(model.method, name, model.reads[name])
                with written_whole(folder / f"{name}.onnx") as path:
                    _write(embedding, _random(model, name, 2), path)
                    graph = onnx.load(path)
                    onnx.helper.set_model_props(graph, {"coview": json.dumps(_about(model, name))})
                    onnx.save(graph, path)
                    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                    differences[name] = max(
                        _difference(embedding, session, _random(model, name, count)) for count in (1, 3)
                    )
                    if not differences[name] <= TOLERANCE:
                        raise CoviewError(
                            f"{folder / name}.onnx: its outputs differ by {differences[name]:.2g}, at most "
                            f"{TOLERANCE:g} is allowed"
                        )
        about = {name: _about(model, name) for name in differences}
        write_aside(folder / "preprocessing.json", json.dumps(about, indent=1) + "\n")
    except OSError as error:
        raise CoviewError(
            f"{folder}: the graphs cannot be written ({error.strerror or error}); make room or choose another disk, "
            "and export again"
        ) from error
    return differences


def _inputs(views: tuple[str, ...]) -> list[str]:
    return ["view"] if len(views) == 1 else list(views)


def _write(embedding: _Embedding, example: tuple[Tensor, ...], path: Path) -> None:
    batch = {0: torch.export.Dim("batch", min=1)}
    more = tuple(batch for _ in example[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own notes are about torch
        torch.onnx.export(
            embedding, example, path, input_names=_inputs(embedding.views), output_names=["features", "embedding"],
            opset_version=OPSET, dynamo=True, dynamic_shapes=(batch, more) if more else (batch,),
            external_data=False, verbose=False,
        )  # fmt: skip


def _random(model: Model, name: str, count: int) -> tuple[Tensor, ...]:
    """Return random model views; words and other codes are drawn from the codes that there are."""
    key = make_key(torch.arange(count), 0x6F6E6E78)
    return tuple(model.views[view].made_up(key, place) for place, view in enumerate(model.reads[name]))


def _difference(embedding: _Embedding, session: Any, values: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        wanted = embedding(*values)
    inputs = {name: x.numpy() for name, x in zip(_inputs(embedding.views), values, strict=True)}
    found = session.run(["features", "embedding"], inputs)
    return max(
        float(np.abs(theirs - ours.numpy()).max() / max(ours.abs().max().item(), 1e-6))
        for ours, theirs in zip(wanted, found, strict=True)
    )


def _about(model: Model, name: str) -> dict[str, Any]:
    """Return how a graph's inputs are made."""
    made = {view: _cut(model, view) for view in model.reads[name]}
    return made[name] if list(made) == [name] else {"views": made}


def _cut(model: Model, view: str) -> dict[str, Any]:
    buffers = {name: value.tolist() for name, value in model.preprocess.named_buffers() if name.startswith(f"{view}_")}
    return {"view": view, "shape": list(model.views[view].shape), **to_dict(model.views[view]), **buffers}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"exporting to ONNX needs the package {name}: pip install 'coview[onnx]'") from error
