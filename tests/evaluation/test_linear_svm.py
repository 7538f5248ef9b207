"""Support vector machines for each label: golden values of what they are given."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from coview.evaluation.linear_svm import COSTS, of_unit_length

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz").items()
}


def test_golden_features_and_costs() -> None:
    assert_close(of_unit_length(GOLDEN["feat"]), GOLDEN["feat_norm"], rtol=0, atol=1e-9)
    assert_close(torch.tensor(COSTS, dtype=torch.float64), GOLDEN["svm_costs"], rtol=1e-9, atol=0)
