"""Everything that happens before the first step: building, entering the run folder, taking state over."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from coview import batchnorm, parallel
from coview.data.loader import Loader
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.source import Source, cropped
from coview.data.statistics import read_statistics
from coview.encoders.recompute import recompute
from coview.errors import SettingsError, UsageError
from coview.methods import build, views_of
from coview.methods.contract import Facts, Method
from coview.model import Model
from coview.training import cached, checkpoint
from coview.training.checkpoint import Checkpoint
from coview.training.display import Display
from coview.training.films import through_cache
from coview.training.harvest import Harvest
from coview.training.loggers import load_loggers
from coview.training.optimisers import make_optimiser
from coview.training.problems import Problems
from coview.training.run import enter
from coview.training.settings import RunSettings, load_run, resolve
from coview.training.sharding import blocks, shard, state_for_file, whole_state
from coview.training.takeover import restore, take_statistics, take_weights


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
    harvest: Harvest

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

    def seen_together(self) -> int:
        """Return how many samples a loss sees together, as counted; before the first step, what was asked for."""
        train, mean = self.settings.train, self.harvest.samples_per_step()
        return round((train.batch_size if mean is None else mean) / train.accumulate)


def build_method(settings: RunSettings, source: Source | None = None, device: str = "cpu") -> tuple[Method, Source]:
    """Open the source of a run and build its method, with weights drawn from the run's seed; "meta": with none."""
    if source is None:
        wanted = views_of(settings.method, settings.method_settings)
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


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a run begins: in which folder, and what it takes over."""

    out: Path
    resume: bool = False  # continue the run in the folder; start it where there is none yet
    overwrite: bool = False  # remove the run in the folder
    init_from: Path | None = None  # a run or a model folder whose weights are taken over
    quiet: bool = False


def prepare(
    settings: RunSettings, start: Start, device: torch.device, source: Source | None, held: ExitStack
) -> tuple[Parts, int]:
    """Build everything, enter the run's folder, and return the parts and the first step; `held` gets the folder."""
    method, source = build_method(settings, source)
    settings, source, told = through_cache(settings, source, method.views, _stored_choice(start))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = parallel.world_size()
    settings = resolve(settings, device=device.type, rows=len(source), world=world, local_world=local)
    check_parts(settings, method)
    parallel.on_main(lambda: enter(start.out, settings, resume=start.resume, overwrite=start.overwrite, held=held))
    path = checkpoint.last(start.out / "checkpoints") if start.resume else None
    saved = None if path is None else checkpoint.load(path)
    preprocess = _preprocessing(settings, method, source, start, saved, device)
    _fit_to_device(settings, method, start, device)
    parts = _gathered(settings, start, device, source, method, preprocess, saved)
    if saved is not None and path is not None:
        restore(parts, saved, path)
    elif start.resume:
        parts.display.say(f"{start.out}: no checkpoint yet; the run starts at its beginning")
    if world > 1 and not parts.sharded and settings.train.cached == 1:  # else gradients are averaged by themselves
        # Buffers are equal by construction (synchronised statistics, banks): sending them would only hide a mistake.
        parts.wrapped = DistributedDataParallel(method, broadcast_buffers=False, gradient_as_bucket_view=True)
    _announce(parts, world)
    if told:
        parts.display.say(told)
    return parts, 0 if saved is None else saved.step


def _stored_choice(start: Start) -> str | None:
    """Return how a run that is continued reads films: as it has begun."""
    stored = start.out / "settings.yaml"
    return load_run(stored).train.films if start.resume and stored.is_file() else None


def check_parts(settings: RunSettings, method: Method) -> None:
    """Refuse parts of a batch in which nothing can ever be learnt, and loggers that are not installed.

    Raises:
        SettingsError: a part holds fewer samples than the method's loss needs, or it cannot be cached.
        UsageError: a logger needs an extra.
    """
    load_loggers(settings.train.loggers)
    _check_cached(settings, method)
    train, least = settings.train, method.least_batch
    part = train.batch_size // train.accumulate
    if part < least and not method.closed_form:
        raise SettingsError(
            [
                f"train.batch_size: {train.batch_size} samples in {train.accumulate} accumulated parts are {part} at a "
                f"time, and {settings.method} learns from at least {least}: choose a batch_size of "
                f"{least * train.accumulate} or more, or fewer parts"
            ]
        )


def _check_cached(settings: RunSettings, method: Method) -> None:
    """Refuse parts of a batch that could not be encoded one by one."""
    why = cached.obstacle(method)
    if settings.train.sharding == "full":
        why = "divided parameters are gathered for whole steps: leave train.sharding at none"
    if settings.train.cached > 1 and why:
        raise SettingsError([f"train.cached: {settings.method} cannot be trained so, {why}"])


def _preprocessing(
    settings: RunSettings, method: Method, source: Source, start: Start, saved: Checkpoint | None, device: torch.device
) -> Preprocess:
    """Return the preprocessing with its statistics: stated ones, else those of what is taken over; a checkpoint's come
    later."""
    preprocess = Preprocess(method.views, settings.augment)
    preprocess.fit_features(source)
    if saved is None and settings.stats is not None:
        preprocess.set_statistics(read_statistics(Path(settings.stats), method.views))
    elif saved is None and start.init_from is not None:
        take_statistics(preprocess, start.init_from)
    return preprocess.to(device)


def _fit_to_device(settings: RunSettings, method: Method, start: Start, device: torch.device) -> None:
    """Bring the method to its device in the form in which it is trained, with the weights that it starts from."""
    train = settings.train
    method.to(device)
    if train.sync_batchnorm:
        batchnorm.synchronise(method)
    if start.init_from is not None:
        take_weights(method, start.init_from)
    if train.compile:
        for encoder in {id(encoder): encoder for encoder in method.encoders.values()}.values():
            encoder.compile()
    if train.recompute:
        recompute(blocks(method))
    if train.sharding == "full" and parallel.world_size() > 1:
        shard(method, device)


def _gathered(
    settings: RunSettings,
    start: Start,
    device: torch.device,
    source: Source,
    method: Method,
    preprocess: Preprocess,
    saved: Checkpoint | None,
) -> Parts:
    train, facts = settings.train, {} if saved is None else saved.facts
    assert train.steps is not None and isinstance(train.workers, int)  # resolved
    first = 0 if saved is None else saved.step
    display = Display(train.steps, first, quiet=start.quiet or not parallel.is_main())
    loader = Loader(
        cropped(source, method.views, settings.augment),
        batch_size=train.batch_size,
        seed=settings.seed,
        rank=parallel.rank(),
        world=parallel.world_size(),
        clips_per_recording=settings.clips_per_recording,
        workers=train.workers,
        say=display.say,
    )
    groups = method.parameter_groups(settings.optimiser.weight_decay, settings.optimiser.decay)
    return Parts(
        settings=settings,
        source=source,
        loader=loader,
        preprocess=preprocess,
        method=method,
        wrapped=method,
        optimiser=make_optimiser(groups, settings.optimiser, device),
        device=device,
        out=start.out,
        display=display,
        problems=Problems(source, facts.get("problems")),
        harvest=Harvest(facts.get("harvest")),
    )


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
    small: Mapping[str, int] = getattr(parts.source, "small", {})
    for name, count in small.items():
        if count:
            side = parts.source.views[name].shape[-1]
            say(f"{count} of {len(parts.source)} pictures are smaller than {name!r} ({side} pixels) and are enlarged")
    if train.accumulate > 1 and parts.method.coupling != "none":
        say(
            f"accumulation saves memory and adds no negatives: the loss ({parts.method.coupling}) sees parts of "
            f"{train.batch_size // train.accumulate} samples, not the batch of {train.batch_size}"
        )
    published = [n for n, v in parts.method.views.items() if v.medium and v.statistics is not None]
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
