"""The learning rate as a closed function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from coview.training.settings import ScheduleSettings

_ONE_CYCLE_START = 1 / 25  # of the peak, as Smith & Topin (arXiv 1708.07120) are commonly implemented


def rate_factor(step: int, steps: int, settings: ScheduleSettings) -> float:
    """Return the factor in [0, 1] on the peak learning rate for optimiser step `step` of `steps` (from 0).

    Positions are fractions of the run, so that another batch size or world size keeps the shape. With w the steps of
    warm-up and h those held at the peak: linear (step + 1) / w before w, or, from a stated share s of the peak,
    s + (1 - s) step / (w - 1), which has its ends at s and at 1 (as SwAV's released code); then, with
    t = max(0, step - w - h) / (steps - w - h),

    - constant: 1
    - multistep: gamma ** (milestones <= step / steps)
    - linear: final + (1 - final) (1 - t)
    - cosine: final + (1 - final) (1 + cos(pi n t)) / 2 with n swings   (n = 1: SGDR, arXiv 1608.03983, one period)
    - one-cycle: cosine up from 1/25 to 1 during warm-up, then as cosine
    """
    warm = round(settings.warm_up * steps)
    if step < warm:
        if settings.warm_up_from is not None:
            return settings.warm_up_from + (1 - settings.warm_up_from) * step / max(1, warm - 1)
        ramp = (step + 1) / warm
        if settings.kind == "one-cycle":
            return _ONE_CYCLE_START + (1 - _ONE_CYCLE_START) * (1 - math.cos(math.pi * ramp)) / 2
        return ramp
    if settings.kind == "constant":
        return 1.0
    if settings.kind == "multistep":
        return float(settings.gamma ** sum(milestone <= step / steps for milestone in settings.milestones))
    held = warm + round(settings.hold * steps)
    progress = max(0, step - held) / max(1, steps - held)
    if settings.kind == "linear":
        return settings.final + (1 - settings.final) * (1 - progress)
    return settings.final + (1 - settings.final) * (1 + math.cos(math.pi * settings.swings * progress)) / 2
