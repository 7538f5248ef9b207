"""Where a result goes: a file beside the model, and at once the run's page and the model's card."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from coview.errors import CoviewError
from coview.evaluation.bench import Result
from coview.evaluation.figures_card import write_figures
from coview.evaluation.report import current_figures, write_report
from coview.evaluation.runs import records_of
from coview.evaluation.verdict import verdict
from coview.model import Model


def keep_result(result: Result, folder: Path, protocol: str) -> Path:
    """Write `folder`/evaluations/<protocol>.json, show it on the run's page and the model's card; return its path.

    Several processes may do so at the same time: files are replaced whole, and the page is written again where another
    result came in between.

    Raises:
        CoviewError: nothing can be written there.
    """
    path = folder / "evaluations" / f"{protocol}.json"
    try:
        result.save(path)
        known: list[tuple[str, int]] = []
        while known != (found := _stamps(path.parent)):
            known = found
            _show(folder)
    except (OSError, SafetensorError) as error:
        raise CoviewError(f"{path}: the figures cannot be kept there ({error}); make room, measure again") from error
    return path


def _show(folder: Path) -> None:
    """Write page and card of a run, or the card of a model that stands alone, with the figures of its weights."""
    if (folder / "settings.yaml").is_file():
        write_report(folder)
    place = next((each for each in (folder / "model", folder) if (each / "config.json").is_file()), None)
    if place is not None:
        figures = current_figures(folder, Model.from_run(folder).digest)
        write_figures(place, figures, verdict(figures, records_of(folder).signs()))


def _stamps(folder: Path) -> list[tuple[str, int]]:
    return sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("*.json"))
