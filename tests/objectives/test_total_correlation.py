"""Total correlation: published values and gradients, the degenerate case, identities, classes, world sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.testing import assert_close

from coview import parallel
from coview.objectives.total_correlation import (
    canonical_sum,
    class_covariance,
    covariances,
    total_correlation,
)

FOLDER = Path(__file__).parents[1] / "golden"
DCCA = {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(FOLDER / "dcca-loss.npz").items()}
SUPERVISED = {
    name: torch.from_numpy(np.asarray(value)) for name, value in np.load(FOLDER / "supervised-dcca.npz").items()
}
RIDGE = (float(DCCA["r1"]), float(DCCA["r2"]))


def sample(rows=40, wide=5, other=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, wide, dtype=torch.float64, generator=generator)
    y = 0.5 * x[:, :other] + torch.randn(rows, other, dtype=torch.float64, generator=generator)
    return x, y


def gradients(function, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    value.backward()
    return value.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize(("name", "components"), [("nuc", None), ("topk", int(DCCA["topk"]))])
def test_golden_value_and_gradients(name, components):
    value, (first, second) = gradients(lambda x, y: -total_correlation(x, y, RIDGE, components), DCCA["H1"], DCCA["H2"])
    assert_close(value, DCCA[f"{name}_loss"], rtol=0, atol=1e-9)
    assert_close(first, DCCA[f"{name}_g1"], rtol=0, atol=1e-10)
    assert_close(second, DCCA[f"{name}_g2"], rtol=0, atol=1e-10)


def test_it_is_the_sum_of_singular_values_and_not_the_published_mistakes():
    cut = int(DCCA["peer_dim"])
    x, y = DCCA["H1"][:, :cut], DCCA["H2"][:, :cut]
    value = -total_correlation(x, y, (1e-3, 1e-3))
    assert_close(value, -DCCA["peer_true_sv"].sum(), rtol=0, atol=1e-9)
    assert abs(value - DCCA["peer_all_loss"]) > 0.1
    assert abs(value - DCCA["peer_fro_loss"]) > 0.1


def test_repeated_singular_values_have_a_finite_right_gradient():
    same, r = DCCA["rep_H"], RIDGE[0]
    value, (first, second) = gradients(lambda x, y: -total_correlation(x, y, (r, r)), same, same)
    wide = same.shape[1]
    assert_close(value, DCCA["rep_loss"], rtol=0, atol=1e-9)
    assert_close(value.item(), -wide / (1 + r), rtol=0, atol=1e-9)
    assert_close(first, DCCA["rep_g1"], rtol=0, atol=1e-10)
    assert_close((first * same).sum().item(), -wide * r / (1 + r) ** 2, rtol=0, atol=1e-10)
    assert_close(second, first, rtol=0, atol=1e-10)


def test_dead_and_copied_dimensions_have_finite_gradients():
    x, y = sample()
    x[:, 1], x[:, 2] = x[:, 0], 3.0
    value, grads = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), x, y)
    assert value.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    zero, grads = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), torch.zeros_like(x), y)
    assert zero == 0
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("components", [None, 2])
def test_gradcheck(components):
    x, y = (value.requires_grad_() for value in sample(12, 4, 3))
    assert torch.autograd.gradcheck(lambda a, b: total_correlation(a, b, (1e-3, 2e-3), components), (x, y))


def test_invariances():
    x, y = sample()
    value = total_correlation(x, y, (0.0, 0.0))
    mixing = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(4))
    for other in (
        total_correlation(x @ mixing, y, (0.0, 0.0)),
        total_correlation(x + 100, y - 7, (0.0, 0.0)),
        total_correlation(x[order], y[order], (0.0, 0.0)),
        total_correlation(y, x, (0.0, 0.0)),
    ):
        assert_close(other, value, rtol=1e-9, atol=0)
    assert_close(total_correlation(x, x, (0.0, 0.0)).item(), 5.0)
    _, (gradient, _) = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), x, y)
    assert_close(gradient.sum(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_float32_keeps_its_digits_and_half_precision_is_widened():
    x, y = sample(100, 40, 30)
    exact, (gradient, _) = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), x, y)
    value, (single, _) = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), x.float(), y.float())
    assert value.dtype == single.dtype == torch.float32
    assert_close(value.double(), exact, rtol=1e-6, atol=0)
    assert (single.double() - gradient).norm() / gradient.norm() < 1e-5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = total_correlation(x.bfloat16(), y.bfloat16(), (1e-4, 1e-4))
    assert_close(half, total_correlation(x.bfloat16().float(), y.bfloat16().float(), (1e-4, 1e-4)))


def test_numbers_that_are_not_finite_come_out_as_nan():
    x, y = sample()
    x[3, 0] = torch.nan
    value, (gradient, _) = gradients(lambda a, b: total_correlation(a, b, (1e-4, 1e-4)), x, y)
    assert value.isnan()
    assert gradient.isnan().any()


def mixed(x, y, label, beta, classes, ridge):
    c11, c12, c22 = covariances(x, y, (ridge, ridge))
    return c11, beta * c12 + (1 - beta) * class_covariance(x, y, label, classes), c22


def test_golden_of_classes():
    x, y, label = SUPERVISED["X"], SUPERVISED["Y"], SUPERVISED["y"].long()
    beta, r, k = float(SUPERVISED["beta"]), float(SUPERVISED["r"]), int(SUPERVISED["k"])
    for name, share in (("pair", 1.0), ("cluster", 0.0), ("mixed", beta)):
        c11, c12, c22 = mixed(x, y, label, share, 10, r)
        assert_close(c12, SUPERVISED[f"{name}_C12"], rtol=0, atol=1e-9)
        assert_close(canonical_sum(c11, c12, c22), SUPERVISED[f"{name}_sv"].sum(), rtol=0, atol=1e-9)
    value, (first, second) = gradients(lambda a, b: -canonical_sum(*mixed(a, b, label, beta, 10, r), k), x, y)
    assert_close(value, SUPERVISED["sdcca_loss"], rtol=0, atol=1e-9)
    assert_close(first, SUPERVISED["sdcca_gx"], rtol=0, atol=1e-9)
    assert_close(second, SUPERVISED["sdcca_gy"], rtol=0, atol=1e-9)


def test_class_covariance_is_the_mean_over_pairs_and_its_limits():
    x, y = sample(12, 3, 3)
    label = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 4, 4, 1, 2])
    a, b = x - x.mean(0), y - y.mean(0)
    pairs = [torch.outer(a[i], b[j]) for i in range(12) for j in range(12) if label[i] == label[j]]
    assert_close(class_covariance(x, y, label, 6), torch.stack(pairs).mean(0), rtol=0, atol=1e-14)
    own = class_covariance(x, y, torch.arange(12), 12)
    assert_close(own, covariances(x, y, (0.0, 0.0))[1] * 11 / 12, rtol=0, atol=1e-14)
    value, grads = gradients(
        lambda p, q: canonical_sum(*mixed(p, q, torch.zeros(12, dtype=torch.int64), 0.0, 1, 1e-4)), x, y
    )
    assert abs(value) < 1e-12
    assert all(grad.isfinite().all() for grad in grads)


def test_partners_permuted_within_classes_do_not_change_the_class_covariance():
    generator = torch.Generator().manual_seed(0)
    x, y = sample(60, 4, 4)
    label = torch.arange(60) % 6
    order = torch.arange(60)
    for c in range(6):
        rows = torch.nonzero(label == c)[:, 0]
        order[rows] = rows[torch.randperm(10, generator=generator)]
    ours, theirs = (canonical_sum(*mixed(x, z, label, 0.0, 6, 1e-4)) for z in (y, y[order]))
    assert_close(ours, theirs, rtol=0, atol=1e-12)


def share(x, y, label, sizes, classes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    x, y = x[own].requires_grad_(), y[own].requires_grad_()
    value = (
        canonical_sum(*mixed(x, y, label[own], 0.2, classes, 1e-4)) if classes else total_correlation(x, y, (1e-4, 0))
    )
    value.backward()
    return value.detach(), x.grad, y.grad


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("sizes", [[32, 32], [16, 16, 16, 16], [30, 0, 14, 20]])
def test_world_size(sizes, classes):
    x, y = sample(64, 6, 5)
    label = torch.arange(64) % 3
    expected = share(x, y, label, [64], classes)
    results = worlds.run(len(sizes), share, x.detach(), y.detach(), label, sizes, classes)
    for value, _, _ in results:
        assert_close(value, expected[0], rtol=0, atol=1e-10)
    for place in (1, 2):
        joined = torch.cat([result[place] for result in results]) / len(sizes)
        assert_close(joined, expected[place], rtol=0, atol=1e-10)
