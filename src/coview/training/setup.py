"""Everything that happens before the first step: building, entering the run folder, taking state over."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from coview import parallel
from coview.data.loader import Loader
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.source import Source
from coview.data.statistics import read_statistics
from coview.data.views import ViewSpec
from coview.encoders.recompute import recompute
from coview.errors import UsageError
from coview.files import read_tensors
from coview.methods import build
from coview.methods.contract import Facts, Method
from coview.model import Model
from coview.training import checkpoint
from coview.training.checkpoint import Checkpoint
from coview.training.display import Display
from coview.training.optimisers import make_optimiser
from coview.training.problems import Problems
from coview.training.run import enter
from coview.training.settings import RunSettings, resolve
from coview.training.sharding import blocks, load_optimiser, load_state, shard, state_for_file, whole_state


@dataclass(kw_only=True)
class Parts:
    """What a run is made of, once everything is built and on its device."""

    settings: RunSettings  # resolved
    source: Source
    loader: Loader
    preprocess: Preprocess
    method: Method
    wrapped: nn.Module  # the method, inside DDP where there are several processes
    optimiser: Any
    device: torch.device
    out: Path
    display: Display
    problems: Problems

    def state(self) -> dict[str, Tensor]:
        """Return the names and tensors of everything that has a state and is saved.

        Divided ones are whole on process 0 and empty on the others: to be called on all processes.
        """
        own = {f"method.{name}": value for name, value in state_for_file(self.method).items()}
        return own | {f"preprocess.{name}": value for name, value in self.preprocess.state_dict().items()}

    def model(self, step: int = 0, state: Mapping[str, Tensor] | None = None) -> Model:
        """Return the encoders as they are now, sharing their weights with the training unless these are divided.

        Divided ones are brought together: to be called on all processes. With `state`, what `self.state()` gave process
        0, they are taken from it on the CPU, by process 0 alone.
        """
        method = self.method
        if self.sharded:
            method = build(self.settings.method, self.settings.method_settings, method_facts(self.source))
            own = {n.removeprefix("method."): v for n, v in (state or {}).items() if n.startswith("method.")}
            method.load_state_dict(own or whole_state(self.method), assign=True)
            method.to("cpu" if own else self.device)
        return Model.of(method, self.preprocess, self.source, steps=step)

    @property
    def sharded(self) -> bool:
        """Whether the parameters are divided over the processes."""
        return self.settings.train.sharding == "full" and parallel.world_size() > 1


def build_method(settings: RunSettings, source: Source | None = None, device: str = "cpu") -> tuple[Method, Source]:
    """Open the source of a run and build its method, with weights drawn from the run's seed; "meta": with none.

    A method says what views it wants only once it is built, and can be built only once the rows are known; so it is
    built twice, the first time for a stand-in of a collection.
    """
    if source is None:
        with torch.device(device):
            wanted = build(settings.method, settings.method_settings, Facts(rows=1 << 16, classes=2)).views
        source = open_source(
            settings.collection, wanted, split=settings.split, seed=settings.seed, shuffled=settings.shuffled
        )
    for name, lacking in _lacking(source).items():
        if lacking == len(source):
            raise UsageError(
                f"{source.name}: none of its {lacking} recordings has what {settings.method} wants as {name!r} "
                f"({source.views[name]}); index recordings that do, or choose a method without it (coview methods)"
            )
    torch.manual_seed(settings.seed)
    with torch.device(device):
        return build(settings.method, settings.method_settings, method_facts(source)), source


def method_facts(source: Source) -> Facts:
    """Return what a method is told of a source."""
    return Facts(rows=len(source), classes=len(source.classes))


def prepare(
    settings: RunSettings,
    out: Path,
    device: torch.device,
    source: Source | None,
    resume: bool,
    overwrite: bool,
    init_from: Path | None,
    quiet: bool,
) -> tuple[Parts, int]:
    """Build everything, enter the run folder, and return the parts and the first step."""
    method, source = build_method(settings, source)
    world = parallel.world_size()
    settings = resolve(
        settings,
        device=device.type,
        rows=len(source),
        world=world,
        local_world=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    train = settings.train
    assert train.steps is not None and isinstance(train.workers, int)  # resolved
    parallel.on_main(lambda: enter(out, settings, resume=resume, overwrite=overwrite))
    loader = Loader(
        source,
        batch_size=train.batch_size,
        seed=settings.seed,
        rank=parallel.rank(),
        world=world,
        clips_per_recording=settings.clips_per_recording,
        workers=train.workers,
    )
    path = checkpoint.last(out / "checkpoints") if resume else None
    saved = None if path is None else checkpoint.load(path)
    preprocess = Preprocess(method.views, settings.augment)
    preprocess.fit_features(source)
    if settings.stats is not None and saved is None:  # a checkpoint holds them
        preprocess.set_statistics(read_statistics(Path(settings.stats), method.views))
    preprocess.to(device)
    method = method.to(device)
    if train.sync_batchnorm:
        parallel.synchronise_batchnorm(method)
    if init_from is not None:
        _take_weights(method, init_from)
        if settings.stats is None and saved is None:
            _take_statistics(preprocess, init_from)
    if train.compile:
        for encoder in {id(encoder): encoder for encoder in method.encoders.values()}.values():
            encoder.compile()
    if train.recompute:
        recompute(blocks(method))
    if train.sharding == "full" and world > 1:
        shard(method, device)
    optimiser = make_optimiser(method.parameter_groups(settings.optimiser.weight_decay), settings.optimiser, device)
    first = 0 if saved is None else saved.step
    parts = Parts(
        settings=settings,
        source=source,
        loader=loader,
        preprocess=preprocess,
        method=method,
        wrapped=method,
        optimiser=optimiser,
        device=device,
        out=out,
        display=Display(train.steps, first, quiet=quiet or not parallel.is_main()),
        problems=Problems(source, saved.facts.get("problems") if saved else None),
    )
    if saved is not None and path is not None:
        _restore(parts, saved, path)
    elif resume:
        parts.display.say(f"{out}: no checkpoint yet; the run starts at its beginning")
    if world > 1 and not parts.sharded:
        # Buffers are equal by construction (synchronised statistics, banks): sending them would only hide a mistake.
        parts.wrapped = DistributedDataParallel(method, broadcast_buffers=False, gradient_as_bucket_view=True)
    _announce(parts, world)
    return parts, first


def _announce(parts: Parts, world: int) -> None:
    train, say = parts.settings.train, parts.display.say
    say(
        f"{parts.settings.method} on {parts.source.name}: {len(parts.source)} recordings, {train.steps} steps of "
        f"{train.batch_size} ({train.epochs} epochs), {train.precision} on {world} x {parts.device.type}, "
        f"{train.workers} readers each"
    )
    for name, lacking in _lacking(parts.source).items():
        if lacking:
            say(f"{lacking} of {len(parts.source)} recordings have no {name!r}")
    if train.accumulate > 1 and parts.method.coupling != "none":
        say(
            f"accumulation saves memory and adds no negatives: the loss ({parts.method.coupling}) sees parts of "
            f"{train.batch_size // train.accumulate} samples, not the batch of {train.batch_size}"
        )
    published = [n for n, v in parts.method.views.items() if v.stream != "features" and _by_statistics(v)]
    if published and parts.settings.stats is None:
        say(
            f"{', '.join(published)}: normalised by published statistics; `coview stats` fits the collection's own, "
            "--stats takes them"
        )
    if world > 1 and not train.sync_batchnorm:
        say("batch normalisation uses each process's own statistics: other process counts will give other numbers")


def _lacking(source: Source) -> Mapping[str, int]:
    """Return view -> recordings without it, of sources that can lack one."""
    return getattr(source, "lacking", {})


def _by_statistics(view: ViewSpec) -> bool:
    return getattr(view, "normalise", None) == "statistics"


def _restore(parts: Parts, saved: Checkpoint, path: Path) -> None:
    """Put a checkpoint's state into the parts, after checking that it belongs to this source."""
    then, now = saved.facts["collection"], parts.source.fingerprint
    if then["fingerprint"] != now:
        raise UsageError(
            f"{path}: the run was trained on {then['name']} with fingerprint {then['fingerprint']} "
            f"({then['rows']} recordings), but {parts.source.name} now has {now} ({len(parts.source)} recordings). "
            "Continue on the old collection, or start a new run with --init-from"
        )
    for prefix, module in (("method.", parts.method), ("preprocess.", parts.preprocess)):
        own = {name.removeprefix(prefix): value for name, value in saved.model.items() if name.startswith(prefix)}
        load_state(module, own)
    load_optimiser(parts.optimiser, saved.optimiser)
    parts.display.say(f"continuing {path} at step {saved.step}")
    world = parallel.world_size()
    if world != saved.facts["world_size"]:
        parts.display.say(
            f"the checkpoint is from {saved.facts['world_size']} processes, now there are {world}: the batches and the "
            "state are the same, the numbers equal up to rounding"
        )


def _weights_of(folder: Path) -> Path:
    path = next((p for p in (folder / "model.safetensors", folder / "model" / "model.safetensors") if p.exists()), None)
    if path is None:
        raise UsageError(f"{folder}: expected a run or a model folder with model.safetensors in it (--init-from)")
    return path


def _take_statistics(preprocess: Preprocess, folder: Path) -> None:
    """Normalise as the other model was: its weights know no other scale."""
    own, theirs = preprocess.state_dict(), read_tensors(_weights_of(folder))
    found = {name: theirs[f"preprocess.{name}"] for name in own if f"preprocess.{name}" in theirs}
    preprocess.load_state_dict({n: v for n, v in found.items() if v.shape == own[n].shape}, strict=False)


def _take_weights(method: Method, folder: Path) -> None:
    """Load the encoders and heads of another run or model; every tensor of its encoders must fit."""
    path = _weights_of(folder)
    own = method.state_dict()
    theirs = {name: value for name, value in read_tensors(path).items() if not name.startswith("preprocess.")}
    wrong = [
        f"{name} is {tuple(value.shape)} there and {tuple(own[name].shape) if name in own else 'absent'} here"
        for name, value in theirs.items()
        if name.startswith("encoders.") and (name not in own or own[name].shape != value.shape)
    ]
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong[:8])
        raise UsageError(f"{path}: {len(wrong)} tensors of its encoders do not fit this method's:\n{listed}")
    fitting = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    method.load_state_dict(fitting, strict=False)
