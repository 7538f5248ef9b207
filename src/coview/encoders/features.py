"""Networks of views that are vectors already, and the linear map that is fitted once the networks are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.encoders.cross_attention import mean_over_steps
from coview.errors import UsageError
from coview.objectives.precision import in_float32

Activation = Literal["relu", "sigmoid", "tanh"]
_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class FeatureEncoder(nn.Module):
    """A multi-layer perceptron from a flattened view to `dim` numbers, linear at the end.

    Args:
        shape: of one view; any.
        hidden: widths of the hidden layers; none makes it a linear map.
        dim: length of the output.
        activation: between the layers.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], dim: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.dim = dim
        self.layers = perceptron((prod(shape), *hidden, dim), activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, dim) of a view (B, ...)."""
        output: Tensor = self.layers(x.flatten(1))
        return output


class FeatureDecoder(nn.Module):
    """The way back: a multi-layer perceptron from `dim` numbers to a view of the given shape."""

    def __init__(self, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: Activation = "relu") -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = perceptron((dim, *hidden, prod(shape)), activation)

    def forward(self, z: Tensor) -> Tensor:
        """Return a view (B, *shape) of codes (B, dim)."""
        output: Tensor = self.layers(z)
        return output.reshape(len(z), *self.shape)


class Narrowed(nn.Module):
    """An encoder of raw views with a linear layer to `dim` numbers behind it."""

    def __init__(self, encoder: nn.Module, dim: int) -> None:
        super().__init__()
        self.dim, self.encoder = dim, encoder
        self.narrow = nn.Linear(int(getattr(encoder, "dim")), dim)  # noqa: B009

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, dim) of a view (B, ...)."""
        output: Tensor = self.narrow(self.encoder(x))
        return output


class FittedMap(nn.Module):
    """(x - mean) W', found in closed form. At first it changes nothing.

    Args:
        wide: D, length of what comes in.
        dim: K, length of what goes out.
        learnt: W is a parameter, which training may change before it is found; else no gradient reaches it.

    `mean` (D,) is a buffer, and so is `weight` (K, D) where it is not learnt.
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, wide: int, dim: int, learnt: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.zeros(wide))
        start = torch.zeros(dim, wide).fill_diagonal_(1)  # torch.eye of a shape without numbers imports a compiler
        if learnt:
            self.weight = nn.Parameter(start)
        else:
            self.register_buffer("weight", start)

    @torch.no_grad()
    def set(self, mean: Tensor, weight: Tensor) -> None:
        """Take mean (D,) and weights (D, K), as estimators yield them.

        Raises:
            UsageError: their shapes are others than those the map was made for.
        """
        if weight.T.shape != self.weight.shape or mean.shape != self.mean.shape:
            raise UsageError(f"a map of {tuple(self.weight.shape)} was planned, found {tuple(weight.T.shape)}")
        self.mean.copy_(mean)
        self.weight.copy_(weight.T)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) of x (B, D)."""
        return (x - self.mean.to(x.dtype)) @ self.weight.T.to(x.dtype)


class Unchanged(nn.Module):
    """Features as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, D)."""
        return x


class StepMean(nn.Module):
    """The mean of the steps of a sequence that are not zero; a vector stays as it is.

    Args:
        dim: of a step.
        each: steps are scaled to length 1 first.
    """

    def __init__(self, dim: int, each: bool = False) -> None:
        super().__init__()
        self.dim, self.each = dim, each

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) of x (B, T, D) or (B, D)."""
        x = in_float32(normalize)(x, dim=-1) if self.each else x
        return x if x.ndim == 2 else mean_over_steps(x, x.ne(0).any(2))


class FirstStep(nn.Module):
    """The first step of a sequence: the global token of what was computed by a network that has one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) of x (B, T, D)."""
        return x[:, 0]


class WeighedSteps(nn.Module):
    """The sum of the steps of a sequence that are not zero, weighed by softmax over steps of w . x: one learnt query.

    With several queries and projections it is the pooling of the set transformer (Lee et al. 2019, arXiv 1810.00825);
    a head behind it projects. w begins at 0, which is the mean.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.query = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) of x (B, T, D); 0 where no step is there."""
        there = x.ne(0).any(2)
        there = there | ~there.any(1, keepdim=True)
        share = (x @ self.query.to(x.dtype)).masked_fill(~there, float("-inf")).softmax(1)
        return (share[:, None] @ x)[:, 0]


class UnitLength(nn.Module):
    """Vectors (B, D) scaled to length 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, D) scaled."""
        return in_float32(normalize)(x, dim=1)


class NystroemFeatures(nn.Module):
    """K(Z, Z)^-1/2 K(Z, x) of a Gaussian kernel exp(-gamma |x - z|^2) at landmarks Z: features of an RBF kernel.

    Williams & Seeger, Using the Nystroem method to speed up kernel machines, NIPS 2001. Buffers `landmarks` (M, D),
    `root` (M, M) and `gamma`; they are set before they mean anything.
    """

    landmarks: Tensor
    root: Tensor
    gamma: Tensor

    def __init__(self, wide: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("landmarks", torch.zeros(dim, wide))
        self.register_buffer("root", torch.zeros(dim, dim).fill_diagonal_(1))
        self.register_buffer("gamma", torch.ones(()))

    def set(self, landmarks: Tensor, root: Tensor, gamma: float) -> None:
        """Take landmarks (m, D), m at most M, root (m, r) and gamma; what is not filled counts for nothing."""
        for buffer, value in ((self.landmarks, landmarks), (self.root, root)):
            buffer.zero_()
            buffer[: value.shape[0], : value.shape[1]] = value.to(buffer)
        self.gamma.fill_(gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, M) of x (B, D)."""
        z = self.landmarks.to(x.dtype)
        squares = x.square().sum(1)[:, None] + z.square().sum(1) - 2 * x @ z.T
        return torch.exp(-self.gamma.to(x.dtype) * squares.clamp(min=0)) @ self.root.to(x.dtype)


def perceptron(widths: Sequence[int], activation: Activation) -> nn.Sequential:
    """Build linear layers through `widths`, with an activation between them and none at the end."""
    layers: list[nn.Module] = []
    for wide, out in pairwise(widths):
        layers += [nn.Linear(wide, out), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
