"""Loggers: a run's numbers in another program's form, beside metrics.jsonl; each is an extra, imported when asked for.

Nothing leaves this computer unless its owner has said so, in the program's own environment variables.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast

from coview.errors import CoviewError, UsageError
from coview.files import write_aside

LOGGERS = {"tensorboard": "TensorBoardLogger", "wandb": "WandbLogger", "mlflow": "MLflowLogger"}


class Logger(Protocol):
    """Where the numbers of one run go; a resumed run goes on in the same place.

    It is built with the run's folder, its settings as plain data (`run_to_dict`) and the steps that are behind it.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], step: int) -> None:
        """Begin, or go on with what was begun from this folder."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the finite numbers of a step, as metrics.jsonl has them."""

    def close(self, complete: bool) -> None:
        """End; `complete` says whether the run came to its end."""


def load_loggers(names: Iterable[str]) -> dict[str, type[Logger]]:
    """Import loggers by name.

    Raises:
        UsageError: a logger's package is not installed; names the extra that brings it.
    """
    kinds: dict[str, type[Logger]] = {}
    for name in names:
        try:
            module = importlib.import_module(f"coview.training.loggers.{name}")
        except ImportError as error:
            raise UsageError(f'train.loggers: {name} needs the extra: pip install "coview[{name}]"') from error
        kinds[name] = cast(type[Logger], getattr(module, LOGGERS[name]))
    return kinds


def kept_id(path: Path, make: Callable[[], str]) -> str:
    """Return the id that a file holds; where there is none yet it is made, and written there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, make() + "\n")
    return path.read_text(encoding="utf-8").strip()


class Loggers:
    """A context that tells all loggers of a run. One that fails is named and left out: training goes on.

    Args:
        say: prints a line for people.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say, self.open = say, dict[str, Logger]()

    def begin(self, kinds: Mapping[str, type[Logger]], out: Path, settings: Mapping[str, Any], step: int) -> None:
        """Begin loggers (name -> class, as `load_loggers` returns them), each as `Logger.__init__`.

        Raises:
            CoviewError: one cannot begin.
        """
        for name, kind in kinds.items():
            try:
                self.open[name] = kind(out, settings, step)
            except Exception as error:  # another program's, of any kind
                raise CoviewError(f"train.loggers: {name} cannot begin ({error})") from error

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda logger: logger.close(kind is None))

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Tell a step's line of metrics.jsonl; what is null there is left out."""
        numbers = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        self._each(lambda logger: logger.write(step, numbers))

    def _each(self, act: Callable[[Logger], None]) -> None:
        for name in list(self.open):
            try:
                act(self.open[name])
            except Exception as error:  # another program's, of any kind: no reason to lose a training run
                del self.open[name]
                self.say(f"{name} failed and gets no more numbers ({error}); metrics.jsonl has all of them")
