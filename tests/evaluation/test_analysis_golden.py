"""The golden numbers of the analyses: normals, average precisions, ensembles, t-SNE."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.evaluation.average_precision import average_precision
from coview.evaluation.ensemble import mean_score
from coview.evaluation.normals_scores import LIMITS, angles, figures, summary
from coview.evaluation.tsne import conditional, gradient_of

GOLDEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-analysis.npz").items()
    if value.dtype.kind != "U"
}
PERCENT = torch.tensor([1.0, 1.0, 100.0, 100.0, 100.0], dtype=torch.float64)


def close(found, expected, tolerance=1e-9):
    torch.testing.assert_close(torch.as_tensor(found, dtype=torch.float64), expected, rtol=0, atol=tolerance)


def test_normals_are_pooled_over_the_pixels_of_all_pictures():
    errors = angles(GOLDEN["normals_pred"], GOLDEN["normals_gt"])
    close(errors, GOLDEN["normals_angle"])
    known = [one[mask] for one, mask in zip(errors, GOLDEN["normals_mask"], strict=True)]
    close(summary(torch.cat(known)) * PERCENT, GOLDEN["normals_pooled"])
    close(torch.stack([summary(one) for one in known]).mean(0) * PERCENT, GOLDEN["normals_mean_of_images"])
    found = figures("model", known, [one + 40 for one in known], 0)
    close(torch.tensor([m.value for m in found], dtype=torch.float64) * PERCENT, GOLDEN["normals_pooled"])
    assert all(m.low <= m.value <= m.high for m in found) and found[0].chance == pytest.approx(found[0].value + 40)


def test_normals_have_known_errors():
    draw = torch.randn(200_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert summary(angles(draw, 3 * draw)).tolist() == pytest.approx([0, 0, 1, 1, 1], abs=2e-6)
    assert float(angles(draw, -draw).min()) > 179.99
    across = torch.linalg.cross(draw, draw.roll(1, 1))
    unit, across = (each / each.norm(dim=1, keepdim=True) for each in (draw, across))
    turned = torch.deg2rad(torch.tensor(20.0, dtype=torch.float64))
    rotated = unit * turned.cos() + across * turned.sin()
    assert summary(angles(rotated, draw)).tolist() == pytest.approx([20, 20, 0, 1, 1])
    random = summary(angles(draw, draw.roll(1, 0)))
    shares = [(1 - np.cos(np.deg2rad(limit))) / 2 for limit in LIMITS]  # of a sphere
    assert random[:2].tolist() == pytest.approx([90, 90], abs=0.6)  # five standard errors, here and below
    assert random[2:].tolist() == pytest.approx(shares, abs=0.003)


@pytest.mark.parametrize(("definition", "name"), [("11-point", "voc07_11pt"), ("area", "voc10_area"), ("step", "step")])
def test_average_precisions(definition, name):
    close(average_precision(GOLDEN["ap_scores"], GOLDEN["ap_labels"], definition), GOLDEN[f"ap_{name}"])


def test_the_mean_of_three_scorers_is_better_than_each():
    scores, labels = GOLDEN["ens_scores"], GOLDEN["ap_labels"]
    each = [average_precision(one, labels, "step") for one in scores]
    close(torch.tensor(each, dtype=torch.float64), GOLDEN["ens_ap_each"])
    close(average_precision(mean_score(list(scores)), labels, "step"), GOLDEN["ens_ap_mean"])
    assert float(GOLDEN["ens_ap_mean"]) > max(each)


def test_affinities_divergence_and_gradient_of_tsne():
    x, y, n = GOLDEN["tsne_X"], GOLDEN["tsne_Y"], len(GOLDEN["tsne_X"])
    squared = (x[:, None] - x[None]).square().sum(2)
    found = conditional(squared, float(GOLDEN["tsne_perplexity"]))
    near, *_, far = (squared + 1e9 * torch.eye(n)).topk(4, 1, largest=False).indices.T
    logs, rows = found.log(), torch.arange(n)  # p(j | i) goes with exp(-precision * squared distance)
    precision = (logs[rows, near] - logs[rows, far]) / (squared[rows, far] - squared[rows, near])
    close(precision, GOLDEN["tsne_beta"], 1e-6)
    close(found, GOLDEN["tsne_P_cond"])
    together = (found + found.T) / (2 * n)
    close(together, GOLDEN["tsne_P"])
    others = ~torch.eye(n, dtype=torch.bool)
    near = (1 / (1 + (y[:, None] - y[None]).square().sum(2)))[others]
    close((together[others] * (together[others] / (near / near.sum())).log()).sum(), GOLDEN["tsne_KL"])
    close(gradient_of(y, together), GOLDEN["tsne_grad"])
