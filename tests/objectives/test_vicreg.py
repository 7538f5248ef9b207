"""VICReg: published values in both forms of the covariance, invariances, collapse, world sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.objectives.vicreg import vicreg

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "vicreg.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def loss(x, y):
    invariance, variance, covariance = vicreg(x, y)
    return 25 * invariance + 25 * variance + covariance


def sample(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, columns, dtype=torch.float64, generator=generator) for _ in "xy"]


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_golden(case, dtype, tolerance):
    x, y = (golden(f"{name}{case}").to(dtype).requires_grad_() for name in "xy")
    kind = str(dtype).removeprefix("torch.")
    for name, part in zip(("inv", "var", "cov"), vicreg(x, y), strict=True):
        torch.testing.assert_close(part.detach().double(), golden(f"{name}{case}_{kind}"), rtol=tolerance, atol=1e-7)
    value = loss(x, y)
    torch.testing.assert_close(value.detach().double(), golden(f"loss{case}_{kind}"), rtol=tolerance, atol=0)
    value.backward()
    if f"gx{case}_{kind}" in GOLDEN:
        torch.testing.assert_close(x.grad, golden(f"gx{case}_{kind}"), rtol=10 * tolerance, atol=10 * tolerance)
        torch.testing.assert_close(y.grad, golden(f"gy{case}_{kind}"), rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_invariances(shape):
    x, y = sample(*shape)
    parts = vicreg(x, y)
    order = torch.randperm(shape[0])
    torch.testing.assert_close(vicreg(x[order], y[order]), parts)
    torch.testing.assert_close(vicreg(y, x), parts)
    torch.testing.assert_close(vicreg(x + 3, y + 3), parts)
    moved, variance, covariance = vicreg(x, y[order])
    torch.testing.assert_close((variance, covariance), parts[1:])
    assert not torch.isclose(moved, parts[0])
    rotation = torch.linalg.qr(torch.randn(shape[1], shape[1], dtype=torch.float64))[0]
    invariance, variance, covariance = vicreg(x @ rotation, y @ rotation)
    torch.testing.assert_close(invariance, parts[0])
    assert not torch.isclose(covariance, parts[2])


def test_collapse_costs_24_75_and_perfection_nothing():
    same = torch.ones(8, 16, dtype=torch.float64)
    torch.testing.assert_close(loss(same, same).item(), 24.75)
    draw = sample(32, 8)[0]
    basis = torch.linalg.qr(draw - draw.mean(0))[0] * 31**0.5  # centred, orthogonal, unbiased variance 1
    torch.testing.assert_close(loss(basis, basis).item(), 0.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_gradcheck(shape):
    x, y = (value.requires_grad_() for value in sample(*shape))
    assert torch.autograd.gradcheck(loss, (x, y))


def share(x, y, sizes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    x, y = x[own].requires_grad_(), y[own].requires_grad_()
    value = loss(x, y)
    value.backward()
    return value.detach(), x.grad, y.grad


@pytest.mark.parametrize("columns", [5, 24])
@pytest.mark.parametrize("sizes", [[6, 6], [3, 3, 3, 3], [5, 0, 3, 4]])
def test_world_size(columns, sizes):
    x, y = sample(12, columns)
    value, grad_x, grad_y = share(x, y, [12])
    world = len(sizes)
    results = worlds.run(world, share, x.detach(), y.detach(), sizes)
    torch.testing.assert_close(sum(result[0] for result in results) / world, value, rtol=1e-9, atol=0)
    torch.testing.assert_close(torch.cat([result[1] for result in results]) / world, grad_x, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(torch.cat([result[2] for result in results]) / world, grad_y, rtol=1e-7, atol=1e-9)


def test_half_precision_is_computed_in_float32():
    x, y = (value.bfloat16() for value in sample(6, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = vicreg(x, y)
    torch.testing.assert_close(parts, vicreg(x.float(), y.float()))
