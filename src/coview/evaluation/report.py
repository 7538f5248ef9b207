"""report.html: one file that shows a run without anything beside it: curves, controls, a map, clips, settings."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from coview.data.collection import Collection
from coview.data.source import Source
from coview.errors import CoviewError, UsageError
from coview.evaluation.exhibits import Exhibits, make_exhibits
from coview.evaluation.figures import Curve, bars, curves, scatter
from coview.evaluation.statistics import Measurement
from coview.files import write_aside

if TYPE_CHECKING:
    from coview.model import Model

SIZE_LIMIT = 3_000_000  # bytes of the page
_WIDTH = 1100  # pixels of a shown sample sheet, at most
_SOUNDS = 4  # of the first batch
_POINTS = 400  # of a curve
# Which figures get bars; the table has all of them.
_BARRED = ("video_probe", "audio_probe", "_knn", "class_p1_v2a", "class_p1_a2v", "_v2a_r1", "_a2v_r1")
_CONTROLS = ("shuffled", "random", "statistics", "supervised-av")  # behind the model, in this order


def write_report(
    run: Path,
    *,
    results: Sequence[Measurement] = (),
    model: Model | None = None,
    source: Source | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write `run`/report.html and return its path.

    Args:
        run: a run folder; what is missing in it is left out of the page.
        results: figures to show beside those stored in `run`/evaluations.
        model, source: with both, the page has a map of embeddings and examples of retrieval from this source.
        notes: sentences to show beside those stored with the figures.
        seed: chooses the recordings shown.

    Raises:
        UsageError: the folder is no run.
        CoviewError: the page is larger than `SIZE_LIMIT`.
    """
    if not (run / "settings.yaml").is_file():
        raise UsageError(f"{run} is not a run (it has no settings.yaml)")
    settings = yaml.safe_load((run / "settings.yaml").read_text(encoding="utf-8"))
    summary = _json(run / "summary.json")
    measured, stored_notes = stored_results(run / "evaluations")
    known = {m.name for m in results}
    everything = [*results, *(m for m in measured if m.name not in known)]
    exhibits = make_exhibits(model, source, seed=seed) if model is not None and source is not None else None
    metrics, timings = _lines(run / "metrics.jsonl"), _lines(run / "timings.jsonl")
    page = render(
        "report.html.jinja",
        title=_title(settings),
        settings=_flat(settings),
        summary=summary,
        environment=_flat(_json(run / "environment.json")),
        tiles=_headline(everything),
        warnings=warnings_of(summary, metrics, everything),
        notes=list(dict.fromkeys([*notes, *stored_notes])),
        curves=_curves(metrics, timings, summary.get("negatives")),
        bars=Markup(bars(groups)) if (groups := _groups(everything)) else None,
        maps=_maps(exhibits),
        examples=exhibits.examples if exhibits else [],
        gallery=exhibits.gallery if exhibits else 0,
        grids=[(file.stem, *_sheet(file)) for file in sorted((run / "evaluations").glob("retrieval-*.png"))],
        samples=_samples(run / "samples"),
        results=everything,
        collection=_collection(settings.get("collection")),
    )
    if len(page.encode()) > SIZE_LIMIT:
        raise CoviewError(
            f"the page has {len(page.encode())} bytes; its parts are limited to keep it below {SIZE_LIMIT}"
        )
    write_aside(run / "report.html", page)
    return run / "report.html"


def stored_results(folder: Path) -> tuple[list[Measurement], list[str]]:
    """Return the measurements and notes of all evaluation files of a run."""
    results: dict[str, Measurement] = {}
    notes: dict[str, None] = {}
    for file in sorted(folder.glob("*.json")):
        stored = json.loads(file.read_text(encoding="utf-8"))
        results |= {row["name"]: Measurement(**row) for row in stored["results"]}
        notes |= dict.fromkeys(stored.get("notes", []))
    return list(results.values()), list(notes)


def warnings_of(
    summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], results: Sequence[Measurement]
) -> list[str]:
    """Return what a reader must know before believing the figures: plateau, collapse, no gain over a control."""
    warnings = [str(summary["plateau"])] if summary.get("plateau") else []
    if summary.get("replaced"):
        warnings.append(f"{summary['replaced']} samples could not be read and were replaced by others.")
    watched = [line for line in metrics if any(name.startswith("rank/") for name in line)]
    if watched:
        for name, value in watched[-1].items():
            if name.startswith("rank/") and value is not None and value < 3:
                warnings.append(f"The embeddings of {name[5:]} have collapsed: their effective rank is {value:.1f}.")
    by_name = {m.name: m for m in results}
    for m in results:
        what, _, model = m.name.partition("/")
        for control in ("random", "shuffled"):
            other = by_name.get(f"{what}/{control}")
            compared = model not in _CONTROLS and "median" not in what
            if other and compared and m.low is not None and other.high is not None and m.low <= other.high:
                warnings.append(
                    f"{m.name} ({m.value:.3f}) is not clearly above its {control} control ({other.value:.3f})."
                )
    return warnings


def render(template: str, **values: Any) -> str:
    """Return a page of our templates; everything in it is escaped unless it says otherwise."""
    environment = Environment(loader=PackageLoader("coview.evaluation", "templates"), autoescape=True)
    environment.filters["figure"] = _figure
    return str(environment.get_template(template).render(**values))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _title(settings: Mapping[str, Any]) -> dict[str, str]:
    method = settings.get("method", {})
    name = method.get("name", "") if isinstance(method, Mapping) else str(method)
    return {"method": name, "collection": Path(str(settings.get("collection", ""))).name or "?"}


def _headline(results: Sequence[Measurement]) -> list[Measurement]:
    """Return up to four main figures of the model itself."""
    wanted = (
        "video_probe/",
        "audio_probe/",
        "class_p1_v2a/",
        "class_p1_a2v/",
        "retrieval_v2a_r1/",
        "retrieval_a2v_r1/",
    )
    own = [m for m in results if m.name.partition("/")[2] not in _CONTROLS]
    return [next(m for m in own if m.name.startswith(w)) for w in wanted if any(m.name.startswith(w) for m in own)][:4]


def _groups(results: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for m in results:
        what = m.name.partition("/")[0]
        if what.endswith(_BARRED):
            groups.setdefault(what, []).append(m)
    for group in groups.values():
        group.sort(key=lambda m: _CONTROLS.index(c) if (c := m.name.partition("/")[2]) in _CONTROLS else -1)
    return dict(
        sorted(groups.items(), key=lambda item: next(i for i, end in enumerate(_BARRED) if item[0].endswith(end)))
    )


def _curves(
    metrics: Sequence[Mapping[str, Any]], timings: Sequence[Mapping[str, Any]], negatives: int | None
) -> list[tuple[str, Markup]]:
    """Return (heading, SVG) of what the logs hold."""
    drawn = []
    names = ["infonce", "loss"] if any("infonce" in line for line in metrics) else ["loss"]
    chance = (f"chance, ln {negatives + 1}", math.log(negatives + 1)) if negatives else None
    parts = (
        ("Loss", metrics, names, "loss", chance),
        ("Learning rate", metrics, ["lr"], "rate", None),
        ("Effective rank of embeddings", metrics, _starting(metrics, "rank/"), "rank", None),
        ("Deviation of embeddings, mean over dimensions", metrics, _starting(metrics, "std/"), "deviation", None),
        ("Nearest neighbours while training", metrics, _starting(metrics, "knn/"), "accuracy", None),
        ("Throughput", timings, ["samples_per_second"], "samples/s", None),
        ("Share of time waiting for data", timings, ["data_wait"], "share", None),
    )
    for heading, log, wanted, label, reference in parts:
        lines = {name.partition("/")[2] or name: c for name in wanted if len((c := _curve(log, name))[0])}
        if lines:
            drawn.append((heading, Markup(curves(lines, label, reference))))
    return drawn


def _starting(log: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    return sorted({name for line in log for name in line if name.startswith(prefix)})


def _curve(log: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """Return at most `_POINTS` points, each the mean over equally many lines."""
    pairs = [(line["step"], line[name]) for line in log if line.get(name) is not None]
    width = -(-len(pairs) // _POINTS) or 1
    groups = [pairs[first : first + width] for first in range(0, len(pairs), width)]
    return [group[-1][0] for group in groups], [sum(value for _, value in group) / len(group) for group in groups]


def _maps(exhibits: Exhibits | None) -> list[Markup]:
    if exhibits is None:
        return []
    return [Markup(scatter(points, labels, exhibits.classes, view)) for view, (points, labels) in exhibits.maps.items()]


def _samples(folder: Path) -> dict[str, Any]:
    """Return the first batch as data URIs: sheets of pictures as JPEG, and some sounds."""
    sheets = [(file.stem, *_sheet(file)) for file in sorted(folder.glob("*.png"))]
    sounds = [
        "data:audio/wav;base64," + base64.b64encode(file.read_bytes()).decode()
        for file in sorted(folder.glob("*.wav"))[:_SOUNDS]
        if file.stat().st_size < 150_000
    ]
    return {"sheets": sheets, "sounds": sounds}


def _sheet(file: Path) -> tuple[str, int]:
    """Return a picture as a JPEG data URI, no wider than `_WIDTH` pixels, and its width on the page."""
    with Image.open(file) as stored:
        picture = stored.convert("RGB")
    picture.thumbnail((_WIDTH, 4 * _WIDTH))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    uri = "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
    return uri, picture.width * (2 if picture.width <= _WIDTH // 4 else 1)


def _collection(name: str | None) -> dict[str, Any] | None:
    """Return counts, flags and the first refused files where the run's collection is a folder that is still there."""
    if not name or not (Path(name) / "collection.json").is_file():
        return None
    collection = Collection.open(name)
    refused = collection.quarantine()
    about = {key: collection.about.get(key, {}) for key in ("counts", "flags", "reasons")}
    return {**about, "refused": refused[:20], "more": max(0, len(refused) - 20)}


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {prefix: " ".join(map(str, values)) if isinstance(values, list) else str(values)}
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a file of JSON lines; a line without an end is one that a kill has cut."""
    if not file.is_file():
        return []
    return [
        json.loads(line) for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]
