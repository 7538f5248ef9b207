"""Contrast by classes and agreement of class scores: published CCL values, limits, processes, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.objectives.class_contrast import class_contrast, class_nce, jeffreys

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "ccl.npz").items()
}
LABEL = GOLDEN["targets"]


def golden(name):
    return GOLDEN[name].double()


@pytest.mark.parametrize("heat", [0.5, 0.1])
def test_contrast_golden(heat):
    t, v = (golden(name).requires_grad_() for name in ("f_teacher", "f_video"))
    loss = class_nce(t, v, LABEL, heat).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden(f"nce_12.T{heat}"), rtol=1e-9, atol=0)
    torch.testing.assert_close(t.grad, golden(f"grad_f1_nce12.T{heat}"), rtol=0, atol=1e-9)
    torch.testing.assert_close(v.grad, golden(f"grad_f2_nce12.T{heat}"), rtol=0, atol=1e-9)
    back = class_nce(v, t, LABEL, heat).mean()
    torch.testing.assert_close(back.detach(), golden(f"nce_21.T{heat}"), rtol=1e-9, atol=0)
    assert abs(back - loss) > 1e-3
    torch.testing.assert_close(class_contrast(t, v, LABEL, heat).mean(), loss + back)
    single = class_nce(t.float(), v.float(), LABEL, heat).mean()
    torch.testing.assert_close(single.double(), loss, rtol=1e-4, atol=0)


def test_agreement_golden():
    z, c = golden("logits_video"), golden("logits_comp")
    torch.testing.assert_close(jeffreys(z, c).mean(), golden("jsd_w0.5"), rtol=0, atol=1e-6)
    torch.testing.assert_close(jeffreys(c, z).mean(), golden("jsd_w0.5_swapped"), rtol=0, atol=1e-6)
    torch.testing.assert_close(jeffreys(z, z + 3), torch.zeros(10, dtype=torch.float64), rtol=0, atol=1e-9)
    far = torch.tensor([[200.0, 0.0]], requires_grad=True)  # a probability of 0 in float32
    value = jeffreys(far, -far)
    value.backward(torch.ones(1))
    assert value.isfinite().all() and far.grad.isfinite().all()


def test_limits():
    f = torch.eye(6, dtype=torch.float64)
    assert float(class_nce(f, f, torch.arange(6), 1e-2).max()) < 1e-8
    same = torch.ones(6, 3, dtype=torch.float64)
    expected = math.log(6) - math.log(1 - 1 / 6)
    torch.testing.assert_close(class_nce(same, same, torch.arange(6), 0.5), torch.full((6,), expected).double())
    # One class: no row is among the others, which then cost nothing, instead of NaN.
    torch.testing.assert_close(
        class_nce(same, same, torch.zeros(6).long(), 0.5), torch.full((6,), math.log(6)).double()
    )
    assert class_nce(f[:0], f[:0], LABEL[:0], 0.5).shape == (0,)


def test_certain_mistakes_stay_finite_in_float32():
    f = torch.eye(4, requires_grad=True)
    wrong = torch.eye(4)[[1, 0, 3, 2]]
    loss = class_nce(f, wrong, torch.arange(4), 0.01)
    loss.sum().backward()
    assert loss.isfinite().all() and float(loss.detach().max()) > 23 and f.grad.isfinite().all()


def test_lengths_names_of_classes_and_order_do_not_matter():
    f, g = torch.randn(2, 8, 5, dtype=torch.float64)
    label, order = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3]), torch.randperm(8)
    value = class_nce(f, g, label, 0.3)
    torch.testing.assert_close(class_nce(3 * f, 0.1 * g, (label + 1) % 4, 0.3), value)
    torch.testing.assert_close(class_nce(f[order], g[order], label[order], 0.3), value[order])


def on_a_rank():
    f, g = torch.randn(2, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    label, world = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3]), parallel.world_size()
    # Shares of different size: the last process has none of the rows.
    share = torch.arange(8).tensor_split([5] if world == 2 else [3, 6, 8])[parallel.rank()] if world > 1 else ...
    f, g = (each[share].clone().requires_grad_() for each in (f, g))
    loss = parallel.mean_over_world(class_contrast(f, g, label[share], 0.3))
    loss.backward()
    return loss.detach(), f.grad, g.grad


@pytest.mark.parametrize("world", [2, 4])
def test_processes_are_one(world):
    loss, *gradients = on_a_rank()
    results = worlds.run(world, on_a_rank)
    torch.testing.assert_close(sum(result[0] for result in results) / world, loss)
    for index, gradient in enumerate(gradients, 1):
        torch.testing.assert_close(torch.cat([result[index] for result in results]) / world, gradient)


def test_gradients_and_half_precision():
    f, g = torch.randn(2, 6, 4, dtype=torch.float64)
    label = torch.tensor([0, 1, 0, 2, 1, 0])
    assert torch.autograd.gradcheck(
        lambda x, y: class_contrast(x, y, label, 0.3), [f.requires_grad_(), g.requires_grad_()]
    )
    assert torch.autograd.gradcheck(jeffreys, [f, g])
    assert class_contrast(f.bfloat16(), g.bfloat16(), label, 0.3).dtype == torch.float32
    assert jeffreys(f.bfloat16(), g.bfloat16()).dtype == torch.float32
