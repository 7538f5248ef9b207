"""What methods share about samples: those that have every view, none at all, and made-up ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.data.source import sample_keys
from coview.data.views import AudioView, Batch, VideoView, ViewSpec
from coview.objectives.precision import in_float32
from coview.parallel import is_divided, row_counts
from coview.randomness import integers

TINY_VIDEO = VideoView(frames=8, fps=16.0, size=32, margin=1.0, normalise="clip")
TINY_AUDIO = AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=200, normalise="clip")


def complete(batch: Batch, views: Iterable[str], labelled: bool = False) -> Batch:
    """Return the samples that have all of `views`, and a label if asked, in their order; possibly none.

    What is absent is thereby never computed on: it reaches no loss, gradient, bank or normalisation statistic.
    """
    lacking = [name for name in views if not batch.has_all(name)]
    if not lacking and not labelled:
        return batch
    keep = batch.label >= 0 if labelled else torch.ones_like(batch.row, dtype=torch.bool)
    for name in lacking:
        keep = keep & batch.present[name]
    return batch if bool(keep.all()) else batch.select(keep)


def or_zeros(batch: Batch, name: str) -> Tensor:
    """Return a view (B, ...) with zeros where it is absent, whatever stands there."""
    value = batch.views[name]
    there = batch.present[name].view(-1, *[1] * (value.ndim - 1))
    return torch.where(there, value, torch.zeros_like(value))


def enough(batch: Batch, minimum: int) -> bool:
    """Return whether all processes together hold at least `minimum` samples; the answer is the same on all of them."""
    return sum(row_counts(batch.row)) >= minimum


def idle_loss(module: nn.Module) -> Tensor:
    """Return a loss of 0 whose gradient is 0 for every parameter, for a step that has nothing to learn from.

    Parameters that are divided over the processes, and not gathered now, get no gradient at all.
    """
    here = [parameter for parameter in module.parameters() if not is_divided(parameter)]
    return torch.stack([(parameter * 0).sum() for parameter in here]).sum()


@in_float32
def unit(x: Tensor) -> Tensor:
    """Scale the last dimension of x (..., D) to length 1."""
    return normalize(x, dim=-1)


def detached(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs without their graph."""
    return {name: value.detach() for name, value in outputs.items()}


def within(x: Tensor, low: float, high: float) -> Tensor:
    """Return x inside its bounds, with the gradient of x itself: what a clamp cuts off could never come back."""
    return x + (x.clamp(low, high) - x).detach()


def example(views: Mapping[str, ViewSpec], size: int, seed: int, rows: int, classes: int) -> Batch:
    """Make up `size` samples of model views of the right shapes, the same for the same seed."""
    key = sample_keys(seed, 0, torch.arange(size))
    return Batch(
        views={name: view.made_up(key, stream) for stream, (name, view) in enumerate(views.items())},
        row=torch.arange(size) % rows,
        key=key,
        label=integers(key, len(views), max(classes, 1)) if classes else torch.empty(0, dtype=torch.int64),
    )


@torch.no_grad()
def bound(parameter: nn.Parameter, low: float | None = None, high: float | None = None) -> None:
    """Bring a learned scalar back into its bounds, after the optimiser's step.

    A clamp in the forward pass would cut the gradient at the bound, and the parameter would never move again.
    """
    parameter.clamp_(low, high)
