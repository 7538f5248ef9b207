"""Masked modelling: limiting cases, shares, gradients; the golden losses are with the model's (test_vilbert.py)."""

import torch

from coview.objectives.masked_modelling import (
    feature_costs,
    masked_regions,
    masked_words,
    partners,
    region_costs,
    word_costs,
)
from coview.randomness import make_key

KEY = make_key(0, torch.arange(4000))


def test_shares_of_what_is_masked():
    tokens = torch.full((4000, 20), 9)
    words = torch.arange(20).expand(4000, 20) < 10
    masked, chosen = masked_words(tokens, words, KEY, 0, mask=4, first=5, last=105)
    assert not chosen[:, 10:].any() and torch.equal(masked[~chosen], tokens[~chosen])
    assert abs(float(chosen[:, :10].float().mean()) - 0.15) < 0.01
    shown = masked[chosen]
    assert abs(float((shown == 4).float().mean()) - 0.8) < 0.02
    assert abs(float((shown == 9).float().mean()) - 0.1) < 0.02  # kept, or one in a hundred by lot
    others = shown[(shown != 4) & (shown != 9)]
    assert int(others.min()) >= 5 and int(others.max()) < 105 and len(others.unique()) > 90


def test_shares_of_regions():
    there = torch.arange(8).expand(4000, 8) < 6
    chosen, emptied = masked_regions(there, KEY, 0)
    assert not chosen[:, 6:].any() and not (emptied & ~chosen).any()
    assert abs(float(chosen[:, :6].float().mean()) - 0.15) < 0.01
    assert abs(float(emptied.sum() / chosen.sum()) - 0.9) < 0.02


def test_half_are_shown_another_text():
    place = torch.arange(4000)
    shown = partners(KEY, 0, place, 4000)
    assert abs(float((shown == place).float().mean()) - 0.5) < 0.03
    assert set(partners(KEY[:2], 0, place[:2], 2).tolist()) <= {0, 1}
    some = partners(KEY[10:20], 0, place[10:20], 4000)
    torch.testing.assert_close(some, shown[10:20])


def test_a_perfect_prediction_costs_nothing():
    target = torch.rand(3, 5, 7).double().softmax(2)
    assert float(region_costs(target.log() + 3, target).abs().max()) < 1e-12
    torch.testing.assert_close(feature_costs(target, target), torch.zeros(3, 5).double())


def test_a_sure_target_is_cross_entropy():
    scores, label = torch.randn(3, 5, 7).double(), torch.randint(7, (3, 5))
    sure = torch.nn.functional.one_hot(label, 7).double()
    torch.testing.assert_close(region_costs(scores, sure), word_costs(scores, label))


def test_gradients_are_exact_and_half_precision_is_widened():
    scores = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 3, 4).double().softmax(2)
    label = torch.randint(4, (2, 3))
    for costs in (
        lambda s: region_costs(s, target),
        lambda s: word_costs(s, label),
        lambda s: feature_costs(s, target),
    ):
        assert torch.autograd.gradcheck(costs, scores)
        assert costs(scores.detach().bfloat16()).dtype in (torch.float32, torch.float64)
