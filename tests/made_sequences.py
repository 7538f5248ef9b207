"""Sequences of two views that share slow signals, of which a label over time is made; some of their cells are wrong."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RECORDINGS, MOMENTS = 24, 40
WIDTHS = {"picture": 20, "sound": 15}


def write_sequences(
    folder: Path, seed: int, *, everywhere: bool = True, gross: float = 0.05, recordings: int = RECORDINGS
) -> tuple[str, Path]:
    """Write features of every moment, two thirds of the recordings for training, and labels; return both names.

    Args:
        gross: share of cells that are wrong by 20 to 40; `everywhere`, or in the training recordings alone.
    """
    random = np.random.default_rng(seed)
    time = np.arange(MOMENTS) / 10
    phases = random.uniform(0, 2 * np.pi, (recordings, 1, 3, 2))
    rates = random.uniform(0.3, 1.5, (recordings, 1, 3, 2))
    slow = np.sin(phases + rates * time[:, None, None]).sum(-1).reshape(-1, 3)  # (moments of all, 3)
    label = slow @ [0.8, -0.5, 0.3]
    ids = [f"r{each:02d}/{moment:03d}" for each in range(recordings) for moment in range(MOMENTS)]
    belongs = [each.partition("/")[0] for each in ids]
    split = ["train" if int(each[1:]) % 3 else "test" for each in belongs]
    folder.mkdir(parents=True, exist_ok=True)
    for view, width in WIDTHS.items():
        own = random.normal(size=(len(ids), 4)) @ random.normal(size=(4, width))  # what this view alone shows
        values = slow @ random.normal(size=(3, width)) + own + 0.3 * random.normal(size=(len(ids), width))
        wrong = random.random(values.shape) < gross
        wrong &= everywhere | (np.array(split) == "train")[:, None]
        values[wrong] += random.choice([-1, 1], wrong.sum()) * random.uniform(20, 40, wrong.sum())
        table = {"id": ids, "split": split, view: list(values.astype(np.float32))}
        pq.write_table(pa.table(table), folder / f"{view}.parquet")
    lines = [f"{one},{recording},{value:.6f}" for one, recording, value in zip(ids, belongs, label, strict=True)]
    labels = folder / "valence.csv"
    labels.write_text("\n".join(["id,recording,valence", *lines]) + "\n")
    return ",".join(f"{view}={folder / view}.parquet" for view in WIDTHS), labels
