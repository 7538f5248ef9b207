"""report.html: one file that shows a run without anything beside it: curves, controls, a map, clips, settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from coview.data.collection import Collection
from coview.data.source import Source
from coview.errors import CoviewError, UsageError
from coview.evaluation.exhibits import Exhibits, make_exhibits
from coview.evaluation.figures import Curve, bars, curves, scatter
from coview.evaluation.first_batch import first_batch, sheet_of
from coview.evaluation.runs import Records, records_of, seen_in_training
from coview.evaluation.sheets import paint_held_out
from coview.evaluation.statistics import Measurement
from coview.evaluation.stored import Stored, read_stored
from coview.evaluation.verdict import CONTROLS, headline, is_control, verdict
from coview.evaluation.wording import in_words, plain_view
from coview.files import read_text, write_aside
from coview.methods import METHODS
from coview.methods.cards import card_of
from coview.model import Model

SIZE_LIMIT = 3_000_000  # bytes of the page
_POINTS = 400  # of a curve
# Which figures get bars; the table has all of them.
_BARRED = ("video_probe", "audio_probe", "_knn", "class_p1_v2a", "class_p1_a2v", "_v2a_r1", "_a2v_r1")


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

    Figures that were stored of other weights than the run has now are shown in grey, with their step. Without `source`,
    the map and the examples of an earlier page are kept if they are of these weights.

    Args:
        run: a run folder; what is missing in it is left out of the page.
        results: figures of these weights to show beside those stored in `run`/evaluations.
        model, source: with both, the page has a map of embeddings and examples of retrieval from this source.
        notes: sentences about map and examples.
        seed: chooses the recordings shown.

    Raises:
        UsageError: the folder is no run, or a file in it is damaged.
        CoviewError: the page is larger than `SIZE_LIMIT`.
    """
    known = records_of(run)
    if known.folder != run:
        raise UsageError(f"{run} is not a run (it has no settings.yaml)")
    stored = read_stored(run / "evaluations")
    if model is None and (run / "model" / "config.json").is_file():
        model = Model.from_run(run)
    digest = model.digest if model is not None else None
    everything = figures_of_weights(stored, digest, results)
    groups = _groups(everything)
    page = render(
        "report.html.jinja",
        title=_title(known.settings),
        settings=_flat(known.settings),
        summary=known.summary,
        environment=_flat(known.environment),
        tiles=[(in_words(m), m) for m in headline(everything)],
        warnings=verdict(everything, known.signs()),
        notes=list(dict.fromkeys(note for file in stored if file.is_of(digest) for note in file.notes)),
        curves=_curves(known.metrics, known.timings, known.summary.get("negatives")),
        bars=bars(groups),
        controlled=any(is_control(m.name.partition("/")[2]) for group in groups.values() for m in group),
        chanced=any(m.chance is not None for group in groups.values() for m in group),
        exhibits=_exhibits(run, known, model, source, digest, notes, seed),
        grids=[(file.stem, *sheet_of(file)) for file in sorted((run / "evaluations").glob("retrieval-*.png"))],
        samples=first_batch(run / "samples"),
        results=everything,
        stale=[(m, file.step) for file in stored if not file.is_of(digest) for m in file.results],
        undated=[file.file.name for file in stored if not file.digests and file.results],
        collection=_collection(known.settings.get("collection")),
    )
    if len(page.encode()) > SIZE_LIMIT:
        raise CoviewError(
            f"the page has {len(page.encode())} bytes; its parts are limited to keep it below {SIZE_LIMIT}"
        )
    write_aside(run / "report.html", page)
    return run / "report.html"


def current_figures(run: Path, digest: str | None) -> list[Measurement]:
    """Return the stored figures of a run that are of these weights."""
    return figures_of_weights(read_stored(run / "evaluations"), digest)


def figures_of_weights(
    stored: Sequence[Stored], digest: str | None, results: Sequence[Measurement] = ()
) -> list[Measurement]:
    """Return `results` and the stored figures of the weights that a digest names, each name once."""
    given = {m.name: m for m in results}
    found = {m.name: m for file in stored if file.is_of(digest) for m in file.results}
    return list((given | {name: m for name, m in found.items() if name not in given}).values())


def _exhibits(
    run: Path,
    known: Records,
    model: Model | None,
    source: Source | None,
    digest: str | None,
    notes: Sequence[str],
    seed: int,
) -> Markup:
    """Return the part of the page with map and examples: made now, or that of an earlier page of the same weights."""
    begin, end = f"<!-- exhibits of {digest} -->", "<!-- end of exhibits -->"
    page = run / "report.html"
    if model is None or source is None:
        text = read_text(page, "a report", limit=4 * SIZE_LIMIT) if digest and page.is_file() else ""
        _, found, rest = text.partition(begin)
        return Markup(f"{begin}{rest.partition(end)[0]}{end}") if found and end in rest else Markup("")
    made = make_exhibits(model, source, seed=seed)
    paints, painted = paint_held_out(model, source, seed)
    overlap = seen_in_training(known, source, source.views)
    said = [overlap.sentence()] if overlap is not None and (overlap or overlap.checked) else []
    groups = itertools.groupby(made.examples, lambda example: (example.asked, example.wanted))
    text = render(
        "exhibits.html.jinja", maps=_maps(made), examples=[(*pair, list(group)) for pair, group in groups],
        gallery=made.gallery, source=source.name, notes=[*notes, *said], paints=paints, painted=painted,
        clips=made.clips, played=made.clips.played, plays=bool(made.clips.media),
        labelled=any(bool((labels >= 0).any()) for _, labels in made.maps.values()),
    )  # fmt: skip
    return Markup(f"{begin}{text}{end}")


def render(template: str, **values: Any) -> str:
    """Return a page of our templates; everything in it is escaped unless it says otherwise."""
    environment = Environment(loader=PackageLoader("coview.evaluation", "templates"), autoescape=True)
    environment.filters |= {"figure": _figure, "words": _named}
    page = str(environment.get_template(template).render(**values))
    return page.encode(errors="backslashreplace").decode()  # a folder's name may hold bytes that are no UTF-8


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _named(m: Measurement) -> Markup:
    """Return a figure in words and its name, or its name alone."""
    words = in_words(m)
    if not words:
        return escape(m.name)
    return Markup('<span class="words">{}</span><span class="name">{}</span>').format(words, m.name)


def _title(settings: Mapping[str, Any]) -> dict[str, str]:
    method = settings.get("method", {})
    name = method.get("name", "") if isinstance(method, Mapping) else str(method)
    place = str(settings.get("collection") or "")
    about = card_of(name).title if name in METHODS else ""
    return {"method": name, "about": about, "place": place, "collection": Path(place).name or "?"}


def _groups(results: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for m in results:
        what = m.name.partition("/")[0]
        if what.endswith(_BARRED):
            groups.setdefault(what, []).append(m)
    for group in groups.values():
        group.sort(key=lambda m: CONTROLS.index(c) if (c := m.name.partition("/")[2]) in CONTROLS else -1)
    return dict(
        sorted(groups.items(), key=lambda item: next(i for i, end in enumerate(_BARRED) if item[0].endswith(end)))
    )


def _curves(
    metrics: Sequence[Mapping[str, Any]], timings: Sequence[Mapping[str, Any]], negatives: int | None
) -> list[tuple[str, Markup]]:
    """Return (heading, SVG) of what the logs hold."""
    drawn = []
    apart = any("infonce" in line and line["infonce"] != line.get("loss") for line in metrics)
    names = ["infonce", "loss"] if apart else ["loss"]
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
        lines = {plain_view(name.partition("/")[2] or name): c for name in wanted if len((c := _curve(log, name))[0])}
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


def _maps(exhibits: Exhibits) -> list[tuple[str, Markup]]:
    return [
        (words := plain_view(view), Markup(scatter(points, labels, exhibits.classes, words)))
        for view, (points, labels) in exhibits.maps.items()
    ]


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
