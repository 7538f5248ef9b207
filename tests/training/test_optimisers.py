"""LARS and LARC against steps worked out by hand, and against the official wrapper's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from coview.training.optimisers import Lars, make_optimiser
from coview.training.settings import OptimiserSettings


def parameter(values, gradient) -> nn.Parameter:
    made = nn.Parameter(torch.tensor(values))
    made.grad = torch.tensor(gradient)
    return made


def test_two_steps_of_lars_by_hand():
    p = parameter([[3.0, 4.0]], [[1.0, 0.0]])  # |p| = 5
    optimiser = Lars([p], lr=0.5, momentum=0.9, weight_decay=0.1, trust=0.01)
    optimiser.step()
    # d = g + w p = (1.3, 0.4); q = 0.01 * 5 / |d|; m = q d; p -= 0.5 m
    q = 0.05 / math.hypot(1.3, 0.4)
    first = [q * 1.3, q * 0.4]
    after = [3 - 0.5 * first[0], 4 - 0.5 * first[1]]
    assert p.detach().tolist()[0] == pytest.approx(after, rel=1e-6)
    optimiser.step()
    d = [1 + 0.1 * after[0], 0.1 * after[1]]
    q = 0.01 * math.hypot(*after) / math.hypot(*d)
    second = [0.9 * m + q * x for m, x in zip(first, d, strict=True)]
    assert p.detach().tolist()[0] == pytest.approx([a - 0.5 * m for a, m in zip(after, second, strict=True)], rel=1e-6)


def test_biases_are_neither_decayed_nor_scaled():
    p = parameter([3.0, 4.0], [1.0, 0.0])
    Lars([p], lr=0.5, momentum=0.9, weight_decay=0.1, trust=0.01).step()
    assert p.detach().tolist() == pytest.approx([2.5, 4.0])


@pytest.mark.parametrize(("lr", "ratio"), [(0.001, 1.0), (0.5, 0.01 * 5 / (1 + 0.1 * 5) / 0.5)])
def test_larc_never_exceeds_the_rate(lr, ratio):
    p = parameter([[3.0, 4.0]], [[1.0, 0.0]])
    Lars([p], lr=lr, momentum=0.9, weight_decay=0.1, trust=0.01, clip=True).step()
    assert p.detach().tolist()[0] == pytest.approx([3 - lr * ratio * 1.3, 4 - lr * ratio * 0.4], rel=1e-6)


@pytest.mark.parametrize("lr", [0.001, 0.5])
def test_larc_of_everything_is_clipped_where_asked(lr):
    p = parameter([3.0, 4.0], [1.0, 0.0])  # a bias: scaled and decayed like all
    Lars([p], lr=lr, momentum=0.9, weight_decay=0.1, trust=0.01, clip=True, everything=True).step()
    ratio = min(0.01 * 5 / (1 + 0.1 * 5 + 1e-8) / lr, 1)
    assert p.detach().tolist() == pytest.approx([3 - lr * ratio * 1.3, 4 - lr * ratio * 0.4], rel=1e-6)


def test_zero_weights_and_zero_gradients_step_without_nan():
    zero, still = parameter([[0.0, 0.0]], [[1.0, 0.0]]), parameter([[1.0, 0.0]], [[0.0, 0.0]])
    Lars([zero, still], lr=0.5, momentum=0.0).step()
    assert zero.detach().tolist() == [[-0.5, 0.0]] and still.detach().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "lars", "larc"])
def test_every_kind_goes_downhill(kind):
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    groups = [{"params": [layer.weight], "weight_decay": 1e-4}, {"params": [layer.bias], "weight_decay": 0.0}]
    settings = OptimiserSettings(kind=kind, lr=0.02, trust=0.1)
    optimiser = make_optimiser([*groups, {"params": []}], settings, torch.device("cpu"))
    x, losses = torch.randn(32, 4), []
    for _ in range(40):
        loss = (layer(x) - x.flip(1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1e-4, 0.0]


SWAV = np.load(Path(__file__).parents[1] / "golden" / "swav.npz")


def test_larc_of_swav_golden():
    """Three steps of the official wrapper; the third parameter starts at zero."""
    rate, decay, trust, clip, momentum = SWAV["larc_cfg"].tolist()
    assert not clip
    parameters = [torch.nn.Parameter(torch.from_numpy(SWAV[f"larc_p{index}_init"])) for index in range(3)]
    optimiser = Lars(parameters, lr=rate, momentum=momentum, weight_decay=decay, trust=trust, everything=True)
    for step in range(3):
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.from_numpy(SWAV[f"larc_g{index}_step{step}"]).clone()
        optimiser.step()
        for index, parameter in enumerate(parameters):
            expected = torch.from_numpy(SWAV[f"larc_p{index}_after{step}"])
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-9, atol=0)
