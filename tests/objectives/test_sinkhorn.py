"""Sinkhorn and swapped prediction: values of the official code, limits, invariances, any number of processes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview import parallel
from coview.objectives.sinkhorn import sinkhorn
from coview.objectives.swav import cluster_prediction, swapped_prediction

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "swav.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def cosines(rows, prototypes, problems=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    leading = () if problems is None else (problems,)
    return 2 * torch.rand(*leading, rows, prototypes, dtype=torch.float64, generator=generator) - 1


def on_a_rank(scores, sizes, epsilon, iterations):
    start = sum(sizes[: parallel.rank()])
    own = scores[..., start : start + sizes[parallel.rank()], :]
    return sinkhorn(own, epsilon=epsilon, iterations=iterations)


@pytest.mark.parametrize("case", range(6))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden_at_its_world_size_and_at_others(case, dtype, tolerance):
    scores, expected = golden(f"sk{case}_scores"), golden(f"sk{case}_q")
    epsilon, iterations, world = golden(f"sk{case}_cfg").tolist()
    arguments = scores.to(dtype), epsilon, int(iterations)
    alone = sinkhorn(arguments[0], epsilon=epsilon, iterations=int(iterations))
    torch.testing.assert_close(
        alone.double(), expected, rtol=100 * tolerance if dtype is torch.float32 else tolerance, atol=tolerance
    )
    for several in {2, 4, int(world)} - {1}:
        sizes = [len(scores) // several] * several
        sizes[0] += len(scores) - sum(sizes)
        parts = worlds.run(several, on_a_rank, arguments[0], sizes, epsilon, int(iterations))
        torch.testing.assert_close(torch.cat(parts).double(), alone.double(), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("case", range(6))
def test_golden_hard_codes_and_power_law(case):
    scores = golden(f"sk{case}_scores")
    epsilon, iterations, _ = golden(f"sk{case}_cfg").tolist()
    codes = sinkhorn(scores, epsilon=epsilon, iterations=int(iterations))
    assert torch.equal(codes.argmax(1), golden(f"sk{case}_hard_idx"))
    if iterations:
        marginal = (torch.arange(scores.shape[1]) + 1.0).double() ** -0.5
        skewed = sinkhorn(scores, epsilon=epsilon, iterations=int(iterations), marginal=marginal / marginal.sum())
        torch.testing.assert_close(skewed, golden(f"sk{case}_q_powerlaw0.5").double(), rtol=1e-5, atol=1e-6)


def test_limits():
    scores = cosines(12, 5)
    torch.testing.assert_close(sinkhorn(scores, epsilon=1e9, iterations=3), torch.full_like(scores, 1 / 5))
    converged = sinkhorn(scores, epsilon=0.1, iterations=500)
    torch.testing.assert_close(converged.sum(0), torch.full((5,), 12 / 5, dtype=torch.float64))
    torch.testing.assert_close(converged.sum(1), torch.ones(12, dtype=torch.float64))
    whole = sinkhorn(scores, epsilon=0.1, iterations=0)
    torch.testing.assert_close(whole, 12 * torch.softmax(scores.flatten() / 0.1, 0).view(12, 5))
    same = sinkhorn(torch.ones(12, 5), epsilon=0.05, iterations=3)
    torch.testing.assert_close(same, torch.full_like(same, 1 / 5))
    crops = torch.full((2, 12, 5), 0.3)
    losses = swapped_prediction(crops, torch.stack([same, same]), (0, 1), 0.1)
    torch.testing.assert_close(losses, torch.full((12,), math.log(5)))


def test_invariances():
    scores = cosines(12, 5)
    codes = sinkhorn(scores, epsilon=0.05, iterations=3)
    torch.testing.assert_close(sinkhorn(scores + 7, epsilon=0.05, iterations=3), codes)
    rows, columns = torch.randperm(12), torch.randperm(5)
    torch.testing.assert_close(sinkhorn(scores[rows][:, columns], epsilon=0.05, iterations=3), codes[rows][:, columns])
    two = cosines(12, 5, 2)
    side_by_side = sinkhorn(two, epsilon=0.05, iterations=3)
    for together, alone in zip(side_by_side, two, strict=True):
        torch.testing.assert_close(together, sinkhorn(alone, epsilon=0.05, iterations=3))


@pytest.mark.parametrize("epsilon", [0.05, 0.03, 0.01, 0.005])
def test_finite_at_the_ends_of_the_range(epsilon):
    scores = torch.cat([torch.eye(4) * 2 - 1, -torch.ones(2, 4)]).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sinkhorn(scores, epsilon=epsilon, iterations=3)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.sum(1), torch.ones(6))


def exact(scores, epsilon, iterations):
    """Sinkhorn on logarithms in float64, a line a step."""
    log_q = scores.double() / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(-2, keepdim=True)
        log_q = log_q - log_q.logsumexp(-1, keepdim=True)
    return log_q.exp()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1.0, 5.0, 30.0, 1000.0, 1e6])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_scores_beyond_cosines_empty_no_row(spread, kind, iterations):
    scores = (cosines(12, 5, 2) * spread).to(kind)
    codes = sinkhorn(scores, epsilon=0.05, iterations=iterations)
    assert codes.dtype == kind
    torch.testing.assert_close(codes.double(), exact(scores, 0.05, iterations), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(codes.sum(-1), torch.ones_like(codes[..., 0]))
    whole = sinkhorn(scores, epsilon=0.05, iterations=0)
    torch.testing.assert_close(whole.sum((1, 2)), torch.full((2,), 12.0, dtype=kind))


@pytest.mark.parametrize("sizes", [[6, 6], [7, 0, 4, 1]])
def test_one_process_out_of_range_takes_all_to_logarithms(sizes):
    scores = cosines(12, 5, 2)
    scores[:, -1] *= 500
    expected = exact(scores, 0.05, 3)
    parts = worlds.run(len(sizes), on_a_rank, scores, sizes, 0.05, 3)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [[6, 6], [3, 3, 3, 3], [7, 0, 4, 1]])
def test_unequal_parts_are_one_batch(sizes):
    scores = cosines(12, 5, 2)
    expected = sinkhorn(scores, epsilon=0.05, iterations=3)
    parts = worlds.run(len(sizes), on_a_rank, scores, sizes, 0.05, 3)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", range(2))
def test_swapped_loss_and_gradients_golden(case):
    _, _, prototypes, temperature, epsilon, iterations, _ = golden(f"tr{case}_cfg").tolist()
    number, assigned = int(golden(f"tr{case}_nmb_crops").sum()), golden(f"tr{case}_assign").tolist()
    z = golden(f"tr{case}_z")[0].clone().requires_grad_()
    weight = normalize(golden(f"tr{case}_proto_raw"), dim=1)
    torch.testing.assert_close(weight, golden(f"tr{case}_proto_norm"), rtol=1e-9, atol=0)
    weight.requires_grad_()
    scores = (z @ weight.T).view(number, -1, int(prototypes))
    codes = sinkhorn(scores[assigned].detach(), epsilon=epsilon, iterations=int(iterations))
    loss = swapped_prediction(scores, codes, assigned, temperature).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden(f"tr{case}_loss")[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(z.grad, golden(f"tr{case}_grad_z")[0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(weight.grad, golden(f"tr{case}_grad_proto")[0], rtol=1e-8, atol=1e-12)


def test_swapping_two_crops_and_adding_copies_changes_nothing():
    scores, codes = cosines(6, 4, 2), sinkhorn(cosines(6, 4, 2, seed=1), epsilon=0.05, iterations=3)
    losses = swapped_prediction(scores, codes, (0, 1), 0.1)
    torch.testing.assert_close(swapped_prediction(scores.flip(0), codes.flip(0), (0, 1), 0.1), losses)
    one = swapped_prediction(scores, codes[:1], (0,), 0.1)
    more = swapped_prediction(torch.cat([scores, scores[1:]]), codes[:1], (0,), 0.1)
    torch.testing.assert_close(more, one)


def test_gradcheck():
    codes = sinkhorn(cosines(3, 4, 2, seed=1), epsilon=0.05, iterations=3)
    scores = cosines(3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, codes, (0, 1), 0.1), (scores,))
    labels = torch.tensor([2, -1, 0])
    assert torch.autograd.gradcheck(lambda s: cluster_prediction(s, labels, 0.1), (scores,))
    assert cluster_prediction(scores, labels, 0.1)[1] == 0
