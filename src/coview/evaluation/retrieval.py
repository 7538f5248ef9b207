"""Protocol retrieval: from one view of a test recording to another, or to the same, in all directions.

Between views (x2y): query i is view x of recording i, the gallery is view y of all recordings that have both. The
relevant item is recording i (retrieval_*), or any of its class, its own included (class_*). Rows that are one item
(`items.items_of`: captions of one film, copies of a file) are relevant to each other; figures that count the query's
own row alone are given beside, with names that end in "_row", where that makes a difference.
Within a view (x2x): for retrieval_*, query i is the first window of recording i and the gallery the last window of all,
among recordings where the two do not overlap; for class_*, query and gallery are the recordings, and a query's own
takes no part. Between views, class_map and class_mrr are means over whole rankings (see `ranking`); every query has
at least its own recording to find, so that no query is empty.

Of a method that reads a picture and a text together (`methods.pair_reader`), every pair of the test part goes through
its networks, and the log-odds that they belong together take the place of cosines; by pair, in both directions.

Figures in the projected space, where the views are aligned, have plain names; those in the backbone's, which AV-SSRL
compares although nothing aligns its two halves, end in "@backbone". With a training gallery (AV-SSRL: gallery =
training part, queries = test part) the relevant items are those of the query's class, names start with "train_", and
r20 and r50 are there too, as SeLaVi and XDC report them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coview.data.source import narrowed
from coview.embedding.extract import Features, Space
from coview.evaluation.bench import Bench
from coview.evaluation.items import items_of
from coview.evaluation.measurable import telling
from coview.evaluation.ranking import Ranking, best_rank, rank_by_cosine, rank_classes, rank_pairs
from coview.evaluation.statistics import Measurement, accuracy, bootstrap, mean
from coview.evaluation.wording import plain_view
from coview.methods.pair_reader import PairReader

Gallery = Literal["test", "train"]
_QUERIES = 2048  # whole rankings held at a time


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One search: which view asks, which answers, in which space, and what the figures are called."""

    query: str
    gallery: str
    space: Space
    prefix: str = ""

    @property
    def short(self) -> str:
        """Such as "v2a"."""
        one, other = ("".join(word[0] for word in view.split("_")) for view in (self.query, self.gallery))
        return f"{one}2{other}"

    def name(self, kind: str, figure: str, model: str) -> str:
        """Return such as "retrieval_v2a_r1/xid" or "class_p1_v2a@backbone/xid"."""
        end = "" if self.space == "projected" else f"@{self.space}"
        words = (kind, self.short, figure) if kind == "retrieval" else (kind, figure, self.short)
        return f"{self.prefix}{'_'.join(words)}{end}/{model}"


def retrieve(
    bench: Bench, *, spaces: Sequence[Space] = ("projected",), galleries: Sequence[Gallery] = ("test",)
) -> None:
    """Add all directions of retrieval to the bench's result, in every space and gallery asked for."""
    views = bench.model.distinct_views()
    choices = bench.result.choices.setdefault("retrieval", {})
    choices |= {"spaces": list(spaces), "galleries": list(galleries), "similarity": "cosine", "ties": "pessimistic"}
    if isinstance(bench.model.method, PairReader) and "test" in galleries:
        choices["similarity"] = "cosine within a view, log-odds of belonging together between picture and text"
        _by_reading(bench, bench.model.method)
    for space in spaces:
        method, projected = bench.model.method, space == "projected"
        if projected and not len(method.projectors) and not any(method.sureness(view) for view in views):
            bench.result.notes.append(f"{bench.name} has no common space of its views: retrieval left out")
            continue
        found = bench.features("test", space, max(bench.windows, 2))
        for one, other in itertools.product(views, views):
            if found.clips[one].shape[-1] != found.clips[other].shape[-1]:
                bench.result.notes.append(f"{one} and {other} have features of different length: not compared")
                continue
            if projected and not method.comparable(one, other):
                bench.result.notes.append(f"{one} and {other} lie in different spaces: not compared")
                continue
            if "test" in galleries:
                _among_test(bench, found, Direction(query=one, gallery=other, space=space))
            if "train" in galleries and bench.train is not None:
                gallery = bench.features("train", space, max(bench.windows, 2))
                _against_train(bench, found, gallery, Direction(query=one, gallery=other, space=space, prefix="train_"))


def _by_reading(bench: Bench, reader: PairReader) -> None:
    """Add the figures by pair of a method whose every pair has to be read; N test recordings cost N^2 passes."""
    names, source = (reader.picture, "text"), narrowed(bench.test, bench.model.needed)
    batches = []
    for rows in torch.split(torch.arange(len(source)), bench.batch_size):
        raw = source.read_window(rows, 0, 1)
        bench.result.report([(source.ids[row], reason) for row, reason in raw.replaced])
        both = torch.stack([bench.model.present(raw, name) for name in names]).all(0) & (raw.row == rows)
        batches.append(bench.model.prepared(raw.select(both)))
    batches = [batch for batch in batches if len(batch)]
    rows = torch.cat([batch.row.cpu() for batch in batches]) if batches else torch.empty(0, dtype=torch.int64)
    if len(rows) < 2:
        bench.result.notes.append(
            "fewer than two recordings have a picture and a text: nothing to find by reading both"
        )
        return
    scores = []
    for number, pictures in enumerate(batches):
        with bench.model.evaluating(), torch.no_grad():
            scores.append(torch.cat([reader.belonging(pictures, texts).double().cpu() for texts in batches], 1))
        bench.progress("reading pairs", number + 1, len(batches))
    matrix, items = torch.cat(scores), items_of(bench.test)[rows]
    for (one, other), similarity in ((names, matrix), (names[::-1], matrix.T)):
        way = Direction(query=one, gallery=other, space="projected")
        for same, end in ((items[:, None] == items, ""), (torch.eye(len(items), dtype=torch.bool), "_row")):
            if not end or len(torch.unique(items)) < len(items):
                ranks = best_rank(similarity, same)
                ranking = Ranking(ranks, same.sum(1), torch.full_like(ranks, len(items)))
                bench.result.results += _ranked(ranking, way, bench, end)


def _among_test(bench: Bench, found: Features, way: Direction) -> None:
    """Add one direction's figures with the test recordings as gallery."""
    one, other, result, name = way.query, way.gallery, bench.result, bench.name
    both = found.present[one] & found.present[other]
    result.choices["retrieval"].setdefault("left_out", {})[way.short] = int((~both).sum())
    if int(both.sum()) < 2:
        result.notes.append(f"{way.short}: fewer than two recordings have what it needs; left out")
        return
    query, gallery = found.values[one][both], found.values[other][both]
    items = items_of(bench.test)[found.rows]
    if one != other:
        result.results += _pair_figures(query, gallery, items[both], way, bench)
    else:
        first, last = found.clip_present[one][:, 0], found.clip_present[one][:, -1]
        between = found.start[one][:, -1] - found.start[one][:, 0]
        longest = max(bench.test.views[view].seconds for view in bench.model.reads[one])
        apart = first & last & (between >= longest)
        if int(apart.sum()) >= 2 and found.clips[one].shape[1] > 1:
            windows = found.clips[one][apart]
            result.results += _pair_figures(windows[:, 0], windows[:, -1], items[apart], way, bench)
        else:
            view = plain_view(one)
            result.notes.append(
                f"no recording is as long as two clips: whether one {view} finds the other of its recording "
                f"({way.short}, by pair) is left out"
            )
    labels = found.labels[both]
    known = labels >= 0
    if not bool(known.any()):
        text = "no test recording has a label: retrieval by class is left out, retrieval by pair is not"
        result.notes += [text] if text not in result.notes else []
        return
    own = items[both] if one == other else None
    ranking = rank_classes(query, gallery, labels, labels, leave_out_own=one == other, items=own)
    if not bool(ranking.relevant[known].any()):
        result.notes.append(f"{way.short}: no two test recordings have one class; by class it is left out")
        return
    result.results += _class_figures(ranking, known, way, name)
    if one != other:
        result.results += _whole_figures(query[known], gallery[known], labels[known], way, bench)


def _against_train(bench: Bench, found: Features, stored: Features, way: Direction) -> None:
    """Add one direction's figures by class with the training recordings as gallery."""
    asks = found.present[way.query] & (found.labels >= 0)
    answers = stored.present[way.gallery] & (stored.labels >= 0)
    if not bool(asks.any()) or not bool(answers.any()):
        bench.result.notes.append(f"{way.short}: no labelled recordings for a training gallery; left out")
        return
    query, gallery = found.values[way.query][asks], stored.values[way.gallery][answers]
    ranking = rank_classes(query, gallery, found.labels[asks], stored.labels[answers])
    bench.result.results += _class_figures(ranking, asks[asks], way, bench.name, nearest=(1, 5, 10, 20, 50))


def _pair_figures(query: Tensor, gallery: Tensor, items: Tensor, way: Direction, bench: Bench) -> list[Measurement]:
    """Return R@1, R@5, R@10 (share of queries) and the median rank (1 is best), by item, and by row if that differs."""
    figures = _ranked(rank_pairs(query, gallery, items=items), way, bench, "")
    if len(torch.unique(items)) < len(items):
        figures += _ranked(rank_pairs(query, gallery), way, bench, "_row")
    return figures


def _ranked(ranking: Ranking, way: Direction, bench: Bench, end: str) -> list[Measurement]:
    def name(figure: str) -> str:
        return way.name("retrieval", f"{figure}{end}", bench.name)

    sizes = [k for k in (1, 5, 10) if k == 1 or telling(k, int(ranking.gallery.min()))]
    figures = [accuracy(name(f"r{k}"), ranking.hits(k), ranking.chance(k)) for k in sizes]
    low, high = bootstrap(ranking.rank, bench.seed, "median")
    median, n = float(ranking.rank.double().quantile(0.5)), ranking.rank.numel()
    return [*figures, Measurement(name("median_rank"), median, low, high, ranking.chance_median(), n)]


def _class_figures(
    ranking: Ranking, known: Tensor, way: Direction, name: str, nearest: Sequence[int] = (1, 5, 10)
) -> list[Measurement]:
    """Return the share of labelled queries one of whose k nearest items has their class, for every k of `nearest`."""
    kept = Ranking(ranking.rank[known], ranking.relevant[known], ranking.gallery[known])
    return [
        accuracy(way.name("class", f"r{k}" if k > 1 else "p1", name), kept.hits(k), kept.chance(k))
        for k in nearest
        if k == 1 or telling(k, int(kept.gallery.min()))
    ]


def _whole_figures(query: Tensor, gallery: Tensor, labels: Tensor, way: Direction, bench: Bench) -> list[Measurement]:
    """Return mean average precision over the whole ranking (all relevant items) and mean reciprocal rank, by class."""
    parts = [
        rank_by_cosine(query[rows], gallery, labels[rows], labels)
        for rows in torch.split(torch.arange(len(query)), _QUERIES)
    ]
    figures = []
    for figure, found, guessed in (
        ("map", [part.average_precision() for part in parts], [part.chance() for part in parts]),
        ("mrr", [part.reciprocal_rank() for part in parts], [part.chance_reciprocal_rank() for part in parts]),
    ):
        chance = float(torch.cat(guessed).mean())
        figures.append(mean(way.name("class", figure, bench.name), torch.cat(found), chance, bench.seed))
    return figures
