"""Optimisers: torch's own, and LARS and LARC, which scale each matrix's step by the size of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from coview.training.settings import OptimiserSettings


class Lars(torch.optim.Optimizer):
    """Momentum gradient descent with a trust ratio per matrix.

    For a parameter p with gradient g and weight decay w, in the order of VICReg's released code (LARS, arXiv
    1708.03888): d = g + w p; d *= q; m = momentum m + d; p -= lr m, with

    - LARS: q = trust |p| / |d|
    - LARC (`clip=True`): q = min(trust |p| / (|g| + w |p|) / lr, 1), so that lr is an upper bound

    q is 1 where a norm is zero. Biases and normalisation parameters (one dimension or none) take q = 1 and no decay.

    - LARC as SwAV uses it (`everything=True`): q = trust |p| / (|g| + w |p| + 1e-8), for biases too; with `clip`,
      min(q / lr, 1); where a norm is zero, q = 1 and there is no decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        clip: bool = False,
        everything: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "clip": clip}
        super().__init__(params, {**defaults, "everything": everything})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Make one update; `closure` is not supported and must be None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter.ndim > 1 or group["everything"]:
                    update = _trusted(parameter, update, group)
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.mul_(group["momentum"]).add_(update)
                parameter.sub_(momentum, alpha=group["lr"])


def _trusted(parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Return the decayed gradient times its trust ratio; no host synchronisation."""
    update = gradient.add(parameter, alpha=group["weight_decay"])
    size = _norm(parameter)
    if group["everything"]:
        push = _norm(gradient)
        ratio = group["trust"] * size / (push + group["weight_decay"] * size + 1e-8)
        if group["clip"]:
            ratio = (ratio / group["lr"]).clamp(max=1.0)
        return torch.where((size > 0) & (push > 0), update * ratio.to(update.dtype), gradient)
    if group["clip"]:
        reach = _norm(gradient) + group["weight_decay"] * size
        ratio = (group["trust"] * size / reach / group["lr"]).clamp(max=1.0)
    else:
        reach = _norm(update)
        ratio = group["trust"] * size / reach
    return update * torch.where((size > 0) & (reach > 0), ratio, 1.0).to(update.dtype)


def _norm(x: Tensor) -> Tensor:
    """Return the norm, float64: added up in parts that lie on several processes, it rounds to the same float32."""
    norm: Tensor = torch.linalg.vector_norm(x, dtype=torch.float64)
    return norm


def make_optimiser(groups: list[dict[str, Any]], settings: OptimiserSettings, device: torch.device) -> Any:
    """Return the optimiser of `settings` over a method's parameter groups (which carry their own weight decay)."""
    groups = [group for group in groups if group["params"]]
    if settings.kind in ("adam", "adamw"):
        kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
        return kind(groups, lr=settings.lr, betas=settings.betas, fused=device.type == "cuda")
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return Lars(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        trust=settings.trust,
        clip=settings.kind == "larc",
        everything=settings.kind == "larc-swav",
    )
