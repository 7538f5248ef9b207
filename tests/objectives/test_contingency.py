"""Agreement of two labellings: published values, invariances, the ends of the range."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.contingency import contingency, nmi

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "xdc.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name])).long()


def test_golden():
    audio, video = golden("audio_labels"), golden("video_labels")
    assert torch.equal(contingency(audio, video), golden("contingency_av"))
    assert nmi(audio, video) == pytest.approx(float(GOLDEN["nmi_av"]), rel=1e-10)
    for name, labels in (("audio", audio), ("video", video), ("joint", golden("joint_labels"))):
        assert nmi(labels, golden("true_label")) == pytest.approx(float(GOLDEN[f"{name}_nmi_true"]), rel=1e-10)


def test_ends_and_invariances():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert nmi(labels, 2 - labels) == pytest.approx(1)
    assert nmi(labels, torch.zeros(6, dtype=torch.int64)) == 0
    assert nmi(torch.zeros(6, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)) == 0
    other = torch.tensor([0, 1, 0, 1, 0, 1])
    assert nmi(labels, other) == pytest.approx(0, abs=1e-12)
    assert nmi(labels, -torch.ones(6, dtype=torch.int64)) == 0
    holes = torch.tensor([0, 0, 1, -1, 2, 2])
    assert nmi(labels, holes) == pytest.approx(1)
    assert contingency(labels, holes).sum() == 5
