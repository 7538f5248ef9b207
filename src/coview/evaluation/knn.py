"""Protocol knn: the vote of the 20 nearest training recordings, on the features of the linear probe."""

from __future__ import annotations

from coview.embedding.neighbours import knn_predict
from coview.evaluation.bench import Bench
from coview.evaluation.measurable import question
from coview.evaluation.statistics import accuracy


def knn(bench: Bench) -> None:
    """Add "<view>_knn/<name>" for every view to the bench's result."""
    if not bench.classifies("knn"):
        return
    fit, held = bench.features("train"), bench.features("test")
    for view in bench.model.distinct_views():
        what, asked = f"{view}_knn", question(fit, held, view, fit.classes)
        bench.result.lacks(what, asked.lacking)
        if not asked.whole:
            continue
        bank, queries = fit.values[view][asked.used], held.values[view][asked.tested]
        predicted = knn_predict(bank, asked.labels, queries, len(fit.classes))
        bench.result.choices[what] = {
            "space": "backbone",
            "neighbours": 20,
            "similarity": "cosine",
            "windows": "features averaged",
            "left_out": asked.left_out(),
        }
        bench.result.results.append(accuracy(f"{what}/{bench.name}", predicted == asked.truth, 1 / asked.classes))
