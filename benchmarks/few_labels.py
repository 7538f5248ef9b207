"""Does it pay to ask for what a classifier is least sure of, and does the interval of the random ones hold?

scikit-learn's 1,797 handwritten digits, their 64 pixels as stored features; the queue of `coview serve` is answered
with the truth. Measured on all recordings that nobody asked for, beside a classifier of labels that were drawn at
random, as many as the queue's learns from: four of five of its labels, for the fifth only measures. What the queue asks
for is hard, so that both are measured on easier recordings than those of the collection.

    python benchmarks/few_labels.py --seeds 6
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from coview.data.collection import Collection, write_tables
from coview.data.recording import Recording
from coview.data.stored import Stored
from coview.search.asking import Asking
from coview.search.few_labels import Fitted, Vectors
from coview.search.labelling import Labelling
from coview.search.labels import LabelLog

LABELS = (60, 100, 200, 300)


def one(seed: int, folder: Path) -> dict[int, tuple[float, ...]]:
    """Return labels -> accuracy of the queue's classifier, of the random one, the estimate, whether it is covered."""
    pixels, digits = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(digits))
    pixels, truth = pixels[order].astype(np.float32)[:, None], digits[order].astype(str)
    made = [
        Recording(id=f"{k:04d}", path=f"{k}.png", start=0.0, end=0.0, duration=0.0, has_video=True, has_audio=False)
        for k in range(len(truth))
    ]
    write_tables(folder, made, [], {"source": "digits", "root": ".", "ignored": {}, "report": {}})
    collection = Collection.open(folder)
    there, start = np.ones((len(truth), 1), bool), np.zeros((len(truth), 1))
    ids = list(collection.ids)
    stored = Stored(folder, {}, {"pixels": pixels}, {"pixels": there}, {"pixels": start}, ids, [""] * len(ids), [], "")
    vectors, labelling = Vectors(stored, ids), Labelling(collection, LabelLog(folder / "log" / "c" / "labels.sqlite"))
    asking, asked, found = Asking(labelling, vectors), set[int](), {}
    drawn = generator.permutation(len(truth))
    while len(asked) < LABELS[-1]:
        for row, how in asking.next():
            labelling.say(row, truth[row], how)
            asked.add(row)
        if len(asked) in LABELS:
            said, random = labelling.now()
            learnt = np.array([row for row in said if row not in random])
            others = drawn[: len(learnt)]
            rest = np.array([row for row in range(len(truth)) if row not in asked and row not in set(others.tolist())])
            accuracy = [
                np.mean(Fitted(vectors, rows, list(truth[rows])).guesses(rest)[0] == truth[rest])
                for rows in (learnt, others)
            ]
            known = asking.state()["estimate"]
            inside = known["low"] <= accuracy[0] <= known["high"]
            found[len(asked)] = (*accuracy, known["right"] / known["of"], inside)
    labelling.close()
    return found


def main() -> None:
    """Print a line for each number of labels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=6)
    found = []
    for seed in range(parser.parse_args().seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one(seed, Path(folder)))
    print("labels  queue (sd)   random (sd)  estimate  covered")
    for count in LABELS:
        figures = np.array([each[count] for each in found], float)
        mean, spread = figures.mean(0), figures.std(0, ddof=1)
        print(f"{count:6d}  {mean[0]:.3f} ({spread[0]:.3f})  {mean[1]:.3f} ({spread[1]:.3f})  {mean[2]:.3f}     "
              f"{int(figures[:, 3].sum())} of {len(found)}")  # fmt: skip


if __name__ == "__main__":
    main()
