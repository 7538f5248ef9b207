"""The training loop, read from top to bottom: one file, any method, one process or many.

`train` sets up, `_steps` is the loop itself, the rest are its parts in the order in which it needs them. What a run
computes is a function of its settings and its source alone: the batches of a step, its learning rate and its random
numbers all follow from the step's number, so that a run stopped anywhere and resumed gives the same numbers.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from coview import parallel
from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.bank import write_bank
from coview.embedding.extract import extract
from coview.errors import CoviewError, UsageError
from coview.files import write_aside
from coview.methods.contract import Step
from coview.model import Model, Space
from coview.randomness import make_key
from coview.training import checkpoint
from coview.training.checkpoint import Checkpoint
from coview.training.first_batch import write_samples
from coview.training.interruption import stop_signals
from coview.training.look import knn, look
from coview.training.run import Lines, open_board, read_lines
from coview.training.schedules import rate_factor
from coview.training.settings import RunSettings, choose_device
from coview.training.setup import Parts, prepare
from coview.training.sharding import optimiser_for_file
from coview.training.signals import COLLAPSE_STEP, LOOKED_BACK, collapse, plateau
from coview.training.unwell import unwell


def train(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    init_from: Path | None = None,
    source: Source | None = None,
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
        after_epoch: called on all processes with (epochs done, model); where it returns True, training ends there.
        quiet: show nothing.

    Raises:
        UsageError, SettingsError: the settings do not fit together, the machine, or the run in `out`.
        CoviewError: the loss stopped being finite, or a checkpoint could not be written.
        DataProblemsError: more than 1 % of the samples could not be read.
        SystemExit, KeyboardInterrupt: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
    """
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite removes it; ask for one of them")
    joined = parallel.joined()  # a group that the caller has made is left to the caller
    device = parallel.initialise(choose_device(settings.train.device))
    try:
        # Weights and dropout need torch's own generator; the caller's is put back afterwards.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), stop_signals() as stop:
            parts, first = prepare(settings, out, device, source, resume, overwrite, init_from, quiet)
            with parts.display:
                return _steps(parts, first, stop, after_epoch)
    finally:
        if not joined:
            parallel.shutdown()


def _steps(parts: Parts, first: int, stop: list[int], after_epoch: Callable[[int, Model], bool] | None = None) -> Path:
    """Run the loop from step `first` to the end, and leave the finished run."""
    settings, train, method = parts.settings, parts.settings.train, parts.method
    total, per_epoch = int(train.steps or 0), parts.loader.steps_per_epoch
    metrics, timings = (
        Lines(parts.out / name if parallel.is_main() else None, first) for name in ("metrics.jsonl", "timings.jsonl")
    )
    board = open_board(parts.out / "tensorboard" if train.tensorboard and parallel.is_main() else None)
    stream = _prepared(parts, first)
    if first == 0:
        method.fit_targets(islice(_prepared(parts, 0), per_epoch))
    started, waited, recent = time.perf_counter(), 0.0, deque[dict[str, Any]](maxlen=LOOKED_BACK)
    batch = next(stream) if first < total else None
    for step in range(first, total):
        assert batch is not None
        if step % per_epoch == 0:
            method.refresh(step // per_epoch, _embedder(parts))
        rate = settings.optimiser.lr * rate_factor(step, total, settings.schedule)
        for group in parts.optimiser.param_groups:
            group["lr"] = rate
        # Dropout's numbers follow from (seed, step, rank): there is no generator to save.
        torch.manual_seed(int(make_key(settings.seed, step, parallel.rank())))
        method.train()
        parts.optimiser.zero_grad(set_to_none=True)
        result = _learn(parts, batch)
        if settings.optimiser.clip_gradient is not None:
            nn.utils.clip_grad_norm_(method.parameters(), settings.optimiser.clip_gradient)
        parts.optimiser.step()
        method.after_step()

        # The next batch is fetched while the device still works; reading the numbers waits for it.
        current, before = batch, time.perf_counter()
        batch = next(stream) if step + 1 < total else None
        waited += time.perf_counter() - before
        numbers, signum = _agree(result, stop)
        if not math.isfinite(numbers["loss"]):
            raise CoviewError(
                f"step {step}: the loss is not finite: {unwell(result, current)}. Training stops; the last checkpoint "
                "is intact. Look at those recordings, lower optimiser.lr or set optimiser.clip_gradient"
            )
        done = step + 1
        watched = done % train.watch_every == 0 or done == total
        parts.problems.add(current)
        line = {"epoch": current.epoch, "lr": rate, **numbers}
        if watched:
            line |= look(result)
        if train.knn_every and done % (train.knn_every * per_epoch) == 0:
            line |= knn(parts.model(), parts.source, train.batch_size)
        metrics.write(done, line)
        board(done, line)
        recent.append(line)
        if done == COLLAPSE_STEP:
            for sentence in _signs(parts, list(recent)):
                parts.display.say(f"step {done}: {sentence}")
        elapsed = time.perf_counter() - started
        speed, wait = (done - first) * train.batch_size / elapsed, waited / elapsed
        if watched:
            timings.write(done, {"seconds": elapsed, "samples_per_second": speed, "data_wait": wait})
        parts.display.step(done, _note(numbers["loss"], speed, wait))
        # Before the checkpoint: a kill between the two repeats the epoch's end instead of losing it.
        ended = bool(after_epoch and done % per_epoch == 0 and after_epoch(done // per_epoch, parts.model(done)))
        if done == total or ended:
            method.finish(_embedder(parts))
        if signum or ended or done % train.checkpoint_every == 0 or done == total:
            _save(parts, done)
        if watched or parallel.world_size() == 1:
            parts.problems.check()
        if signum:
            metrics.close()
            _stop(parts, signum, done)
        if ended:
            total = done
            break
    metrics.close()
    timings.close()
    return _finish(parts, total)


def _prepared(parts: Parts, first: int) -> Iterator[Batch]:
    """Yield model batches on the device, from step `first` on, with the planned number of epochs filled in."""
    epochs = parts.settings.train.epochs
    for step, raw in enumerate(parts.loader.stream(first), first):
        batch = replace(raw.to(parts.device), epochs=epochs)
        with torch.no_grad():
            prepared = parts.preprocess(batch, train=True)
        if step == 0 and parallel.is_main():
            write_samples(parts.out / "samples", parts.method.views, raw, prepared)
        yield prepared


def _learn(parts: Parts, batch: Batch) -> Step:
    """Add up the gradients of a batch, in as many parts as asked; returns their mean loss and joined embeddings."""
    train, pieces = parts.settings.train, []
    share = len(batch) // train.accumulate
    for index in range(train.accumulate):
        piece = batch if train.accumulate == 1 else batch.select(slice(index * share, (index + 1) * share))
        ended = index + 1 == train.accumulate
        alone = isinstance(parts.wrapped, DistributedDataParallel) and not ended
        with parts.wrapped.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with torch.autocast(parts.device.type, torch.bfloat16, enabled=train.precision == "bf16"):
                step = parts.wrapped(piece)
            (step.loss / train.accumulate).backward()
        pieces.append(step)
    return Step(
        torch.stack([step.loss.detach() for step in pieces]).mean(),
        {
            name: torch.stack([step.parts[name] for step in pieces if name in step.parts]).mean()
            for name in sorted(set().union(*(step.parts for step in pieces)))
        },
        {
            view: torch.cat([step.embeddings[view] for step in pieces if view in step.embeddings])
            for view in sorted(set().union(*(step.embeddings for step in pieces)))
        },
    )


def _agree(result: Step, stop: list[int]) -> tuple[dict[str, float], int]:
    """Return the step's numbers as means over the processes, and the signal that any of them has received, or 0."""
    names = ["loss", *result.parts]
    values = [result.loss.float(), *(part.float() for part in result.parts.values())]
    signum = result.loss.new_tensor(float(stop[0] if stop else 0), dtype=torch.float32)
    everyone = parallel.gather(torch.stack([*values, signum])[None]).double()
    *means, _ = everyone.mean(0).tolist()
    return dict(zip(names, means, strict=True)), int(everyone[:, -1].max())


def _embedder(parts: Parts) -> Callable[..., Any]:
    """Return what `refresh` gets: a function from a space's name to the features of the whole source, in row order."""
    train = parts.settings.train

    def embed(space: Space = "projected") -> Any:
        model = parts.model()
        if train.features_on_disk:
            return write_bank(model, parts.source, parts.out / "features", space=space, batch_size=train.batch_size)
        return extract(model, parts.source, space=space, batch_size=train.batch_size)

    return embed


def _chance(parts: Parts) -> float | None:
    """Return what equal embeddings would cost, for the samples that a loss sees together."""
    train = parts.settings.train
    return parts.method.chance_loss(train.batch_size // train.accumulate)


def _signs(parts: Parts, log: list[dict[str, Any]]) -> list[str]:
    """Return what the end of a log shows of a plateau or a collapse, with what usually helps."""
    train = parts.settings.train
    negatives = parts.method.negatives(train.batch_size // train.accumulate)
    found = (plateau(log, negatives), collapse(log, parts.method.coupling, _chance(parts)))
    return [sentence for sentence in found if sentence]


def _note(loss: float, speed: float, wait: float) -> Callable[[], str]:
    return lambda: f"loss {loss:.4f}  {speed:.0f} samples/s  waiting for data {wait:.0%}"


def _save(parts: Parts, done: int) -> None:
    """Write a checkpoint and the model; refuses weights that are not finite, so that `last` can always be resumed."""
    state = parts.state()
    names = [f"method.{name}" for name, _ in parts.method.named_parameters()]
    facts = {
        "world_size": parallel.world_size(),
        "collection": {"name": parts.source.name, "fingerprint": parts.source.fingerprint, "rows": len(parts.source)},
        "problems": parts.problems.state(),
    }
    kept = Checkpoint(step=done, model=state, optimiser=optimiser_for_file(parts.optimiser), facts=facts)

    def write() -> None:
        if not all(bool(torch.isfinite(state[name]).all()) for name in names):
            raise CoviewError(
                f"step {done}: the weights are no longer finite, so no checkpoint was written; the one before is "
                "intact. Lower optimiser.lr or set optimiser.clip_gradient"
            )
        checkpoint.save(kept, parts.out / "checkpoints", parts.settings.train.keep)
        try:
            parts.model(done, state).save(parts.out / "model")
        except (OSError, SafetensorError) as error:
            raise CoviewError(
                f"{parts.out / 'model'}: cannot be written ({error}); make room, then --resume"
            ) from error

    parallel.on_main(write)


def _stop(parts: Parts, signum: int, done: int) -> None:
    parts.display.say(f"stopped by {signal.Signals(signum).name} at step {done}; --resume continues from here")
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + signum)


def _finish(parts: Parts, total: int) -> Path:
    """Write the summary and say what the log shows."""
    problems = parts.problems.state()["replaced"]
    if not parallel.is_main():
        return parts.out
    log = read_lines(parts.out / "metrics.jsonl")
    negatives = parts.method.negatives(parts.settings.train.batch_size // parts.settings.train.accumulate)
    sentence = plateau(log, negatives)
    collapsed = collapse(log, parts.method.coupling, _chance(parts))
    replaced = sum(times for *_, times in problems)
    summary = {
        "steps": total,
        "loss": log[-1]["loss"] if log else None,
        "negatives": negatives,
        "plateau": sentence,
        "collapse": collapsed,
        "replaced": replaced,
        "replaced_recordings": sorted({name for name, *_ in problems}),
    }
    write_aside(parts.out / "summary.json", json.dumps(summary, indent=1) + "\n")
    if replaced:
        parts.display.say(f"{replaced} samples could not be read and were replaced; summary.json lists the recordings")
    for said in (sentence, collapsed):
        if said:
            parts.display.say(said)
    return parts.out
