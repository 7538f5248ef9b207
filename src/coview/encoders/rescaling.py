"""Rescaling a network by data: batch normalisation absorbed, fresh layers normalised, trained layers balanced.

Krähenbühl, Doersch, Donahue & Darrell, "Data-dependent initializations of convolutional neural networks", ICLR 2016
(arXiv 1511.06856). Trained layers that learn at very different speeds hold fine-tuning back: `balance` scales them so
that all change at one rate, and leaves what the network computes as it was but for one factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coview.errors import UsageError
from coview.randomness import make_key, normal

_GRADIENT = 0x6D6167  # stream of the gradients that are fed to the last layer
_LEAST = 1e-30
Layer: TypeAlias = "nn.Conv2d | nn.Linear"
# What leaves a network's output the same but for a factor when layers before are scaled.
_HOMOGENEOUS = (
    nn.Conv2d, nn.Linear, nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.Sequential,
)  # fmt: skip


@torch.no_grad()
def absorb_batchnorm(network: nn.Module) -> int:
    """Fold every batch normalisation that follows a convolution or linear layer into it; return how many there were.

    In evaluation the network computes what it did, to rounding. Changed in place: layers before get a bias, and what is
    folded becomes `nn.Identity`. Only neighbours in one `nn.Sequential` are folded.
    """
    folded = 0
    for chain in [part for part in network.modules() if isinstance(part, nn.Sequential)]:
        parts = list(chain)
        for number in range(len(parts) - 1):
            layer, norm = parts[number], parts[number + 1]
            if not isinstance(layer, (nn.Conv2d, nn.Linear)) or not isinstance(norm, _BatchNorm):
                continue
            if norm.running_mean is None or norm.running_var is None:
                continue  # it normalises by each batch, which no weight can stand for
            scale = (norm.running_var + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight
            shift = -norm.running_mean * scale
            shift = shift if norm.bias is None else shift + norm.bias
            before = layer.bias if layer.bias is not None else torch.zeros_like(shift)
            layer.bias = nn.Parameter(before * scale + shift)
            layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
            chain[number + 1] = nn.Identity()
            folded += 1
    return folded


@torch.no_grad()
def normalise_within(layer: Layer, x: Tensor, mean: float = 0.1) -> None:
    """Scale a fresh layer so that on x every output channel has deviation 1 and this mean; changed in place.

    Args:
        layer: with a bias.
        x: what the layer sees, (B, C, H, W) or (B, D).

    Raises:
        UsageError: the layer has no bias to carry the mean.
    """
    if layer.bias is None:
        raise UsageError(f"{type(layer).__name__} has no bias, which normalising within a layer sets")
    layer.bias.zero_()
    out = layer(x).transpose(0, 1).flatten(1)
    deviation = out.std(1, correction=0).clamp(min=_LEAST)
    layer.weight.div_(deviation.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.copy_(mean - out.mean(1) / deviation)


@dataclass(frozen=True)
class Balance:
    """What was measured: each layer's rate of change (iterations, L); the output's deviation before and after each."""

    ratios: Tensor
    output_std: Tensor


def balance(
    network: nn.Module, x: Tensor, *, iterations: int = 10, tolerance: float = 0.01, seed: int = 0,
    gradient: Callable[[int, Tensor], Tensor] | None = None,
) -> Balance:  # fmt: skip
    """Scale all layers of a network so that they change at one rate and its output has deviation 1; in place.

    A layer's rate is r = sqrt(mean(dW^2) / mean(W^2)) for normal gradients at the output. The aim is the geometric mean
    of all rates times std(output)^(1 / L); weights and biases are scaled by sqrt(r / aim), biases also by what came to
    their layer's input.

    Args:
        network: a chain of convolutions, linear layers and what lets a factor through; in evaluation mode.
        x: a batch of what it sees.
        iterations: at most; it ends when all log r differ from log aim by less than `tolerance` of it. 0: never early.
        seed: of the gradients.
        gradient: (iteration, output) -> gradients at the output, in place of normal ones.

    Raises:
        UsageError: a part of the network does not let a factor through, such as a batch normalisation.
    """
    _check_homogeneous(network)
    ratios, deviations = list[Tensor](), [_deviation(network, x)]
    for iteration in range(iterations):
        with _inputs(network) as seen:
            out = network(x)
        layers = list(seen)
        if gradient is None:
            fed = normal(make_key(seed, iteration), _GRADIENT, *out.shape).to(out)
        else:
            fed = gradient(iteration, out)
        changes = torch.autograd.grad(out, [layer.weight for layer in layers], fed)
        sizes = [layer.weight.detach().square().mean() for layer in layers]
        rate = torch.stack(
            [(change.square().mean() / size).sqrt() for change, size in zip(changes, sizes, strict=True)]
        )
        rate = rate.clamp(min=_LEAST)
        aim = rate.log().mean().exp() * deviations[-1] ** (1 / len(layers))
        ratios.append(rate)
        _scale(network, x, seen, (rate / aim).sqrt())
        deviations.append(_deviation(network, x))
        if bool(((rate.log() / aim.log() - 1).abs() < tolerance).all()):
            break
    return Balance(torch.stack(ratios), torch.stack(deviations))


@torch.no_grad()
def _scale(network: nn.Module, x: Tensor, before: dict[Layer, Tensor], factors: Tensor) -> None:
    """Scale the layers one after the other, each bias first by how the mean size of its layer's input has changed."""
    for (layer, size), factor in zip(before.items(), factors, strict=True):
        with _inputs(network) as now:
            network(x)
        if layer.bias is not None:
            layer.bias.mul_(now[layer] / size.clamp(min=_LEAST) * factor)
        layer.weight.mul_(factor)


@contextmanager
def _inputs(network: nn.Module) -> Iterator[dict[Layer, Tensor]]:
    """Yield a dict that a forward pass fills: layer -> mean size of its input, in the order of the calls."""
    seen: dict[Layer, Tensor] = {}
    layers = [part for part in network.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[layer] = inputs[0].detach().abs().mean()  # type: ignore[index]

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _deviation(network: nn.Module, x: Tensor) -> Tensor:
    """Return the mean over the output's numbers of their deviation over the batch."""
    out: Tensor = network(x)
    return out.flatten(1).std(0, correction=0).mean()


def _check_homogeneous(network: nn.Module) -> None:
    for name, part in network.named_modules():
        if not list(part.children()) and not isinstance(part, _HOMOGENEOUS):
            raise UsageError(
                f"{name or 'the network'}: a {type(part).__name__} does not let a factor through, so that scaling "
                "would change what is computed; absorb batch normalisation first (absorb_batchnorm)"
            )
