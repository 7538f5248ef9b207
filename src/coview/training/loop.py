"""The training loop, read from top to bottom: one file, any method, one process or many.

`train` sets up, `_steps` is the loop itself, the rest are its parts in the order in which it needs them. What a run
computes is a function of its settings and its source alone: the batches of a step, its learning rate and its random
numbers all follow from the step's number, so that a run stopped anywhere and resumed gives the same numbers.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from coview import parallel
from coview.data.source import Source
from coview.embedding.extract import extract
from coview.embedding.kept import extract_to_disk
from coview.errors import CoviewError, UsageError
from coview.methods.contract import Method
from coview.model import Model, Space
from coview.randomness import make_key
from coview.training.feed import Feed, prepared
from coview.training.interruption import stop_signals
from coview.training.keep import finish, leave, save, save_model, signs
from coview.training.loggers import Loggers, load_loggers
from coview.training.look import knn, look
from coview.training.run import Lines
from coview.training.schedules import rate_factor
from coview.training.settings import RunSettings, choose_device, run_to_dict
from coview.training.setup import Parts, Start, prepare
from coview.training.signals import COLLAPSE_STEP, LOOKED_BACK
from coview.training.step import agree, learn
from coview.training.unwell import unwell

Tell = Callable[[int, Mapping[str, Any]], object]  # of the steps that are done, and the last one's line


def train(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    init_from: Path | None = None,
    source: Source | None = None,
    after_step: Tell | None = None,
    after_epoch: Callable[[int, Model], bool] | None = None,
    quiet: bool = False,
) -> Path:
    """Train a method and return the run's folder, `out`.

    The folder then holds settings.yaml, environment.json, metrics.jsonl (a line per step), timings.jsonl, checkpoints/,
    samples/, model/ and summary.json.

    Args:
        resume: continue the run in `out` from its last checkpoint; starts it where there is none yet.
        overwrite: remove what is in `out`, if it is a run.
        init_from: a run or a model folder whose weights are taken over, and without `settings.stats` its statistics of
            normalisation; nothing else.
        source: what to train on instead of opening `settings.collection`.
        after_step: called on process 0 with (steps done, the step's line of metrics.jsonl), for logs of your own.
        after_epoch: called on all processes with (epochs done, model); where it returns True, training ends there.
        quiet: show nothing.

    Raises:
        UsageError, SettingsError: the settings do not fit together, the machine, or the run in `out`.
        CoviewError: the loss stopped being finite or never moved, a batch could not be read (what was learnt is saved
            first), or a file could not be written.
        DataProblemsError: more than 1 % of the samples could not be read, or no step had anything to learn from.
        SystemExit, KeyboardInterrupt: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
    """
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite removes it; ask for one of them")
    joined = parallel.joined()  # a group that the caller has made is left to the caller
    device = parallel.initialise(choose_device(settings.train.device))
    try:
        # Weights and dropout need torch's own generator; the caller's is put back afterwards.
        with (
            ExitStack() as held,
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            stop_signals() as stop,
        ):
            start = Start(out=out, resume=resume, overwrite=overwrite, init_from=init_from, quiet=quiet)
            parts, first = prepare(settings, start, device, source, held)
            kinds, plain = load_loggers(settings.train.loggers), run_to_dict(parts.settings)
            with parts.display, Loggers(parts.display.say) as logs:
                parallel.on_main(lambda: logs.begin(kinds, parts.out, plain, first))
                told: list[Tell] = [logs.write, *filter(None, [after_step])] if parallel.is_main() else []
                return _steps(parts, first, stop, told, after_epoch)
    finally:
        if not joined:
            parallel.shutdown()


def _steps(
    parts: Parts,
    first: int,
    stop: list[int],
    told: Sequence[Tell],
    after_epoch: Callable[[int, Model], bool] | None,
) -> Path:
    """Run the loop from step `first` to the end, and leave the finished run; `told` get each line of metrics.jsonl."""
    settings, train, method = parts.settings, parts.settings.train, parts.method
    total, per_epoch = int(train.steps or 0), parts.loader.steps_per_epoch
    metrics, timings = (
        Lines(parts.out / name if parallel.is_main() else None, first) for name in ("metrics.jsonl", "timings.jsonl")
    )
    if first == 0 and (said := method.study(parts.source)):
        parts.display.say(said)
    parts.loader.weigh(method.chances())
    feed = Feed(parts, first)
    if first == 0:
        method.fit_targets(islice(prepared(parts, 0), per_epoch))
    started, recent = time.perf_counter(), deque[dict[str, Any]](maxlen=LOOKED_BACK)
    batch = feed.take() if first < total else None
    if first == total:
        save_model(parts, total)
    if batch is None and first < total:
        raise feed.problem or CoviewError("there is no first batch")
    feed.waited = 0.0
    for step in range(first, total):
        assert batch is not None
        if step % per_epoch == 0:
            method.refresh(step // per_epoch, _embedder(parts))
        rate = settings.optimiser.lr * rate_factor(step, total, settings.schedule)
        for group in parts.optimiser.param_groups:
            group["lr"] = (settings.optimiser.lr if group.get("steady") else rate) * group.get("lr_scale", 1.0)
        # Dropout's numbers follow from (seed, step, rank): there is no generator to save.
        torch.manual_seed(int(make_key(settings.seed, step, parallel.rank())))
        method.train()
        result = learn(parts, batch)

        # The next batch is fetched while the device still works; reading the numbers waits for it.
        current = batch
        batch = feed.take() if step + 1 < total else None
        agreed = agree(result, len(current), stop, feed.problem is not None)
        loss, done = agreed.numbers["loss"], step + 1
        if loss is not None and not math.isfinite(loss):
            raise CoviewError(
                f"step {step}: the loss is not finite: {unwell(result, current)}. Training stops; the last checkpoint "
                "is intact. Look at those recordings, lower optimiser.lr or set optimiser.clip_gradient"
            )
        watched = done % train.watch_every == 0 or done == total
        parts.problems.add(current)
        parts.harvest.add(loss, agreed.used)
        line = {"epoch": current.epoch, "lr": rate, **agreed.numbers}
        if watched:
            line |= look(result)
            parts.harvest.dims |= {view: min(z.shape[-1], agreed.used - 1) for view, z in result.embeddings.items()}
        if train.knn_every and done % (train.knn_every * per_epoch) == 0:
            line |= knn(parts.model(), parts.source, train.batch_size)
        metrics.write(done, line)
        for tell in told:
            tell(done, dict(line))
        recent.append(line)
        if done == COLLAPSE_STEP:
            for sentence in filter(None, signs(parts, list(recent)).values()):
                parts.display.say(f"step {done}: {sentence}")
        elapsed = time.perf_counter() - started
        speed, wait = (done - first) * train.batch_size / elapsed, feed.waited / elapsed
        if watched:
            timings.write(done, {"seconds": elapsed, "samples_per_second": speed, "data_wait": wait})
        parts.display.step(done, _note(loss, speed, wait))
        if not method.closed_form:
            parts.harvest.check(per_epoch, _needs(parts), final=done == total)
        # Before the checkpoint: a kill between the two repeats the epoch's end instead of losing it.
        ended = bool(after_epoch and done % per_epoch == 0 and after_epoch(done // per_epoch, parts.model(done)))
        if done == total or ended:
            method.finish(_embedder(parts))
        if agreed.signum or agreed.failed or ended or done % train.checkpoint_every == 0 or done == total:
            save(parts, done)
        if agreed.signum or agreed.failed:
            metrics.close()
            leave(parts, agreed, feed.problem, done)
        if watched or parallel.world_size() == 1:
            parts.problems.check(final=done == total)
        if ended:
            total = done
            break
    metrics.close()
    timings.close()
    return finish(parts, total)


def _needs(parts: Parts) -> str:
    """Return what a step needs to learn, for the message of a run that learns nothing."""
    method, least, views = parts.method, parts.method.least_batch, ", ".join(parts.method.views)
    if type(method).needs is not Method.needs:
        views = f"what a step needs of {views}"
    has = " and ".join(filter(None, [views, "a label" if method.labelled else "", method.beside]))
    many = "a sample that has" if least == 1 else f"{least} samples that have"
    return f"{parts.settings.method} needs {many} {has} in a part of a batch"


def _embedder(parts: Parts) -> Callable[..., Any]:
    """Return what `refresh` gets: a function from a space's name to the features of the whole source, in row order."""
    train = parts.settings.train

    def embed(space: Space = "projected") -> Any:
        model = parts.model()
        if train.features_on_disk:
            where = parts.out / "features"
            return extract_to_disk(where, model, parts.source, space=space, batch_size=train.batch_size)
        return extract(model, parts.source, space=space, batch_size=train.batch_size)

    return embed


def _note(loss: float | None, speed: float, wait: float) -> Callable[[], str]:
    said = "nothing to learn from" if loss is None else f"loss {loss:.4f}"
    return lambda: f"{said}  {speed:.0f} samples/s  waiting for data {wait:.0%}"
