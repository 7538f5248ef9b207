"""MLflow: a database in the run's folder `mlflow`.

`mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows it (`pip install mlflow`: the extra is a part).
MLFLOW_TRACKING_URI names another place, such as a server. A step costs a write to the database, about 10 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else it tells its makers how it is used
# A server that does not answer would hold a run for a quarter of an hour and more, and no signal would end it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from coview.training.loggers import kept_id

EXPERIMENT = "coview"
_LONGEST = 6000  # characters of a parameter
_MOST = 100  # parameters in one call


class MLflowLogger:
    """See `Logger`. Settings are the run's parameters, `train.steps` and so on, as they were when it began."""

    def __init__(self, out: Path, settings: Mapping[str, Any], step: int) -> None:
        folder = (out / "mlflow").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}")
        self.run_id = kept_id(folder / "run-id", lambda: self._create(out.name, settings))
        self.client.update_run(self.run_id, status="RUNNING")
        # A killed run has told steps beyond its checkpoint: they are not told again.
        self.told = max((metric.step for metric in self.client.get_metric_history(self.run_id, "lr")), default=0)

    def _create(self, name: str, settings: Mapping[str, Any]) -> str:
        known = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else self.client.create_experiment(EXPERIMENT)
        made: str = self.client.create_run(experiment, run_name=name).info.run_id
        parameters = (Param(key, str(value)[:_LONGEST]) for key, value in flat(settings).items())
        while part := list(islice(parameters, _MOST)):
            self.client.log_batch(made, params=part)
        return made

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger.write`."""
        if step > self.told:
            now = round(time.time() * 1000)
            self.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in values.items()])

    def close(self, complete: bool) -> None:
        """See `Logger.close`."""
        self.client.set_terminated(self.run_id, "FINISHED" if complete else "FAILED")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return leaves
