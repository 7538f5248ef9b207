"""InfoNCE, RINCE and NCE: published values, limits, invariances, gradients, world sizes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview import parallel
from coview.objectives.infonce import in_batch_scores, infonce, log_total
from coview.objectives.nce import estimate_z, nce
from coview.objectives.rince import rince

GOLDEN = Path(__file__).parents[1] / "golden"
Q = [0.0, 0.001, 0.01, 0.1, 0.4, 1.0]


def load(name):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(GOLDEN / f"{name}.npz").items()}


def scores(rows=5, negatives=7, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    draw = scale * torch.randn(rows, negatives + 1, generator=generator, dtype=torch.float64)
    return draw[:, 0], draw[:, 1:]


def symmetric(x, y, temperature, groups=None):
    return sum(parallel.mean_over_world(infonce(*pair)) for pair in in_batch_scores(x, y, temperature, groups)) / 2


@pytest.mark.parametrize("density", [0.01, 0.025, 1.0])
def test_rince_golden(density):
    golden = load("xid-rince")
    for q, exact, single in zip(
        golden["q_values"].tolist(),
        golden[f"rince_lam{density:g}_float64"],
        golden[f"rince_lam{density:g}_float32"],
        strict=True,
    ):
        for dtype, expected, tolerance in ((torch.float64, exact, 1e-9), (torch.float32, exact, 2e-6)):
            positive, negative = golden["scores_pos"][:, 0].to(dtype), golden["scores_neg"].to(dtype)
            value = rince(positive, log_total(positive, negative), q, density).mean()
            torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
        released = rince(positive, log_total(positive, negative), q, density, as_released=True).mean()
        torch.testing.assert_close(released.double(), single, rtol=1e-5, atol=5e-4 if q <= 0.01 else 1e-6)


def test_nce_golden():
    golden = load("xid-rince")
    value = nce(golden["scores_pos"][:, 0].double(), golden["scores_neg"].double(), 0.7).mean()
    torch.testing.assert_close(value, golden["nce_ssrl_Z0.7"], rtol=1e-6, atol=0)


def test_nce_closed_form():
    positive, negative = torch.tensor([0.0]), torch.zeros(1, 3)
    assert estimate_z(negative) == 1.0
    expected = math.log(4) + 3 * math.log(4 / 3)  # P = 1 / (1 + 3)
    torch.testing.assert_close(nce(positive, negative, 1.0), torch.tensor([expected]))


def test_symmetric_infonce_golden():
    golden = load("infonce")
    a, v = (normalize(golden[name].double(), dim=1) for name in "av")
    raw = [golden[name].double().requires_grad_() for name in "av"]
    loss = symmetric(*(normalize(x, dim=1) for x in raw), 0.07)
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["ntxent_symmetric"], rtol=0, atol=1e-9)
    torch.testing.assert_close(raw[0].grad, golden["grad_a"], rtol=0, atol=1e-9)
    torch.testing.assert_close(raw[1].grad, golden["grad_v"], rtol=0, atol=1e-9)
    (positive, total), _ = in_batch_scores(v, a, 0.05)
    torch.testing.assert_close(infonce(positive, total).mean(), golden["cavmae_oneway_tau005"], rtol=0, atol=1e-9)
    torch.testing.assert_close(symmetric(a, v, 0.05), golden["cavmae_bidir_tau005"], rtol=0, atol=1e-9)


def clip_on_a_rank(golden):
    per = 16 // parallel.world_size()
    own = slice(parallel.rank() * per, (parallel.rank() + 1) * per)
    weights = [golden[name].requires_grad_() for name in ("Wx", "Wy", "scale")]
    x, y = (normalize(golden[name][own] @ w, dim=1) for name, w in zip("xy", weights[:2], strict=True))
    loss = symmetric(x, y, 1 / weights[2])
    loss.backward()
    return [t / parallel.world_size() for t in map(parallel.sum_with_grad, (loss.detach(), *(w.grad for w in weights)))]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_distributed_infonce_golden(world):
    golden = load("contrastive_dist")
    for result in worlds.run(world, clip_on_a_rank, golden):
        expected = [golden[f"clip_{name}"] for name in ("loss", "gWx", "gWy", "gscale")]
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


def unequal(x, y, sizes, groups=None):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    x, y = x[own].requires_grad_(), y[own].requires_grad_()
    loss = symmetric(x, y, 0.1, None if groups is None else groups[own])
    loss.backward()
    return loss.detach(), x.grad, y.grad


@pytest.mark.parametrize("groups", [None, torch.tensor([0, 1, -1, 0, 2, 0, 1, -1, 2])], ids=["pairs", "groups"])
@pytest.mark.parametrize("sizes", [[6, 3], [4, 0, 2, 3]])
def test_unequal_rows_give_the_same_mean_and_gradients(sizes, groups):
    x, y = (normalize(torch.randn(9, 4, dtype=torch.float64), dim=1) for _ in "xy")
    loss, grad_x, grad_y = unequal(x, y, [9], groups)
    results = worlds.run(len(sizes), unequal, x.detach(), y.detach(), sizes, groups)
    world = len(sizes)
    torch.testing.assert_close(sum(result[0] for result in results) / world, loss)
    torch.testing.assert_close(torch.cat([result[1] for result in results]) / world, grad_x)
    torch.testing.assert_close(torch.cat([result[2] for result in results]) / world, grad_y)


def test_q_one_is_the_sum_over_negatives():
    positive, negative = scores()
    value = rince(positive, log_total(positive, negative), 1.0, 1.0)
    torch.testing.assert_close(value, negative.exp().sum(1), rtol=1e-12, atol=1e-12)


def test_q_zero_is_infonce_and_the_limit_is_shifted():
    positive, negative = scores()
    total = log_total(positive, negative)
    exact = infonce(positive, total)
    assert torch.equal(rince(positive, total, 0.0, 0.01), exact)
    torch.testing.assert_close(rince(positive, total, 1e-10, 0.01), exact + math.log(0.01), rtol=0, atol=1e-6)


@pytest.mark.parametrize("q", Q)
def test_single_precision_keeps_its_digits(q):
    positive, negative = scores(scale=5.0)
    exact = rince(positive, log_total(positive, negative), q, 0.01)
    single = rince(positive.float(), log_total(positive.float(), negative.float()), q, 0.01)
    torch.testing.assert_close(single.double(), exact, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("q", Q)
def test_permuted_negatives_change_nothing(q):
    positive, negative = scores()
    order = torch.randperm(7)
    first, second = (rince(positive, log_total(positive, n), q, 0.01) for n in (negative, negative[:, order]))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("q", Q)
def test_gradcheck(q):
    positive, negative = (x.requires_grad_() for x in scores(3, 4, 1.0))
    assert torch.autograd.gradcheck(lambda p, n: rince(p, log_total(p, n), q, 0.01), (positive, negative))
    assert torch.autograd.gradcheck(lambda p, n: nce(p, n, 0.7), (positive, negative))


def test_in_batch_gradcheck():
    x, y = (torch.randn(4, 3, dtype=torch.float64).requires_grad_() for _ in "xy")
    assert torch.autograd.gradcheck(lambda x, y: symmetric(x, y, 0.5), (x, y))


def test_half_precision_is_computed_in_float32():
    x = normalize(torch.randn(4, 8), dim=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (positive, total), _ = in_batch_scores(x, x, 0.07)
    assert positive.dtype == total.dtype == torch.float32
    expected = (x.float() @ x.float().T / 0.07).logsumexp(1)
    torch.testing.assert_close(total, expected)


def test_random_embeddings_cost_what_theory_says():
    """Unit vectors at random: log(1 + K) + 1 / (2 D tau^2) = 6.93 + 0.80 = 7.73 for K = 1024, D = 128."""
    generator = torch.Generator().manual_seed(0)
    x, y = (normalize(torch.randn(512, 128, generator=generator), dim=1) for _ in "xy")
    rows = torch.randint(512, (512, 1024), generator=generator)
    score = torch.bmm(y[rows], x[:, :, None])[:, :, 0] / 0.07
    positive = (x * y).sum(1) / 0.07
    assert infonce(positive, log_total(positive, score)).mean().item() == pytest.approx(7.73, abs=0.1)


GROUPS = torch.tensor([3, 0, 3, -1, 0, 3, -1, 5])


def grouped(seed=0, rows=8):
    generator = torch.Generator().manual_seed(seed)
    return (normalize(torch.randn(rows, 4, generator=generator, dtype=torch.float64), dim=1) for _ in "xy")


@pytest.mark.parametrize("groups", [torch.arange(8), torch.full((8,), -1)], ids=["all different", "no group"])
def test_one_positive_of_a_row_is_infonce(groups):
    x, y = grouped()
    assert torch.equal(symmetric(x, y, 0.1, groups), symmetric(x, y, 0.1))


def test_positives_are_the_cross_entropy_with_equal_shares():
    """Khosla et al. 2020, equation 2, written out: the target of a row is 1 / |P| on each of its positives."""
    x, y = grouped()
    target = torch.tensor([[float(i == j or a == b >= 0) for j, b in enumerate(GROUPS)] for i, a in enumerate(GROUPS)])
    target = (target / target.sum(1, keepdim=True)).double()
    expected = [torch.nn.functional.cross_entropy(one @ other.T / 0.1, target) for one, other in ((x, y), (y, x))]
    torch.testing.assert_close(symmetric(x, y, 0.1, GROUPS), sum(expected) / 2)


def test_limits_of_many_positives():
    """One vector for each of two groups: log |P| in the limit; one vector for everything: log N."""
    groups = torch.tensor([0, 1, 0, 1, 0, 0])
    sizes = torch.tensor([4.0, 2.0, 4.0, 2.0, 4.0, 4.0], dtype=torch.float64)
    x = torch.nn.functional.one_hot(groups).double()
    for positive, total in in_batch_scores(x, x, 0.01, groups):
        torch.testing.assert_close(infonce(positive, total), sizes.log())
    same = torch.ones(6, 1, dtype=torch.float64)
    assert symmetric(same, same, 0.1, groups).item() == pytest.approx(math.log(6))


def test_neither_names_of_groups_nor_order_of_rows_matter():
    x, y = grouped()
    renamed = torch.where(GROUPS >= 0, 100 - GROUPS, -7)
    torch.testing.assert_close(symmetric(x, y, 0.1, renamed), symmetric(x, y, 0.1, GROUPS), rtol=0, atol=0)
    order = torch.randperm(8)
    torch.testing.assert_close(symmetric(x[order], y[order], 0.1, GROUPS[order]), symmetric(x, y, 0.1, GROUPS))


def test_gradcheck_with_groups():
    x, y = (torch.randn(5, 3, dtype=torch.float64).requires_grad_() for _ in "xy")
    groups = torch.tensor([1, 1, -1, 0, 1])
    assert torch.autograd.gradcheck(lambda x, y: symmetric(x, y, 0.5, groups), (x, y))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("q", [0.5, 1.0])
def test_rince_of_scores_beyond_exp_is_a_number_with_its_order_and_gradient(q, kind):
    positive = torch.tensor([10.0, 79.0, 100.0, 250.0, 1500.0], dtype=kind).requires_grad_()
    losses = {}
    for above in (0.0, 1.0, 2.0):
        total = (positive.detach() + above).requires_grad_()
        loss = rince(positive, total, q, 1.0)
        grads = torch.autograd.grad(loss.sum(), (positive, total))
        assert all(bool(value.isfinite().all()) for value in (loss, *grads))
        assert bool((grads[0] < 0).all()) and bool((grads[1] > 0).all())
        losses[above] = loss.detach()
    assert bool((losses[0.0] < losses[1.0]).all()) and bool((losses[1.0] < losses[2.0]).all())
    inside = q * (positive.detach() + 2) <= 80
    plain = (((q * (positive.detach() + 2)).exp() - (q * positive.detach()).exp()) / q)[inside]
    torch.testing.assert_close(losses[2.0][inside], plain, rtol=1e-5, atol=0)
