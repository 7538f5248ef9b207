"""Samples that could not be read: counted over the whole run, all processes and resumptions, until it is too many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from coview import parallel
from coview.data.source import Source
from coview.data.views import Batch
from coview.errors import DataProblemsError, UsageError

PROBLEM_SHARE = 0.01  # more replaced samples than this stop the run
PROBLEM_FLOOR = 100  # samples that must have been read before the share means anything


class Problems:
    """How many samples the steps of a run have used, and which of them are replacements.

    Args:
        source: names the recordings.
        saved: what `state` returned when the run was last saved.
    """

    def __init__(self, source: Source, saved: Mapping[str, Any] | None = None) -> None:
        self.source = source
        try:
            replaced = saved["replaced"] if saved else []
            listed = {(str(name), str(reason)): int(times) for name, reason, times in replaced}
        except (TypeError, ValueError) as error:
            raise UsageError("state.json: problems.replaced is no list of recording, reason and times") from error
        self._before, self._listed = int(saved["read"]) if saved else 0, Counter(listed)
        self._read = 0  # here, since then
        self._replaced: Counter[tuple[str, str]] = Counter()

    def add(self, batch: Batch) -> None:
        """Count the samples of this process's part of a step."""
        self._read += len(batch)
        self._replaced.update((self.source.ids[row], reason) for row, reason in batch.replaced)

    def state(self) -> dict[str, Any]:
        """Return the counts of the whole run, the same on every process, which must all call it."""
        lines = "".join(json.dumps([*problem, times]) + "\n" for problem, times in self._replaced.items())
        letters = torch.frombuffer(bytearray(lines.encode()), dtype=torch.uint8) if lines else torch.empty(0)
        device = parallel.collective_device()
        everyone = bytes(parallel.gather(letters.to(device, torch.uint8)).tolist()).decode()
        replaced = Counter(self._listed)
        for name, reason, times in map(json.loads, everyone.splitlines()):
            replaced[name, reason] += times
        read = self._before + int(parallel.gather(torch.tensor([self._read], device=device)).sum())
        return {"read": read, "replaced": [[*problem, times] for problem, times in sorted(replaced.items())]}

    def check(self, *, final: bool = False) -> None:
        """End the run, on all processes alike, which must all call it, where too much of it is replacements.

        Args:
            final: the run is at its end: what was counted is all there will be, be it ever so little.

        Raises:
            DataProblemsError: more than 1 % of the samples used so far had to be replaced, of 100 or at the end; or
                all of them. Lists the recordings.
        """
        state = self.state()
        read, count = state["read"], sum(times for *_, times in state["replaced"])
        if count and (count == read or ((final or read >= PROBLEM_FLOOR) and count > PROBLEM_SHARE * read)):
            lines = "\n".join(f"  - {name}: {reason} ({times} times)" for name, reason, times in state["replaced"])
            raise DataProblemsError(
                f"{self.source.name}: {count} of {read} samples could not be read, more than {PROBLEM_SHARE:.0%}; the "
                f"run stops. Mend or remove these recordings and index again:\n{lines}"
            )
