"""Protocol knn: the vote of the 20 nearest training recordings, on the features of the linear probe."""

from __future__ import annotations

from coview.embedding.neighbours import knn_predict
from coview.evaluation.bench import Bench
from coview.evaluation.statistics import accuracy


def knn(bench: Bench) -> None:
    """Add "<view>_knn/<name>" for every view to the bench's result."""
    if not bench.classifies("knn"):
        return
    fit, held = bench.features("train"), bench.features("test")
    classes = len(fit.classes)
    for view in bench.model.distinct_views():
        used, tested = (part.present[view] & (part.labels >= 0) for part in (fit, held))
        if not tested.any():
            bench.result.notes.append(f"no labelled test recording has the view {view!r}: it has no neighbours")
            continue
        predicted = knn_predict(fit.values[view][used], fit.labels[used], held.values[view][tested], classes)
        what = f"{view}_knn"
        bench.result.choices[what] = {
            "space": "backbone",
            "neighbours": 20,
            "similarity": "cosine",
            "windows": "features averaged",
            "left_out": {"train": int((~used).sum()), "test": int((~tested).sum())},
        }
        bench.result.results.append(accuracy(f"{what}/{bench.name}", predicted == held.labels[tested], 1 / classes))
