"""What a unit of a network can see: the pixels that its place in a map depends on, whatever the network is built of.

A copy of the network in which everything is positive and every maximum a mean passes a gradient to each pixel that can
matter, and to no other. Of a chain of windows this is the receptive field of the usual recurrence
(r += (k - 1) j; j *= s, of kernels k and strides s); branches, joins and whole-picture means need no rule of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from coview.encoders import Encoder

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two lie outside


def seen_by(encoder: Encoder, stage: str, shape: Sequence[int], places: Sequence[tuple[int, ...]]) -> list[Box]:
    """Return the box of pixels that each place of a stage's maps depends on, inside of a view.

    A network without windows, such as one of attention, sees everything.

    Args:
        shape: of one view, (C, H, W) or (C, T, H, W).
        places: (row, column) or (time, row, column) in the maps.
    """
    twin = _positive(copy.deepcopy(encoder).double().cpu().eval())
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    with _MeansForMaxima():
        maps = twin.feature_maps(x)[stage]
    found = []
    for place in places:
        (told,) = torch.autograd.grad(maps[0].movedim(0, -1)[tuple(place)].sum(), x, retain_graph=True)
        found.append(_box(told[0].abs().amax(tuple(range(told.ndim - 3)))))
    return found


def _box(matters: Tensor) -> Box:
    height, width = matters.shape
    rows, columns = (torch.nonzero(matters.amax(axis)).flatten().tolist() for axis in (1, 0))
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else (0, 0, height, width)


def _means(pool: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a pooling of means that is called as one of maxima is."""

    def pooled(x: Tensor, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Tensor:  # fmt: skip
        return pool(x, size, stride, padding, ceil_mode)

    return pooled


_MEANS: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.max_pool2d: _means(functional.avg_pool2d),
    functional.max_pool3d: _means(functional.avg_pool3d),
}


class _MeansForMaxima(TorchFunctionMode):
    """Take means in windows of max pooling, of a layer or a function: a maximum tells of one pixel of its window."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _MEANS.get(func, func)(*args, **(kwargs or {}))


@torch.no_grad()
def _positive(network: Encoder) -> Encoder:
    """Make weights positive and equal, and statistics 0 and 1, in place."""
    for parameter in network.parameters():
        parameter.fill_(1 / parameter[0].numel() if parameter.ndim > 1 else 0.0)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            if module.affine:
                module.weight.fill_(1.0)
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.zero_()
                module.running_var.fill_(1.0)
    return network
