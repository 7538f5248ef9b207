"""Clusters against classes: published values, the ends, what grows with the number of clusters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.contingency import matched_accuracy, nmi, purity, used

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "xdc.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name])).long()


def test_matching_golden():
    found = matched_accuracy(golden("audio_labels"), golden("video_labels"))
    assert found == pytest.approx(float(GOLDEN["matched_acc_av"]), rel=1e-10)


def test_ends():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, -1])
    clusters = torch.tensor([2, 2, 0, 0, 1, 1, 0])
    assert purity(clusters, labels) == matched_accuracy(clusters, labels) == 1
    alone = torch.arange(7)
    assert purity(alone, labels) == 1
    assert matched_accuracy(alone, labels) == 0.5
    everything = torch.zeros(7, dtype=torch.int64)
    assert purity(everything, labels) == pytest.approx(1 / 3)
    assert nmi(everything, labels) == 0
    assert used(clusters, 4) == 0.75
    assert purity(torch.full((7,), -1), labels) == 0
