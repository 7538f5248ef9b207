"""Learning rates against their closed forms and torch's own schedulers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from coview.training.schedules import rate_factor
from coview.training.settings import ScheduleSettings


def test_constant_and_linear_warm_up():
    settings = ScheduleSettings(kind="constant", warm_up=0.2)
    assert [rate_factor(step, 10, settings) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_warm_up_from_a_rate_reaches_the_peak_as_published():
    """SwAV: np.linspace(start, base, steps of warm-up), then half a cosine from the base on."""
    settings = ScheduleSettings(kind="cosine", warm_up=0.25, warm_up_from=0.1, final=0.01)
    found = [rate_factor(step, 40, settings) for step in range(40)]
    rest = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert found == pytest.approx([*np.linspace(0.1, 1, 10), *rest], rel=1e-12)
    one = ScheduleSettings(kind="constant", warm_up=0.1, warm_up_from=0.3)
    assert [rate_factor(step, 10, one) for step in range(2)] == [0.3, 1.0]


def test_multistep_is_the_cards_recipe():
    settings = ScheduleSettings()
    for epoch in range(100):  # 7 steps an epoch, times 0.9 every 10 of 100 epochs
        assert rate_factor(epoch * 7, 700, settings) == pytest.approx(0.9 ** (epoch // 10))
        assert rate_factor(epoch * 7 + 6, 700, settings) == pytest.approx(0.9 ** (epoch // 10))


def test_cosine_equals_torch():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50, eta_min=0.1)
    for step in range(50):
        factor = rate_factor(step, 50, ScheduleSettings(kind="cosine", final=0.1))
        assert factor == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9)
        optimiser.step()
        torchs.step()


def test_linear_falls_evenly_behind_its_warm_up():
    settings = ScheduleSettings(kind="linear", warm_up=0.1, final=0.2)
    factors = [rate_factor(step, 110, settings) for step in (0, 10, 11, 60, 110)]
    assert factors == pytest.approx([1 / 11, 1.0, 1.0, 0.2 + 0.8 * (1 - 49 / 99), 0.2])


def test_cosine_that_rises_again_equals_torch():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=5, eta_min=0.01)
    for epoch in range(20):
        factor = rate_factor(epoch, 20, ScheduleSettings(kind="cosine", final=0.01, swings=4))
        assert factor == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9)
        optimiser.step()
        torchs.step()


def test_cosine_holds_its_peak_and_ends_low():
    settings = ScheduleSettings(kind="cosine", warm_up=0.1, hold=0.5, final=0.01)
    factors = [rate_factor(step, 100, settings) for step in range(100)]
    assert factors[9:61] == [1.0] * 52 and factors[61] < 1 and factors == factors[:61] + sorted(factors[61:])[::-1]
    assert factors[-1] == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * 39 / 40)) / 2)


def test_one_cycle_rises_from_a_25th():
    settings = ScheduleSettings(kind="one-cycle", warm_up=0.5)
    factors = [rate_factor(step, 1000, settings) for step in range(1000)]
    assert factors[0] == pytest.approx(0.04, abs=1e-4) and max(factors) == factors[499] == factors[500] == 1.0
    assert factors[249] == pytest.approx((0.04 + 1) / 2, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"warm_up": 1.0}, {"milestones": (1.5,)}, {"kind": "one-cycle"}, {"final": 2.0}, {"hold": 1.0}, {"swings": 2}],
)
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError):
        ScheduleSettings(**wrong)
