"""What a run had to learn from: steps without a usable sample, samples that losses used, a loss that never moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coview.errors import CoviewError, DataProblemsError

IDLE_STEPS = 100  # steps without anything to learn from, from the first on, that end a run; or an epoch of fewer
SAME_STEPS, LEAST_SAME = 20, 3  # equal losses, from the first on, that end a run: while it goes on, and at its end


class Harvest:
    """Counts of a run, over all processes and resumptions.

    Args:
        saved: what `state` returned when the run was last saved; None for a new run, or for one saved before this.

    Attributes:
        steps: optimiser steps whose batches were looked at; `idle` of them had nothing to learn from.
        used: samples that the losses of these steps used, all processes together.
        dims: dimensions that each view's embeddings could fill when they were last looked at.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {}
        self.steps, self.idle, self.used = (int(saved.get(name, 0)) for name in ("steps", "idle", "used"))
        self.dims: dict[str, int] = dict(saved.get("dims", {}))
        self._loss: float | None = saved.get("loss")  # of the first step that learnt
        self._same = int(saved.get("same", 0))  # steps in a row, from that one on, with exactly its loss
        self._moved = bool(saved.get("moved", False))

    def add(self, loss: float | None, used: int) -> None:
        """Count a step: its loss, None where it was idle, and the samples that it used, of all processes."""
        self.steps += 1
        if loss is None:
            self.idle += 1
            return
        self.used += used
        self._loss = loss if self._loss is None else self._loss
        self._moved |= loss != self._loss
        self._same += not self._moved

    def state(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        counts = {"steps": self.steps, "idle": self.idle, "used": self.used, "dims": self.dims}
        return {**counts, "loss": self._loss, "same": self._same, "moved": self._moved}

    def samples_per_step(self) -> float | None:
        """Return the mean number of samples that a step learnt from, of the steps that learnt; None without any."""
        learnt = self.steps - self.idle
        return self.used / learnt if learnt else None

    def check(self, per_epoch: int, needs: str, *, final: bool) -> None:
        """End a run that learns nothing; on all processes alike.

        Args:
            per_epoch: steps of an epoch.
            needs: what a step needs to learn, for the message.
            final: the run is at its end, so that whatever was counted is all there will be.

        Raises:
            DataProblemsError: no step from the first on had anything to learn from, for an epoch or 100 steps.
            CoviewError: every step had exactly the same loss, for 20 steps.
        """
        if self.idle == self.steps and (final or self.steps >= min(per_epoch, IDLE_STEPS)):
            raise DataProblemsError(
                f"none of the {self.steps} steps so far had anything to learn from, and no weight has moved: {needs}. "
                "Index recordings that have all of this, raise train.batch_size or lower train.accumulate"
            )
        if not self._moved and self._same >= (LEAST_SAME if final else SAME_STEPS):
            mean = self.used / self._same
            raise CoviewError(
                f"the loss has been exactly {self._loss:g} in each of {self._same} steps, so nothing is learnt: "
                f"{mean:.1f} samples of a batch were used on average ({needs}). Look at samples/ for constant views, "
                "raise train.batch_size or optimiser.lr, and see that recordings have all views"
            )

    def sentence(self) -> str | None:
        """Return what is to be said of idle steps; None where every step learnt."""
        if not self.idle:
            return None
        return f"{self.idle} of {self.steps} steps ({self.idle / self.steps:.0%}) had nothing to learn from"
