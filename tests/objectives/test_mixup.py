"""Soft labels and mixtures: published UAVM values, limits, draws, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.mixup import draw_mixtures, soft_binary, soft_cross_entropy, soft_targets
from coview.randomness import make_key

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "uavm.npz")
LABEL = torch.tensor([2, 0, 2])
ALONE = torch.ones(3, dtype=torch.float64)


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def test_labels_and_losses_golden():
    target = soft_targets(LABEL, LABEL, ALONE, 5, 0.1)
    torch.testing.assert_close(target, golden("soft_targets"), rtol=0, atol=1e-7)  # the reference's are float32
    for name, loss, view in (("ce_audio", soft_cross_entropy, "a"), ("bce_video", soft_binary, "v")):
        found = loss(golden(f"logits_{view}"), golden("soft_targets")).mean()
        torch.testing.assert_close(found, golden(f"loss_{name}"), rtol=1e-9, atol=0)


def test_a_cell_is_set_alone_and_added_to_in_a_mixture():
    partner, share = torch.tensor([1, 0, 2]), torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    target = soft_targets(LABEL, partner, share, 5, 0.1)
    expected = [[0.02, 0.695, 0.245, 0.02, 0.02], [0.92, 0.02, 0.02, 0.02, 0.02], [0.02, 0.02, 0.9, 0.02, 0.02]]
    torch.testing.assert_close(target, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(target.sum(1), torch.tensor([1, 1, 0.98], dtype=torch.float64))


def test_hard_labels_are_the_limit_and_order_of_classes_does_not_matter():
    logits = torch.randn(3, 5, dtype=torch.float64)
    target = soft_targets(LABEL, LABEL, ALONE, 5, 0.0)
    expected = torch.nn.functional.cross_entropy(logits, LABEL, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, target), expected)
    order, soft = torch.randperm(5), soft_targets(LABEL, LABEL, ALONE, 5, 0.1)
    for loss in (soft_cross_entropy, soft_binary):
        torch.testing.assert_close(loss(logits[:, order], soft[:, order]), loss(logits, soft))
    assert float(soft_binary(torch.zeros(1, 5), soft[:1].float())) == pytest.approx(math.log(2))


def test_shares_are_beta_and_partners_are_any():
    key = make_key(3, torch.arange(20_000))
    place, share = draw_mixtures(key, 0, 7, 0.5)
    mixed = share[share < 1].double()
    assert len(mixed) / len(share) == pytest.approx(0.5, abs=0.02)
    # Beta(10, 10): mean 1/2, variance 1/84, fourth central moment 3 / (84 * 84) * 21 / 23.
    assert float(mixed.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(mixed.var()) == pytest.approx(1 / 84, rel=0.05)
    assert float((mixed - 0.5).pow(4).mean()) == pytest.approx(3 / 84**2 * 21 / 23, rel=0.1)
    assert torch.bincount(place, minlength=7).float().div(len(key)).sub(1 / 7).abs().max() < 0.01
    again = draw_mixtures(key[5:9], 0, 7, 0.5)
    assert torch.equal(again[0], place[5:9]) and torch.equal(again[1], share[5:9])
    assert bool((draw_mixtures(key, 0, 7, 0.0)[1] == 1).all())


@pytest.mark.parametrize("loss", [soft_cross_entropy, soft_binary])
def test_gradients_and_half_precision(loss):
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, soft_targets(LABEL, LABEL, ALONE, 5, 0.1)), logits)
    assert loss(logits.bfloat16(), golden("soft_targets").bfloat16()).dtype == torch.float32
