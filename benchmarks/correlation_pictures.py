"""Draw the pictures of docs/correlation.md: for each method the spectrum of correlations and a plane of unseen rows.

    python benchmarks/correlation_pictures.py [--out docs] [--only cca kernel]

Data: scikit-learn's handwritten digits, 8 x 8 pixels. View 1 is the upper half of a digit, view 2 its lower half (three
views: rows 1-3, 4-5, 6-8), scaled by their largest value. The first 900 are fitted on, the remaining 897 are shown,
coloured by class, which no method but cluster-CCA has seen; `ridge` fits on 60 rows. `robust` needs views of low rank,
which digits are not: 3 shared and 2 private factors of 300 rows, 20 + 20 columns, 10 % of the cells wrong by up to 6
deviations.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from coview.correlation.cca import CCA
from coview.correlation.cluster import ClusterCCA
from coview.correlation.kernel import KernelCCA
from coview.correlation.multiset import GCCA, MCCA
from coview.correlation.projection import correlations_of
from coview.correlation.robust import RobustCCA

mpl.use("Agg")
from matplotlib import pyplot

FITTED, COMPONENTS = 900, 10
PLANE = ("score 1", "score 2", "unseen rows, coloured by digit")
FACTOR = ("true factor, third direction", "as recovered", "300 rows, coloured by the first factor")
Views = list[np.ndarray]


@dataclass
class Picture:
    """What one picture shows: curves of correlations by name, and points (N, 2) with what colours them (N,)."""

    title: str
    curves: dict[str, Sequence[float]]
    points: np.ndarray
    classes: np.ndarray
    labels: tuple[str, str, str] = PLANE


def digits(parts: int) -> tuple[Views, Views, np.ndarray, np.ndarray]:
    """Return views to fit on and to show, and their classes."""
    data = load_digits()
    images = data.images / 16
    cuts = {2: (slice(0, 4), slice(4, 8)), 3: (slice(0, 3), slice(3, 5), slice(5, 8))}[parts]
    views = [images[:, rows].reshape(len(images), -1) for rows in cuts]
    fitted, shown = ([view[part] for view in views] for part in (slice(None, FITTED), slice(FITTED, None)))
    return fitted, shown, data.target[:FITTED], data.target[FITTED:]


def robust() -> Picture:
    """Return how well the factors of spoilt views are found, by plain and by robust CCA."""
    draw = np.random.default_rng(0)
    factors = draw.normal(size=(300, 3))
    clean, spoilt = [], []
    for _ in "xy":
        view = np.hstack([factors, draw.normal(size=(300, 2))]) @ draw.normal(size=(5, 20))
        clean.append(view / view.std(0) + 0.05 * draw.normal(size=view.shape))
        spoilt.append(clean[-1] + (draw.random(view.shape) < 0.1) * draw.uniform(-6, 6, size=view.shape))
    model = RobustCCA(3).fit(spoilt)
    scores = {
        "plain CCA, clean data": CCA(3).fit(clean).transform(clean),
        "robust CCA": model.transform(model.clean_),
        "plain CCA": CCA(3).fit(spoilt).transform(spoilt),
    }
    curves = {name: CCA(3).fit(factors, np.hstack(both)).correlations_ for name, both in scores.items()}
    found = np.hstack(scores["robust CCA"])
    third = np.hstack([side[:, 2:] for side in CCA(3).fit(factors, found).transform(factors, found)])
    return Picture("Robust CCA: true factors", curves, third, factors[:, 0], FACTOR)


def picture(method: str) -> Picture:
    """Fit one method and return what there is to see."""
    if method == "robust":
        return robust()
    fitted, shown, classes, shown_classes = digits(3 if method in ("gcca", "mcca") else 2)

    def curves(model: Any, name: str = "") -> dict[str, Sequence[float]]:
        return {
            f"{name}fitted rows": model.correlations_,
            f"{name}unseen rows": correlations_of(model.transform(shown)),
        }

    if method == "ridge":
        few = [view[:60] for view in fitted]
        plain, model = CCA(COMPONENTS, ridge=1e-9).fit(few), CCA(COMPONENTS, ridge=0.1).fit(few)
        lines = curves(plain, "r = 0, ") | curves(model, "r = 0.1, ")
        return Picture("Ridge CCA of 60 rows", lines, model.transform(shown)[0][:, :2], shown_classes)
    if method == "cluster":
        model = ClusterCCA(COMPONENTS - 1, beta=0.0, ridge=1e-2).fit(fitted, classes)
        return Picture("Cluster-CCA", curves(model), model.transform(shown)[0][:, :2], shown_classes)
    title, model = {
        "cca": ("CCA", CCA(COMPONENTS, ridge=1e-2)),
        "gcca": ("GCCA, three views", GCCA(COMPONENTS, ridge=1e-2)),
        "mcca": ("MCCA, three views", MCCA(COMPONENTS, ridge=1e-2)),
        "kernel": ("Kernel CCA", KernelCCA(COMPONENTS, shrinkage=0.05)),
    }[method]
    model.fit(fitted)
    points = model.shared(shown) if method == "gcca" else model.transform(shown)[0]
    return Picture(title, curves(model), points[:, :2], shown_classes)


def draw(content: Picture, path: Path) -> None:
    """Write a picture of few colours."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.2, 3.0), dpi=80, layout="constrained")
    for name, values in content.curves.items():
        left.plot(range(1, len(values) + 1), values, "o--" if "fitted" in name else "o-", markersize=3, label=name)
    left.set(xlabel="component", ylabel="correlation", ylim=(-0.1, 1.05), title=content.title)
    left.legend(fontsize=7, loc="best")
    # Heavy tails would leave the middle empty: the plane shows 99 % of the points.
    low, high = np.quantile(content.points, [0.005, 0.995], axis=0)
    right.scatter(
        *content.points.T,
        c=content.classes,
        s=5,
        cmap="tab10" if content.classes.dtype.kind == "i" else "viridis",
        linewidths=0,
    )
    right.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
    right.set(xlabel=content.labels[0], ylabel=content.labels[1])
    right.set_title(content.labels[2], fontsize=9)
    memory = BytesIO()
    figure.savefig(memory, format="png")
    pyplot.close(figure)
    Image.open(memory).convert("RGB").quantize(32).save(path, optimize=True)


METHODS = ("cca", "ridge", "gcca", "mcca", "kernel", "robust", "cluster")


def main() -> None:
    """Draw all pictures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    for method in arguments.only:
        draw(picture(method), arguments.out / f"correlation-{method}.png")


if __name__ == "__main__":
    main()
