"""The gradient of a batch whose activations do not fit into memory, exactly: GradCache.

Gao, Zhang, Han & Callan 2021 (arXiv 2101.06983). All samples are encoded part by part, without a graph; the loss of all
of them gives the gradient of each one's encoding; then every part is encoded once more, with a graph, through which its
own gradient goes back. Random numbers, such as dropout's, are those of the first time. The cost is one forward pass.

It takes a method whose loss is `step_of` what `encode` yields, and networks that look at one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from coview import parallel
from coview.data.views import Batch
from coview.methods.contract import Method, Step

Autocast = Callable[[], AbstractContextManager[object]]


def obstacle(method: Method) -> str | None:
    """Return why a method cannot be trained so, or None."""
    kind = type(method)
    if kind.encode is Method.encode or kind.learn is not Method.learn or kind.forward is not Method.forward:
        return "its loss is not computed on embeddings alone"
    if any(isinstance(module, _BatchNorm) for module in method.modules()):
        return "its batch normalisation looks at all samples at once: choose encoders and heads without it"
    return None


def backward(method: Method, batch: Batch, parts: int, weight: float, autocast: Autocast) -> Step:
    """Add the gradient of `weight` times the loss of a batch, whose samples are encoded in `parts`; returns its step.

    Gradients stay with the process: see `average_gradients`.
    """
    usable = method.usable(batch)
    if usable is None:
        step = method.idle()
        (step.loss * weight).backward()  # type: ignore[no-untyped-call]
        return step
    cuts = torch.linspace(0, len(usable), parts + 1).long().tolist()
    pieces = [usable.select(slice(*ends)) for ends in pairwise(cuts) if ends[0] < ends[1]] or [usable]
    device, states, encoded = usable.row.device, [], []
    with torch.no_grad(), autocast():
        for piece in pieces:
            states.append(_random_state(device))
            encoded.append(method.encode(piece))
    whole = {name: torch.cat([one[name] for one in encoded]).requires_grad_() for name in encoded[0]}
    with autocast():
        step = method.step_of(usable, whole)
    (step.loss * weight).backward()  # type: ignore[no-untyped-call]
    after = _random_state(device)
    gradients = {
        name: torch.split(torch.zeros_like(z) if z.grad is None else z.grad, [len(one[name]) for one in encoded])
        for name, z in whole.items()
    }
    for place, piece in enumerate(pieces):
        _set_random_state(device, states[place])
        with autocast():
            again = method.encode(piece)
        learning = [name for name, z in again.items() if z.requires_grad]  # a frozen network has no graph
        torch.autograd.backward([again[n] for n in learning], [gradients[n][place] for n in learning])
    _set_random_state(device, after)
    return step


@torch.no_grad()
def average_gradients(method: Method) -> None:
    """Bring every gradient to its mean over the processes; what has none on some of them counts as 0 there."""
    if parallel.world_size() == 1:
        return
    learning = [parameter for parameter in method.parameters() if parameter.requires_grad]
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    mean = parallel.sum_with_grad(torch.cat([gradient.flatten() for gradient in own])) / parallel.world_size()
    for parameter, part in zip(learning, torch.split(mean, [p.numel() for p in learning]), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype).clone()


def _random_state(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def _set_random_state(device: torch.device, state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
