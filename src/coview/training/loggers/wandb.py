"""Weights & Biases: a run kept in the run's folder `wandb`, offline; `wandb sync RUN/wandb/offline-run-*` sends it.

WANDB_MODE=online sends it at once, WANDB_PROJECT names another project than "coview".
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its own crashes are sent to its makers

from wandb import Settings, init

from coview.training.loggers import kept_id


class WandbLogger:
    """See `Logger`. A resumed run has the same id: a folder more, which `wandb sync --append` adds to the first.

    Steps that a killed run had done beyond its checkpoint are told twice, with the same numbers.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], step: int) -> None:
        self.run = init(
            project=os.environ.get("WANDB_PROJECT", "coview"),
            mode=cast(Any, os.environ.get("WANDB_MODE", "offline")),
            name=out.name,
            dir=str(out),
            id=kept_id(out / "wandb" / "run-id", lambda: uuid.uuid4().hex[:8]),
            resume="allow",
            config=dict(settings),
            settings=Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger.write`."""
        self.run.log(dict(values), step=step)

    def close(self, complete: bool) -> None:
        """See `Logger.close`."""
        self.run.finish(exit_code=0 if complete else 1)
