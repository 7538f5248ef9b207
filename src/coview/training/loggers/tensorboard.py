"""TensorBoard: event files in the run's folder `tensorboard`; `tensorboard --logdir RUN` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoardLogger:
    """See `Logger`. What a killed run had written beyond its checkpoint is no longer shown once it is resumed."""

    def __init__(self, out: Path, settings: Mapping[str, Any], step: int) -> None:
        self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger.write`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self, complete: bool) -> None:
        """See `Logger.close`."""
        self.writer.close()
