"""MAXVAR over three views and its meeting with canonical correlation on two; orthogonal iterations."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.testing import assert_close

from coview import parallel
from coview.objectives.generalised_correlation import generalised_correlation
from coview.objectives.orthogonal_iterations import update_scatter, whitened_targets
from coview.objectives.total_correlation import total_correlation

STORED = np.load(Path(__file__).parents[1] / "golden" / "dcca-loss.npz")
DCCA = {name: torch.from_numpy(np.asarray(value)) for name, value in STORED.items()}
CUT = int(DCCA["peer_dim"])
VIEWS = [DCCA["H1"][:, :CUT], DCCA["H2"][:, :CUT], DCCA["H3"]]


def gradients(function, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    value.backward()
    return value.detach(), [leaf.grad for leaf in leaves]


def test_golden():
    value, grads = gradients(lambda *views: -generalised_correlation(views, 1e-3, CUT), *VIEWS)
    assert_close(value, DCCA["gcca_loss"], rtol=0, atol=1e-9)
    for number, grad in enumerate(grads, 1):
        assert_close(grad, DCCA[f"gcca_g{number}"], rtol=0, atol=1e-10)


def test_two_views_are_canonical_correlation():
    x, y = VIEWS[:2]
    expected = CUT + total_correlation(x, y, (0.0, 0.0))
    assert_close(generalised_correlation([x, y], 0.0, CUT), expected, rtol=0, atol=1e-10)
    same = generalised_correlation([x, x, x], 0.0, CUT)
    assert_close(same.item(), 3.0 * CUT, rtol=1e-10, atol=0)


def test_repeated_eigenvalues_and_gradcheck():
    x = torch.linalg.qr(VIEWS[0] - VIEWS[0].mean(0))[0]
    value, grads = gradients(lambda *views: generalised_correlation(views, 1e-3, 4), x, x)
    assert value.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    small = [view[:10, :3].clone().requires_grad_() for view in VIEWS]
    assert torch.autograd.gradcheck(lambda *views: generalised_correlation(views, 1e-2, 3), small)


def test_float32_returns_float32():
    assert generalised_correlation([view.float() for view in VIEWS], 1e-3, 2).dtype == torch.float32


def test_orthogonal_iterations_golden():
    rho, ridge, batch = float(DCCA["noi_rho"]), float(DCCA["noi_reg"]), int(DCCA["noi_batch"])
    scatters = [torch.eye(CUT, dtype=torch.float64) for _ in "xy"]
    for number in range(3):
        outputs = [view[number * batch : (number + 1) * batch] for view in VIEWS[:2]]
        scatters = [update_scatter(s, g, rho) for s, g in zip(scatters, outputs, strict=True)]
        targets = [whitened_targets(g, s, ridge) for g, s in zip(outputs, scatters, strict=True)]
        for own in range(2):
            centred = outputs[own] - outputs[own].mean(0)
            error = (centred - targets[1 - own]).square().sum(1).mean()
            assert_close(error, DCCA["noi_values"][number, own], rtol=0, atol=1e-9)
    assert_close(scatters, [DCCA["noi_S1"], DCCA["noi_S2"]], rtol=0, atol=1e-10)


def share(views):
    own = slice(parallel.rank() * len(views[0]) // parallel.world_size(), None)
    own = slice(own.start, own.start + len(views[0]) // parallel.world_size())
    leaves = [view[own].requires_grad_() for view in views]
    value = generalised_correlation(leaves, 1e-3, 4)
    value.backward()
    scatter = update_scatter(torch.eye(CUT, dtype=torch.float64), leaves[0].detach(), 0.8)
    return value.detach(), scatter, [leaf.grad for leaf in leaves], whitened_targets(leaves[0], scatter, 1e-4)


@pytest.mark.parametrize("world", [2, 4])
def test_world_size(world):
    value, scatter, grads, targets = share([view.clone() for view in VIEWS])
    results = worlds.run(world, share, [view.clone() for view in VIEWS])
    for other, state, _, _ in results:
        assert_close((other, state), (value, scatter), rtol=0, atol=1e-10)
    for place, grad in enumerate(grads):
        joined = torch.cat([result[2][place] for result in results]) / world
        assert_close(joined, grad, rtol=0, atol=1e-10)
    assert_close(torch.cat([result[3] for result in results]), targets, rtol=0, atol=1e-10)
