"""Draw docs/correlation-deep.png: what each deep method makes of unseen noisy digits.

    python benchmarks/correlation_deep_pictures.py --work FOLDER [--only dcca vcca] [--out docs]

A panel per method: the first views of 500 test pairs of `noisy-digits`, embedded and laid out by t-SNE, coloured by
digit; where both views are embedded, the held-out correlations of the ten pairs of variates stand beside. Networks and
settings are those of noisy_digits.py with 6 epochs, seed 0. Embeddings are kept in FOLDER, so that the picture can be
made in several calls; the last one, without --only, draws it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from noisy_digits import CHOSEN, FEATURES, PARTS, ours
from sklearn.manifold import TSNE

from coview.data.synthetic.noisy_digits import NoisyDigits

mpl.use("Agg")
from matplotlib import pyplot

SHOWN, EPOCHS = 500, 6
LABELLED = ("supervised-dcca", "tnn-c-cca", "vae-cca")


def main() -> None:
    """Train what is not there yet, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    sources = {part: NoisyDigits(part, views=FEATURES) for part in PARTS}
    names = ["pixels", *CHOSEN]
    for name in arguments.only or names:
        if not (arguments.work / f"{name}.npz").exists():
            np.savez(arguments.work / f"{name}.npz", **made(name, sources))
    if not arguments.only:
        draw({name: dict(np.load(arguments.work / f"{name}.npz")) for name in names}, arguments.out)


def made(name: str, sources: dict[str, NoisyDigits]) -> dict[str, np.ndarray]:
    """Return a layout (N, 2), the digits (N,) and the correlations (k,), none where one view is embedded."""
    if name == "pixels":
        test = {"rotated": sources["test"].pixels["rotated"].flatten(1)}
    else:
        test = ours(name, sources, 0, EPOCHS)["test"]
    first = test["rotated"][:SHOWN]
    scaled = (first / (first.std(0) + 1e-9)).numpy() if name != "pixels" else first.numpy()
    correlations = np.empty(0)
    if "noisy" in test:
        x, y = (view - view.mean(0) for view in (test["rotated"].double(), test["noisy"].double()))
        correlations = ((x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt().clamp(min=1e-12)).numpy()
    layout = TSNE(2, random_state=0, init="pca", perplexity=30).fit_transform(scaled)
    return {"layout": layout, "digit": sources["test"].labels[:SHOWN].numpy(), "correlations": correlations}


def draw(panels: dict[str, dict[str, np.ndarray]], out: Path) -> None:
    """Write the picture."""
    columns = 4
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.6 * columns, 2.7 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, panel) in zip(axes.flat, panels.items(), strict=False):
        axis.scatter(*panel["layout"].T, c=panel["digit"], cmap="tab10", s=3, linewidths=0)
        axis.set_title(f"{name} (with labels)" if name in LABELLED else name, fontsize=9)
        if len(panel["correlations"]):
            inset = axis.inset_axes((0.72, 0.0, 0.28, 0.2))
            inset.bar(range(len(panel["correlations"])), panel["correlations"], color="0.4")
            inset.set_ylim(0, 1)
            inset.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    figure.tight_layout()
    figure.savefig(out / "correlation-deep.png", dpi=90)


if __name__ == "__main__":
    main()
