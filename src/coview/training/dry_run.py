"""What a run would be, without running it: shapes, parameters, negatives, memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coview import parallel
from coview.data.source import Source
from coview.data.statistics import read_statistics
from coview.data.views import Batch
from coview.encoders.recompute import recompute
from coview.methods import load_method
from coview.methods.contract import Method
from coview.methods.pair_reader import PairReader
from coview.training.settings import RunSettings, choose_device, resolve, run_to_dict
from coview.training.setup import build_method, check_parts
from coview.training.sharding import blocks

PROCESSES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # a run's memory is told for these numbers
_PROBE = 4  # samples that the memory of activations is measured with; more where the loss needs more
_STATES = {
    "adam": 2,
    "adamw": 2,
    "sgd": 1,
    "lars": 1,
    "larc": 1,
    "larc-swav": 1,
}  # numbers an optimiser keeps per parameter


def describe(settings: RunSettings, source: Source | None = None) -> dict[str, Any]:
    """Return the resolved settings, shapes, parameters, negatives and memory of a run, as plain data.

    Errors as of `train`: what a dry run accepts, a run accepts.
    """
    with torch.random.fork_rng(devices=[]):
        shapes = load_method(settings.method).shapes_suffice
        method, source = build_method(settings, source, "meta" if shapes else "cpu")
        if settings.stats is not None:
            read_statistics(Path(settings.stats), method.views)
        world = parallel.world_size()
        device = choose_device(settings.train.device)
        settings = resolve(settings, device=device, rows=len(source), world=world)
        check_parts(settings, method)
        train = settings.train
        probe = max(_PROBE, method.least_batch)
        example = method.example_batch(probe, settings.seed)
        if shapes:
            _without_numbers(method, example)
        if settings.train.recompute:
            recompute(blocks(method))
        share = train.batch_size // (world * train.accumulate)
        # The network is the same on any number of processes, so it is looked at as it is here: alone, on the CPU.
        saved, features = _forward(method, example)
    parameters = _parameters(method)
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    held = sum(t.numel() * t.element_size() for t in method.state_dict().values())
    half = 0.5 if train.precision == "bf16" else 1.0
    memory = {
        "weights and buffers": held,
        "gradients": 4 * trained,
        "optimiser": 4 * trained * _STATES[settings.optimiser.kind],
        "activations": round(saved / probe * share * half / train.cached),
        "inputs": sum(v.numel() * v.element_size() for v in example.views.values()) // probe * share,
    }
    megabytes = {name: round(size / 2**20, 1) for name, size in memory.items()}
    samples = (memory["activations"] + memory["inputs"]) / share
    return {
        "settings": run_to_dict(settings),
        "source": {
            "name": source.name,
            "recordings": len(source),
            "classes": len(source.classes),
            "fingerprint": source.fingerprint,
        },
        "views": {name: _view(method, name, example) for name in method.views},
        "features": features,
        "parameters": parameters | {"trained": trained},
        "coupling": method.coupling,
        "negatives": method.negatives(train.batch_size // train.accumulate),
        "processes": world,
        "samples_per_process_and_part": share,
        "memory_megabytes_by_processes": {
            str(count): round(_on_each(method, settings, count, samples) / 2**20, 1)
            for count in PROCESSES
            if train.batch_size % (count * train.accumulate) == 0
        },
        "memory_megabytes": megabytes | {"together, per process": round(sum(memory.values()) / 2**20, 1)},
    }


def _on_each(method: Method, settings: RunSettings, processes: int, sample: float) -> float:
    """Return the bytes on each of some processes, of `sample` bytes for every sample of its share.

    Divided parameters: the share of weights, gradients and optimiser state, and the largest part gathered whole, with
    its gradient, while the next one arrives. Not counted: the inner activations of the block that is computed again,
    and the whole state in the ordinary memory of process 0 while it writes a checkpoint.
    """
    train = settings.train
    state = 4 * sum(p.numel() for p in method.parameters() if p.requires_grad)
    frozen = 4 * sum(p.numel() for p in method.parameters() if not p.requires_grad)
    buffers = sum(b.numel() * b.element_size() for b in method.buffers())
    kept: float = state * (2 + _STATES[settings.optimiser.kind]) + frozen
    if train.sharding == "full" and processes > 1:
        units = [sum(p.numel() for p in block.parameters()) for block in blocks(method)]
        rest = sum(p.numel() for p in method.parameters()) - sum(units)
        kept = kept / processes + 4 * (2 * rest + 3 * max(units, default=0))
    return kept + buffers + sample * (train.batch_size // (processes * train.accumulate))


def _without_numbers(method: Method, batch: Batch) -> None:
    """Take the numbers out of a batch's views, and give them back to the method's counters, which are looked at."""
    batch.views = {name: view.to("meta") for name, view in batch.views.items()}
    for module in method.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.ndim == 0:
                module.register_buffer(name, torch.zeros_like(buffer, device="cpu"))


def _forward(method: Method, batch: Batch) -> tuple[int, dict[str, list[Any]]]:
    """Return the bytes that a forward pass keeps for its backward pass, and the shapes of every encoder's stages."""
    kept: dict[int, int] = {}  # storages by their identity: without numbers they have no address
    owned = {p.untyped_storage()._cdata for p in method.state_dict(keep_vars=True).values()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    method.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step = method(batch)
    shapes: dict[str, list[int]] = {}
    with torch.no_grad():
        method.eval()
        for name, encoder in method.encoders.items():
            maps = getattr(encoder, "feature_maps", None)
            if maps is not None:
                shapes |= {f"{name}.{stage}": list(x.shape) for stage, x in maps(batch.views[name]).items()}
            if not isinstance(method, PairReader):  # whose networks read what it makes of views
                shapes[f"{name}.features"] = list(encoder(batch.views[name]).shape)
    shapes |= {f"{name}.embedding": list(x.shape) for name, x in step.embeddings.items()}
    return sum(kept.values()), {name: ["B", *shape[1:]] for name, shape in shapes.items()}


def _view(method: Method, name: str, example: Batch) -> dict[str, Any]:
    spec = method.views[name]
    return {"raw": ["B", *spec.raw_shape], "model": ["B", *example.views[name].shape[1:]], "seconds": spec.seconds}


def _parameters(method: Method) -> dict[str, int]:
    """Return the numbers of parameters of each encoder, each head, and whatever else the method owns."""
    counts: dict[str, int] = {}
    seen: set[int] = set()

    def count(parameters: Iterable[nn.Parameter]) -> int:
        new = {id(p): p.numel() for p in parameters if id(p) not in seen}
        seen.update(new)
        return sum(new.values())

    for part in ("encoders", "projectors"):
        for name, module in getattr(method, part).items():
            counts[f"{part}.{name}"] = count(module.parameters())
    counts["others"] = count(method.parameters())
    return counts
