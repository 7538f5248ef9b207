"""What is kept of a run: checkpoints with the model beside them, and at the end the summary."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from coview import parallel
from coview.errors import CoviewError, UsageError
from coview.files import write_aside
from coview.training import checkpoint
from coview.training.checkpoint import Checkpoint
from coview.training.run import read_lines, writing
from coview.training.setup import Parts
from coview.training.sharding import optimiser_for_file
from coview.training.signals import collapse, plateau, still
from coview.training.step import Agreed


def save(parts: Parts, done: int) -> None:
    """Write a checkpoint and the model; refuses weights that are not finite, so that `last` can always be resumed."""
    state = parts.state()
    names = [f"method.{name}" for name, _ in parts.method.named_parameters()]
    facts = {
        "world_size": parallel.world_size(),
        "collection": {"name": parts.source.name, "fingerprint": parts.source.fingerprint, "rows": len(parts.source)},
        "problems": parts.problems.state(),
        "harvest": parts.harvest.state(),
    }
    kept = Checkpoint(step=done, model=state, optimiser=optimiser_for_file(parts.optimiser), facts=facts)

    def write() -> None:
        if not all(bool(torch.isfinite(state[name]).all()) for name in names):
            raise CoviewError(
                f"step {done}: the weights are no longer finite, so no checkpoint was written; the one before is "
                "intact. Lower optimiser.lr or set optimiser.clip_gradient"
            )
        checkpoint.save(kept, parts.out / "checkpoints", parts.settings.train.keep)
        _write_model(parts, done, state)

    parallel.on_main(write)


def save_model(parts: Parts, done: int) -> None:
    """Write the model alone: a kill may have come between the last checkpoint and its model."""
    state = parts.state()
    parallel.on_main(lambda: _write_model(parts, done, state))


def _write_model(parts: Parts, done: int, state: Mapping[str, Any]) -> None:
    with writing(parts.out / "model"):
        parts.model(done, state).save(parts.out / "model")


def leave(parts: Parts, agreed: Agreed, problem: CoviewError | None, done: int) -> NoReturn:
    """Leave a run that was told to end, or whose next batch cannot be read; its checkpoint is written.

    Raises:
        SystemExit, KeyboardInterrupt: SIGTERM or Ctrl-C arrived.
        CoviewError: the problem of this process, or that of others.
    """
    if agreed.failed:
        parts.display.say(f"stopped after step {done}, which is saved; --resume continues from here")
        ranks = ", ".join(map(str, agreed.failed))
        raise problem or UsageError(f"process {ranks} could not read its next batch; its message says why")
    parts.display.say(f"stopped by {signal.Signals(agreed.signum).name} at step {done}; --resume continues from here")
    if agreed.signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + agreed.signum)


def signs(parts: Parts, log: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return what the end of a log shows of a plateau, a collapse or a loss that stands still, each with a cure."""
    method, seen = parts.method, parts.seen_together()
    return {
        "plateau": plateau(log, method.negatives(seen)),
        "collapse": collapse(log, method.coupling, method.chance_loss(seen), parts.harvest.dims),
        "still": still(log),
    }


def finish(parts: Parts, total: int) -> Path:
    """Write the summary and say what the log shows."""
    problems = parts.problems.state()["replaced"]
    if not parallel.is_main():
        return parts.out
    log = read_lines(parts.out / "metrics.jsonl")
    found, harvest = signs(parts, log), parts.harvest
    replaced = sum(times for *_, times in problems)
    losses = [line["loss"] for line in log if line["loss"] is not None]
    summary = {
        "steps": total,
        "loss": losses[-1] if losses else None,
        "negatives": parts.method.negatives(parts.seen_together()),
        "samples_per_step": harvest.samples_per_step(),
        "idle_steps": harvest.idle,
        **found,
        "replaced": replaced,
        "replaced_recordings": sorted({name for name, *_ in problems}),
    }
    with writing(parts.out / "summary.json"):
        write_aside(parts.out / "summary.json", json.dumps(summary, indent=1) + "\n")
    if replaced:
        parts.display.say(f"{replaced} samples could not be read and were replaced; summary.json lists the recordings")
    for said in (harvest.sentence(), *found.values()):
        if said:
            parts.display.say(said)
    return parts.out
