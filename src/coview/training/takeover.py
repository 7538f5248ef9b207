"""What a run takes over: all state of its own last checkpoint, or the weights of another run or model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor

from coview import parallel
from coview.data.preprocess import Preprocess
from coview.errors import UsageError
from coview.files import read_json, read_tensors, sha256_of
from coview.methods.contract import Method
from coview.training.checkpoint import Checkpoint
from coview.training.sharding import load_optimiser, load_state

if TYPE_CHECKING:
    from coview.training.setup import Parts


def restore(parts: Parts, saved: Checkpoint, path: Path) -> None:
    """Put a checkpoint's state into the parts, after checking that it belongs to this source.

    Raises:
        UsageError: the collection is not the one that the run was trained on, the state does not fit the method, or
            its weights are not finite.
    """
    then, now = saved.facts.get("collection"), parts.source.fingerprint
    if not isinstance(then, dict) or not {"name", "fingerprint", "rows"} <= set(then):
        raise UsageError(f"{path / 'state.json'}: it does not say what the run was trained on; resume an earlier one")
    if then["fingerprint"] != now:
        # Fingerprints cover more than they did when checkpoints had no counts of what was learnt from.
        former = (
            ""
            if "harvest" in saved.facts or then["rows"] != len(parts.source)
            else " The run is of a former version, whose fingerprints covered less: if you know that the collection is "
            f"unchanged, write {now} for {then['fingerprint']} in {path / 'state.json'}"
        )
        raise UsageError(
            f"{path}: the run was trained on {then['name']} with fingerprint {then['fingerprint']} "
            f"({then['rows']} recordings), but {parts.source.name} now has {now} ({len(parts.source)} recordings). "
            f"Continue on the old collection, or start a new run with --init-from.{former}"
        )
    try:
        for prefix, module in (("method.", parts.method), ("preprocess.", parts.preprocess)):
            own = {name.removeprefix(prefix): value for name, value in saved.model.items() if name.startswith(prefix)}
            load_state(module, own)
        load_optimiser(parts.optimiser, saved.optimiser)
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:300]
        raise UsageError(f"{path}: its state does not fit {parts.settings.method}'s: {why}") from error
    check_finite(path, {name: saved.model[f"method.{name}"] for name, _ in parts.method.named_parameters()})
    parts.display.say(f"continuing {path} at step {saved.step}")
    world = parallel.world_size()
    if world != saved.facts["world_size"]:
        parts.display.say(
            f"the checkpoint is from {saved.facts['world_size']} processes, now there are {world}: the batches and the "
            "state are the same; the numbers are equal up to rounding, which training carries on "
            "(docs/reliability.md says how far it was measured to drift)"
        )


def take_statistics(preprocess: Preprocess, folder: Path) -> None:
    """Normalise as the other model was: its weights know no other scale."""
    own, theirs = preprocess.state_dict(), _read(_weights_of(folder))
    found = {name: theirs[f"preprocess.{name}"] for name in own if f"preprocess.{name}" in theirs}
    preprocess.load_state_dict({n: v for n, v in found.items() if v.shape == own[n].shape}, strict=False)


def take_weights(method: Method, folder: Path) -> None:
    """Load the encoders and heads of another run or model; every tensor of its encoders must fit.

    Raises:
        UsageError: there is no model, its file is damaged or was changed after it was written, a weight is not finite,
            or a tensor of an encoder does not fit.
    """
    path = _weights_of(folder)
    own = method.state_dict()
    theirs = method.taken_over({n: value for n, value in _read(path).items() if not n.startswith("preprocess.")})
    wrong = [
        f"{name} is {tuple(value.shape)} there and {tuple(own[name].shape) if name in own else 'absent'} here"
        for name, value in theirs.items()
        if name.startswith("encoders.") and (name not in own or own[name].shape != value.shape)
    ]
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong[:8])
        raise UsageError(f"{path}: {len(wrong)} tensors of its encoders do not fit this method's:\n{listed}")
    fitting = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    check_finite(path, {name: fitting[name] for name, _ in method.named_parameters() if name in fitting})
    method.load_state_dict(fitting, strict=False)


def check_finite(path: Path, weights: dict[str, Tensor]) -> None:
    """Raise UsageError where a weight is NaN or infinite; names the first such tensors."""
    wrong = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(f"{path}: weights are not finite ({', '.join(wrong[:3])}{more}); take an earlier one")


def _weights_of(folder: Path) -> Path:
    path = next((p for p in (folder / "model.safetensors", folder / "model" / "model.safetensors") if p.exists()), None)
    if path is None:
        raise UsageError(f"{folder}: expected a run or a model folder with model.safetensors in it (--init-from)")
    return path


def _read(path: Path) -> dict[str, Tensor]:
    """Read a model's tensors, after checking the digest in its config.json, where one is kept."""
    config = path.with_name("config.json")
    stated = read_json(config, "what a model says of itself").get("sha256") if config.exists() else None
    if stated is not None and stated != sha256_of(path):
        raise UsageError(f"{path}: it is not the file that config.json describes; it was damaged or exchanged")
    try:
        return read_tensors(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UsageError(f"{path}: not readable weights ({error}); take another model (--init-from)") from error
