"""The four definitions of average precision: golden values, scikit-learn, and limiting cases."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from coview.errors import UsageError
from coview.evaluation.average_precision import DEFINITIONS, average_precision, ranked_precision

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz")
SCORES, TARGETS = (torch.from_numpy(GOLDEN[name]).T for name in ("scores", "targets"))


@pytest.mark.parametrize(("name", "definition"), [("area", "area"), ("11pt", "11-point"), ("sklearn", "step")])
def test_golden_values(name, definition):
    own = [average_precision(s, t, definition) for s, t in zip(SCORES, TARGETS, strict=True)]
    tolerance = np.full(6, 1e-9)
    tolerance[3] = 2e-2 if name == "area" else 1e-9  # ties: the released sort is not stable
    assert (np.abs(own - GOLDEN[f"ap_{name}"]) < tolerance).all()


def test_positives_lowered_to_break_ties():
    lowered = SCORES - 1e-5 * (TARGETS > 0)
    own = [average_precision(s, t, "step") for s, t in zip(lowered, TARGETS, strict=True)]
    np.testing.assert_allclose(own, GOLDEN["ap_sklearn_eps"], atol=1e-9, rtol=0)


def test_steps_and_trapezoids_are_those_of_scikit_learn():
    for scores, targets in zip(SCORES, TARGETS, strict=True):
        precision, recall, _ = precision_recall_curve(targets, scores)
        assert average_precision(scores, targets, "trapezoid") == pytest.approx(auc(recall, precision), abs=1e-12)
        step = average_precision_score(targets, scores)
        assert average_precision(scores, targets, "step") == pytest.approx(step, abs=1e-12)


def test_limiting_cases():
    targets = torch.tensor([1, 1, -1, 0, -1])
    for definition in DEFINITIONS:
        assert average_precision(torch.arange(5.0).flip(0), targets, definition) == 1
    assert average_precision(torch.zeros(5), targets, "step") == pytest.approx(0.4)  # the share of positives
    first = torch.tensor([1, 0, 0])
    assert average_precision(torch.tensor([3.0, 2, 1]), first, "11-point") == 1
    values = {d: average_precision(torch.tensor([3.0, 2, 1]), torch.tensor([0, 1, 1]), d) for d in DEFINITIONS}
    assert values["area"] == pytest.approx(2 / 3) and values["step"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["11-point"] == pytest.approx(2 / 3)
    for wrong, message in ((targets[:4], "a score for every"), (targets * 0, "needs a positive")):
        with pytest.raises(UsageError, match=message):
            average_precision(torch.zeros(5), wrong, "area")
    with pytest.raises(UsageError, match="finite"):
        average_precision(torch.full((5,), torch.nan), targets, "area")


def test_weights_count_items_as_often_as_copies_would():
    good = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64)
    weight = torch.tensor([[1, 1, 1, 1], [2, 0, 1, 3]], dtype=torch.float64)
    good, bad = weight * good, weight * (1 - good)
    for definition in DEFINITIONS:
        both = ranked_precision(good, bad, good.sum(1), definition)
        assert both[0] == ranked_precision(good[0], bad[0], good[0].sum(), definition)
    assert both.shape == (2,)
    again = average_precision(torch.tensor([4.0, 4, 2, 1, 1, 1]), torch.tensor([1, 1, 1, 0, 0, 0]), "step")
    assert ranked_precision(good[1], bad[1], good[1].sum(), "step") == pytest.approx(again)
    empty = torch.zeros(0, dtype=torch.float64)
    for definition in DEFINITIONS:  # nothing was found
        assert ranked_precision(empty, empty, torch.tensor(2.0, dtype=torch.float64), definition) == 0
        assert ranked_precision(empty, empty, torch.tensor(0.0, dtype=torch.float64), definition).isnan()
