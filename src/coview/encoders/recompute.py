"""Activation checkpointing: a block's inner activations are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Let every block keep its input alone (Chen et al. 2016, arXiv 1604.06174); names of weights stay.

    Outputs, gradients and running statistics are those of the plain block: in the second pass batch normalisation uses
    the batch's statistics again and leaves the running ones alone. Random numbers are restored. Synchronised batch
    normalisation repeats its collectives, on every process in the same order.
    """
    for block in blocks:
        block.forward = _recomputed(block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _running_statistics_kept(block)

    def run(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments)
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts)

    return run


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    layers = [layer for layer in block.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    before = [(layer.momentum, cast(torch.Tensor, layer.num_batches_tracked).clone()) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the running values move by nothing
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum = momentum
            cast(torch.Tensor, layer.num_batches_tracked).copy_(count)
