"""explain.html: what a trained model has put together, to look at and to listen to.

Clusters of the recordings by each view, with those nearest to the centre and, where labels exist, how pure they are:
the method's own where it has some, whose views stand beside each other, or else those of k-means; and maps of where in
a picture its sound comes from.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from coview.data.source import Source
from coview.embedding.extract import Features, extract_locally
from coview.errors import CoviewError, UsageError
from coview.evaluation.bench import Progress
from coview.evaluation.pointing import picture_and_sound, pointing, sound_maps
from coview.evaluation.report import render
from coview.evaluation.spectrogram import drawn
from coview.evaluation.statistics import Measurement, mean
from coview.evaluation.tiles import Clips, Tile, tile
from coview.evaluation.wording import in_words, plain_view
from coview.files import write_aside
from coview.objectives.contingency import contingency, nmi, purity
from coview.objectives.kmeans import kmeans
from coview.randomness import make_key, uniform

if TYPE_CHECKING:
    from coview.model import Model

SHOWN = 6  # recordings of each cluster
PAGE = 24  # clusters of each view, the largest
MAPS = 8  # pictures with their map
SIDE = 160  # pixels of a map
BUDGET = 9_000_000  # bytes of all clips that play, before base64
_DEALS, _DEAL = 20, 0x64616E65  # times that labels are dealt out anew, and the stream of that


@dataclass(frozen=True)
class Cluster:
    """One cluster of one view; `purity` is the share of its commonest label, None without labels."""

    number: int
    size: int
    label: str
    purity: float | None
    tiles: list[Tile]


@dataclass(frozen=True)
class Heard:
    """A picture with the map of its sound, as a data URI of a PNG, the clip itself, and the figure of its sound."""

    picture: str
    clip: Tile
    sound: Markup


def explain(
    model: Model,
    source: Source,
    out: Path,
    *,
    clusters: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    problems: list[tuple[str, str]] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> tuple[Path, list[Measurement]]:
    """Write `out`/explain.html; return its path and the figures on it: purity, NMI and pointing.

    Args:
        clusters: of k-means on each view's features; None: the method's own clusters, or where it has none as many as
            labels, else the root of half the recordings, and no more than a view has recordings.
        limit: recordings looked at, drawn by the seed; all of them by default.
        problems: gets (what, reason) of everything that could not be read or shown.
        progress: called with (what is being done, done, total).

    Raises:
        UsageError: no view has as many recordings as clusters were asked for.
        CoviewError: the page cannot be written.
    """
    problems = [] if problems is None else problems
    chosen = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 1), stable=True)[:limit].sort().values
    count = clusters or len(source.classes) or max(2, round((len(chosen) / 2) ** 0.5))
    own = not clusters and model.grouped
    embed = model.groups if own else None
    features = extract_locally(model, source, chosen, embed=embed, progress=partial(progress, "embedding"))
    clips, name = Clips(source, BUDGET), model.method.about.slug
    results: list[Measurement] = []
    shared: list[list[tuple[str, Cluster]]] = []
    browsers: dict[str, list[Cluster]] = {}
    left_out: dict[str, int] = {}
    problems += features.problems
    if own:
        shared, results = own_clusters(features, clips, name, seed)
    for view in [] if own else model.distinct_views():
        there = int(features.present[view].sum())
        wanted = count if clusters else min(count, there)
        if not 0 < wanted <= there:
            problems.append((view, f"{wanted} clusters need as many recordings with {view!r}; there are {there}"))
            continue
        shown = partial(progress, f"clusters by {plain_view(view)}")
        browsers[view], figures = browse(features, view, wanted, clips, name, seed, shown)
        left_out[view] = wanted - len(browsers[view])
        results += figures
    if not browsers and not shared:
        raise UsageError(f"{source.name}: {'; '.join(why for _, why in problems[-len(model.views) :])}; ask for fewer")
    heard: list[Heard] = []
    try:
        picture_and_sound(model)
        heard = hear(model, source, features, clips)
        if len(source.classes) > 1:
            results.append(pointing(model, source, name=name))
    except UsageError as error:
        note = str(error)
    else:
        note = ""
    page = render(
        "explain.html.jinja", name=name, collection=source.name, recordings=len(chosen), heard=heard,
        shared=[[(plain_view(view), cluster) for view, cluster in group] for group in shared],
        browsers=[(view, plain_view(view), found) for view, found in browsers.items()],
        results=[(in_words(m), m) for m in results], note=note, left_out=left_out, clips=clips, played=clips.played,
        points=any(m.name.startswith("pointing/") for m in results), labelled=bool((features.labels >= 0).any()),
    )  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_aside(out / "explain.html", page)
    except OSError as error:
        raise CoviewError(
            f"{out / 'explain.html'}: cannot be written ({error}); make room, or give another -o"
        ) from error
    return out / "explain.html", results


def browse(
    features: Features,
    view: str,
    count: int,
    clips: Clips,
    name: str,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Cluster], list[Measurement]]:
    """Cluster a view's unit features by k-means; return the clusters, largest first, with purity and NMI."""
    present = torch.nonzero(features.present[view]).flatten()
    unit = normalize(features.values[view][present].double(), dim=1)
    found = kmeans(unit, count, seed=seed, spherical=True)
    nearness = (unit * found.centroids[found.labels]).sum(1)
    made = []
    largest = torch.argsort(found.counts, descending=True, stable=True)[:PAGE].tolist()
    for done, number in enumerate(largest):
        progress(done, len(largest))
        made.append(show(features, present, found.labels, nearness, number, clips))
    return made, agreement(found.labels, features.labels[present], view, name, seed)


def own_clusters(
    scores: Features, clips: Clips, name: str, seed: int
) -> tuple[list[list[tuple[str, Cluster]]], list[Measurement]]:
    """Return the clusters that a method's scores (N, K) of each view name, those of most recordings first.

    Each is a list of (view, cluster): which recordings fall into it by this view, and which do so most surely.
    """
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    figures: list[Measurement] = []
    total = torch.zeros((), dtype=torch.int64)
    for view, values in scores.values.items():
        present = torch.nonzero(scores.present[view]).flatten()
        nearness, labels = values[present].max(1)
        total = total + torch.bincount(labels, minlength=values.shape[1])
        found[view] = present, labels, nearness
        figures += agreement(labels, scores.labels[present], view, name, seed)
    order = [number for number in torch.argsort(total, descending=True, stable=True)[:PAGE].tolist() if total[number]]
    return [[(view, show(scores, *found[view], number, clips)) for view in found] for number in order], figures


def show(features: Features, present: Tensor, clusters: Tensor, nearness: Tensor, number: int, clips: Clips) -> Cluster:
    """Return one of the clusters (M,) of the recordings at `present` (M,), the nearest of them as tiles."""
    members = torch.nonzero(clusters == number).flatten()
    best = members[torch.argsort(nearness[members], descending=True, stable=True)[:SHOWN]]
    labels = features.labels[present][members]
    known = Counter(labels[labels >= 0].tolist())
    label, most = known.most_common(1)[0] if known else (-1, 0)
    purity = most / sum(known.values()) if known else None
    tiles = [tile(features, clips, int(present[place])) for place in best]
    return Cluster(number, members.numel(), features.classes[label] if label >= 0 else "", purity, tiles)


def agreement(clusters: Tensor, labels: Tensor, view: str, name: str, seed: int) -> list[Measurement]:
    """Return purity (with its interval over recordings) and NMI of clusters and labels; nothing without labels.

    Purity is the share of recordings whose label is the commonest of their cluster. Both grow with the number of
    clusters, so chance is what the same clusters give after the labels were dealt out anew.
    """
    known = labels >= 0
    clusters, labels = clusters[known], labels[known]
    if not labels.numel():
        return []
    hits = (contingency(clusters, labels).argmax(1)[clusters] == labels).double()
    draws = (uniform(make_key(seed, deal), _DEAL, labels.numel()) for deal in range(_DEALS))
    anew = [labels[draw.argsort(stable=True)] for draw in draws]
    pure, shared = (sum(figure(clusters, each) for each in anew) / _DEALS for figure in (purity, nmi))
    return [
        mean(f"{view}_purity/{name}", hits, pure, seed),
        Measurement(f"{view}_nmi/{name}", nmi(clusters, labels), None, None, shared, labels.numel()),
    ]


def hear(model: Model, source: Source, features: Features, clips: Clips) -> list[Heard]:
    """Return some recordings' middle frames under the map of their sound."""
    picture, sound = picture_and_sound(model)
    both = torch.nonzero(features.present[picture] & features.present[sound]).flatten()[:MAPS]
    if not both.numel():
        return []
    batch = source.read_window(features.rows[both], 0, 1)
    maps = sound_maps(model, model.inputs(batch))
    made = []
    for place, frame, raw, heat in zip(both.tolist(), batch.views[picture], batch.views[sound], maps, strict=True):
        middle, share = frame[:, frame.shape[1] // 2], heat[heat.shape[0] // 2]
        heard = source.views[sound].sound(raw)
        figure = Markup(drawn(*heard)) if heard is not None else Markup("")
        made.append(Heard(overlay(middle, share), tile(features, clips, place), figure))
    return made


def overlay(frame: Tensor, heat: Tensor) -> str:
    """Return a PNG data URI: a frame uint8 (3, H, W), darkened where the map (h, w) is low, stretched to its range."""
    size = (SIDE, SIDE)
    picture = interpolate(frame[None].float() / 255, size, mode="bilinear", antialias=True)[0]
    stretched = (heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-6)
    strength = interpolate(stretched[None, None], size, mode="bicubic").clamp(0, 1)[0]
    tint = torch.tensor([1.0, 0.35, 0.1])[:, None, None]
    mixed = picture * (0.35 + 0.65 * strength) + 0.35 * tint * strength.square()
    image = Image.fromarray((mixed.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
