"""Correspondence: no mismatched pair shares its recording, any batch gives the same draws, chance costs ln 2."""

import math

import pytest
import torch

from coview.objectives.correspondence import correspondence, draw_mismatched

ROW = torch.tensor([5, 0, 7, 1, 5, 30, 2, 5])


def keys(count, seed=0):
    return torch.randint(1 << 62, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(20))
def test_no_mismatched_pair_shares_its_recording(seed):
    place, found = draw_mismatched(keys(8, seed), ROW, ROW)
    assert found.all()
    assert (ROW[place] != ROW).all()


def test_draws_are_uniform_over_all_other_recordings():
    row = ROW[:1].expand(20_000)
    place, _ = draw_mismatched(keys(20_000), row, ROW)
    counts = place.bincount(minlength=8)
    assert (counts[ROW == 5] == 0).all()
    assert counts[ROW != 5].min() > 3800
    assert counts[ROW != 5].max() < 4200


def test_a_sample_draws_the_same_in_any_part_of_the_batch():
    key = keys(8)
    whole, _ = draw_mismatched(key, ROW, ROW)
    part, _ = draw_mismatched(key[2:5], ROW[2:5], ROW)
    assert torch.equal(part, whole[2:5])


def test_one_recording_alone_has_no_mismatch():
    _, found = draw_mismatched(keys(3), torch.tensor([4, 4, 4]), torch.tensor([4, 4, 4]))
    assert not found.any()


def test_loss_closed_form():
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    torch.testing.assert_close(correspondence(logits, True), torch.tensor([math.log(2), math.log1p(math.exp(-2))]))
    # The answers' columns may be swapped together with the question.
    torch.testing.assert_close(correspondence(logits.flip(1), False), correspondence(logits, True))


def test_gradcheck():
    logits = torch.randn(3, 2, dtype=torch.float64).requires_grad_()
    for match in (True, False):
        assert torch.autograd.gradcheck(lambda x, match=match: correspondence(x, match), (logits,))
