"""SigLIP: golden values on any number of processes, limits, invariances, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import logsigmoid, normalize

from coview import parallel
from coview.objectives.sigmoid_pairs import sigmoid_apart, sigmoid_chance, sigmoid_pairs

GOLDEN = Path(__file__).parents[1] / "golden" / "contrastive_dist.npz"
GROUPS = torch.tensor([3, 0, 3, -1, 0, 3, -1, 5])


def rows(count=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return (normalize(torch.randn(count, 4, generator=draw, dtype=torch.float64), dim=1) for _ in "xy")


def numbers(scale=5.0, bias=-2.0):
    return (torch.tensor(value, dtype=torch.float64) for value in (scale, bias))


def golden_on_a_rank():
    golden = {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(GOLDEN).items()}
    per = 16 // parallel.world_size()
    own = slice(parallel.rank() * per, (parallel.rank() + 1) * per)
    learnt = [golden[name].requires_grad_() for name in ("Wx", "Wy", "scale", "bias")]
    x, y = (normalize(golden[name][own] @ w, dim=1) for name, w in zip("xy", learnt[:2], strict=True))
    loss = parallel.mean_over_world(sigmoid_pairs(x, y, *learnt[2:]))
    loss.backward()
    average = [parallel.sum_with_grad(t) / parallel.world_size() for t in (loss.detach(), *(w.grad for w in learnt))]
    return average, [golden[f"siglip_{name}"] for name in ("loss", "gWx", "gWy", "gscale", "gbias")]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_golden_on_any_number_of_processes(world):
    for found, expected in worlds.run(world, golden_on_a_rank):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def unequal(x, y, groups, sizes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    x, y = x[own].requires_grad_(), y[own].requires_grad_()
    loss = parallel.mean_over_world(sigmoid_pairs(x, y, *numbers(), None if groups is None else groups[own]))
    loss.backward()
    return loss.detach(), x.grad, y.grad


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["pairs", "groups"])
@pytest.mark.parametrize("sizes", [[5, 3], [4, 0, 1, 3]])
def test_unequal_rows_give_the_same_mean_and_gradients(groups, sizes):
    x, y = rows()
    expected = unequal(x.clone(), y.clone(), groups, [8])
    results = worlds.run(len(sizes), unequal, x, y, groups, sizes)
    torch.testing.assert_close(sum(result[0] for result in results) / len(sizes), expected[0])
    for place in (1, 2):
        found = torch.cat([result[place] for result in results]) / len(sizes)
        torch.testing.assert_close(found, expected[place])


def test_written_out():
    x, y = rows()
    scale, bias = numbers()
    target = [[1.0 if i == j or a == b >= 0 else -1.0 for j, b in enumerate(GROUPS)] for i, a in enumerate(GROUPS)]
    expected = -logsigmoid(torch.tensor(target, dtype=torch.float64) * (scale * x @ y.T + bias)).sum(1)
    torch.testing.assert_close(sigmoid_pairs(x, y, scale, bias, GROUPS), expected)


def test_limits():
    """Of equal scores the best bias costs what `sigmoid_chance` says; partners far above the rest cost nothing."""
    same, scale = torch.ones(8, 1, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    best = sigmoid_pairs(same, same, scale, torch.tensor(-1 - math.log(7), dtype=torch.float64))
    torch.testing.assert_close(best, torch.full_like(best, sigmoid_chance(8)))
    worse = sigmoid_pairs(same, same, scale, torch.tensor(-3.5, dtype=torch.float64))
    assert bool((worse > best).all()) and sigmoid_chance(1) == 0.0
    apart = torch.eye(8, dtype=torch.float64)
    assert float(sigmoid_pairs(apart, apart, *numbers(200.0, -100.0)).max()) < 1e-30


def test_order_of_rows_does_not_matter_and_the_sides_are_alike():
    x, y = rows()
    order, value = torch.randperm(8), sigmoid_pairs(*rows(), *numbers())
    torch.testing.assert_close(sigmoid_pairs(x[order], y[order], *numbers()), value[order])
    torch.testing.assert_close(sigmoid_pairs(y, x, *numbers()).sum(), value.sum())


def test_further_rows_count_where_they_are_no_partners():
    x, y = rows()
    apart = ~torch.eye(8, dtype=torch.bool)
    own = sigmoid_pairs(x, y, *numbers()) - sigmoid_apart(x, y, *numbers(), apart)
    torch.testing.assert_close(own, -logsigmoid(5 * (x * y).sum(1) - 2))
    assert not sigmoid_apart(x, y[:0], *numbers(), apart[:, :0]).any()


def test_gradcheck():
    x, y = (value.requires_grad_() for value in rows(5))
    learnt = [value.requires_grad_() for value in numbers()]
    groups = torch.tensor([1, 1, -1, 0, 1])
    assert torch.autograd.gradcheck(sigmoid_pairs, (x, y, *learnt))
    assert torch.autograd.gradcheck(lambda *values: sigmoid_pairs(*values, groups), (x, y, *learnt))
    apart = ~torch.eye(5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda *values: sigmoid_apart(*values, apart), (x, y, *learnt))


def test_half_precision_is_computed_in_float32():
    x = normalize(torch.randn(4, 8), dim=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = sigmoid_pairs(x, x, torch.tensor(10.0), torch.tensor(-10.0))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, sigmoid_pairs(x.float(), x.float(), torch.tensor(10.0), torch.tensor(-10.0)))
