"""Negatives of both views: InfoNCE, the limit of equal features, processes, gradients; and attention maps."""

import math

import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview import parallel
from coview.objectives.attention_maps import map_distance, pointed_map, relative_entropy, softmax_map
from coview.objectives.infonce import in_batch_scores, infonce
from coview.objectives.joint_negatives import joint_scores

ROW = torch.tensor([5, 0, 7, 1, 5, 30, 2, 5])


def pairs(count=8, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, count, dim, generator=generator, dtype=torch.float64)
    return [x.requires_grad_() for x in draw]


def symmetric(x, y, row, within=True):
    scores = joint_scores(normalize(x, dim=1), normalize(y, dim=1), row, 0.1, within)
    return sum(parallel.mean_over_world(infonce(*pair)) for pair in scores) / 2


def test_without_the_own_view_it_is_infonce():
    x, y = pairs()
    expected = sum(infonce(*pair).mean() for pair in in_batch_scores(normalize(x, dim=1), normalize(y, dim=1), 0.1)) / 2
    torch.testing.assert_close(symmetric(x, y, torch.arange(8), within=False), expected)


@pytest.mark.parametrize(("within", "candidates"), [(True, 15), (False, 8)])
def test_equal_features_cost_the_log_of_the_candidates(within, candidates):
    same = torch.ones(8, 6, dtype=torch.float64)
    value = symmetric(same, same, torch.arange(8), within)
    torch.testing.assert_close(value, torch.full_like(value, math.log(candidates)))


def test_other_clips_of_the_recording_are_no_candidates():
    same = torch.ones(8, 6, dtype=torch.float64)
    (positive, total), _ = joint_scores(same, same, ROW, 0.1)
    others = torch.stack([(row != ROW).sum() for row in ROW])
    torch.testing.assert_close((total - positive).exp(), 1.0 + 2 * others.double())


def test_closed_form():
    x, y = (normalize(part, dim=1).detach() for part in pairs(3))
    cross, inner = (x @ y.T / 0.1).exp(), (x @ x.T / 0.1).exp()
    (positive, total), _ = joint_scores(x, y, torch.arange(3), 0.1)
    torch.testing.assert_close(positive, cross.diagonal().log())
    torch.testing.assert_close(total, (cross.sum(1) + inner.sum(1) - inner.diagonal()).log())


def on_a_rank(x, y, sizes):
    start = sum(sizes[: parallel.rank()])
    share = slice(start, start + sizes[parallel.rank()])
    x, y = (part[share].detach().requires_grad_() for part in (x, y))
    loss = symmetric(x, y, ROW[share])
    loss.backward()
    return loss.detach(), x.grad, y.grad


@pytest.mark.parametrize("sizes", [[4, 4], [3, 0, 4, 1]])
def test_processes_equal_one(sizes):
    x, y = (part.detach() for part in pairs())
    expected = on_a_rank(x, y, [8])
    results = worlds.run(len(sizes), on_a_rank, x, y, sizes)
    torch.testing.assert_close(sum(result[0] for result in results) / len(sizes), expected[0])
    for index in (1, 2):
        torch.testing.assert_close(torch.cat([result[index] for result in results]) / len(sizes), expected[index])


def test_gradchecks():
    x, y = pairs(4, 3)
    assert torch.autograd.gradcheck(lambda x, y: symmetric(x, y, torch.tensor([0, 1, 2, 0])), (x, y))
    scores, target = torch.randn(2, 5, dtype=torch.float64).requires_grad_(), softmax_map(torch.randn(2, 5).double())
    for kind in ("mse", "kl"):
        assert torch.autograd.gradcheck(lambda s, kind=kind: map_distance(softmax_map(s), target, kind), (scores,))


@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_equal_maps_are_no_distance_apart_and_positions_may_be_permuted(kind):
    own, target = softmax_map(torch.randn(3, 4, 5)), softmax_map(torch.randn(3, 20))
    torch.testing.assert_close(map_distance(own, own, kind), torch.zeros(3))
    order = torch.randperm(20)
    torch.testing.assert_close(map_distance(own[:, order], target[:, order], kind), map_distance(own, target, kind))
    assert (map_distance(own, target, kind) > 0).all()


def test_pointing_follows_a_shift_of_the_map_and_nothing_points_nowhere():
    query, positions = normalize(torch.randn(2, 8), dim=1), torch.randn(2, 6, 8)
    torch.testing.assert_close(
        pointed_map(query, positions.roll(2, 1), 0.07), pointed_map(query, positions, 0.07).roll(2, 1)
    )
    uniform = pointed_map(0 * query, positions, 0.07)
    torch.testing.assert_close(uniform, torch.full((2, 6), 1 / 6))
    torch.testing.assert_close(relative_entropy(uniform), torch.ones(2))
    assert relative_entropy(torch.eye(6)[:1]) == 0
