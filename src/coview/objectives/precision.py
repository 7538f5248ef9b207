"""Islands of float32 inside mixed-precision training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` without autocast and with its float16 and bfloat16 tensors as float32; float64 passes through.

    Half precision holds neither exp(1 / temperature) nor sums of squares over a batch.
    """

    @functools.wraps(function)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        tensors = [value for value in (*arguments, *named.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            wide: Any = [_widen(value) for value in arguments]
            return function(*wide, **{name: _widen(value) for name, value in named.items()})

    return run


def _widen(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
