"""Mixtures of hard negatives: unit length, between their parents, a function of each sample's key."""

import torch
from torch.nn.functional import normalize

from coview.objectives.hard_negatives import mix_hard_negatives
from coview.objectives.precision import in_float32


def sample():
    generator = torch.Generator().manual_seed(0)
    query = normalize(torch.randn(3, 8, generator=generator), dim=1)
    hard = normalize(torch.randn(3, 5, 8, generator=generator), dim=2)
    return query, hard, torch.tensor([4, 5, 6])


def test_mixtures_have_unit_length_and_no_gradient():
    query, hard, key = sample()
    mixes = mix_hard_negatives(query.requires_grad_(), hard, key, 7, 6)
    assert mixes.shape == (3, 13, 8)
    assert not mixes.requires_grad
    torch.testing.assert_close(mixes.norm(dim=2), torch.ones(3, 13))


def test_mixtures_lie_between_their_parents():
    query, hard, key = sample()
    # One hard negative alone: mixtures of two are itself, mixtures with the query lie nearer to it than to the query.
    mixes = mix_hard_negatives(query, hard[:, :1], key, 4, 50)
    torch.testing.assert_close(mixes[:, :4], hard[:, :1].expand(-1, 4, -1))
    to_hard, to_query = (mixes[:, 4:] * hard[:, :1]).sum(2), (mixes[:, 4:] * query[:, None]).sum(2)
    assert (to_hard >= to_query - 1e-6).all()
    assert (to_query >= (hard[:, :1] * query[:, None]).sum(2) - 1e-6).all()
    plane = torch.stack([hard[:, 0], query], 2)  # (B, D, 2)
    outside = mixes[:, 4:] - (plane @ torch.linalg.lstsq(plane, mixes[:, 4:].transpose(1, 2)).solution).transpose(1, 2)
    assert outside.abs().max() < 1e-5


def test_a_sample_gets_the_same_mixtures_in_any_batch():
    query, hard, key = sample()
    whole = mix_hard_negatives(query, hard, key, 7, 6)
    torch.testing.assert_close(mix_hard_negatives(query[1:2], hard[1:2], key[1:2], 7, 6), whole[1:2])


def test_in_float32_widens_halves_and_leaves_float64():
    seen = in_float32(lambda *tensors, named: [tensor.dtype for tensor in (*tensors, named)])
    half, double, brain = (torch.zeros(1, dtype=dtype) for dtype in (torch.float16, torch.float64, torch.bfloat16))
    kinds = seen(half, double, named=brain)
    assert kinds == [torch.float32, torch.float64, torch.float32]
