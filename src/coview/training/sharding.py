"""Parameters, gradients and optimiser state divided over the processes (`fully_shard`), and whole again for files.

Every block of an encoder is a unit of its own, gathered only while it computes; the rest belongs to the method. Weights
and statistics stay float32, those of batch normalisation too: bf16 comes from autocast, which computes in it what is
safe in it. What is written to a checkpoint is whole, so that any number of processes can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from coview import parallel
from coview.encoders import Encoder
from coview.methods.contract import Method


def shard(method: Method, device: torch.device) -> None:
    """Divide the method's parameters by rows over all processes, in place; names stay. An optimiser comes after."""
    from torch.distributed.fsdp import fully_shard  # takes a second to import, and few runs divide anything

    mesh = init_device_mesh(device.type, (parallel.world_size(),))
    for block in blocks(method):
        fully_shard(block, mesh=mesh)
    fully_shard(method, mesh=mesh)


def blocks(method: Method) -> list[nn.Module]:
    """Return the blocks of all encoders, each once."""
    found = [block for e in method.encoders.values() if isinstance(e, Encoder) for block in e.blocks()]
    return list({id(block): block for block in found}.values())


def whole(value: Any) -> Any:
    """Return a tensor that every process holds whole; a collective where it is divided. Anything else as it is."""
    return value.full_tensor() if parallel.is_divided(value) else value


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state by name, every tensor whole; to be called on all processes."""
    return {name: whole(value) for name, value in module.state_dict().items()}


def for_file(value: Any) -> Any:
    """Return a divided tensor whole in the memory of process 0, and empty on the others; anything else as it is.

    A collective where it is divided. One tensor at a time, so that no process but 0 ever holds more than one whole.
    """
    if not parallel.is_divided(value):
        return value
    full = value.full_tensor()
    return full.cpu() if parallel.is_main() else full.new_empty(0)


def state_for_file(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state by name as `for_file` does; to be called on all processes."""
    return {name: for_file(value) for name, value in module.state_dict().items()}


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a module whose own may be divided; names must match exactly."""
    own = module.state_dict()
    module.load_state_dict({name: parallel.divided_as(value, own.get(name)) for name, value in state.items()})


def optimiser_for_file(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimiser's state, its tensors as `for_file` does; to be called on all processes."""
    state = optimiser.state_dict()
    entries = {index: {name: for_file(v) for name, v in entry.items()} for index, entry in state["state"].items()}
    return {**state, "state": entries}


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's whole state; what has its parameter's shape is divided as the parameter is.

    What the method says of rates stays: states written before it said any have none.
    """
    told: tuple[str, ...] = ("lr_scale", "steady")
    rates = [{n: group[n] for n in told if n in group} for group in optimiser.param_groups]
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    entries = {
        index: {
            name: parallel.divided_as(v, parameters[index])
            if isinstance(v, Tensor) and v.shape == parameters[index].shape
            else v
            for name, v in entry.items()
        }
        for index, entry in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": entries})
    for group, own in zip(optimiser.param_groups, rates, strict=True):
        group.update(own)
