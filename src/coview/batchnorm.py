"""Batch normalisation over all processes, on any device."""

from __future__ import annotations

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coview import parallel


def synchronise(module: nn.Module) -> nn.Module:
    """Let the batch normalisation layers of `module` use the statistics of all processes; alone, change nothing.

    CUDA gets torch's own layer; elsewhere `SynchronisedBatchNorm` takes its place, since torch's refuses a CPU.
    Parameters, buffers and their names stay. Returns the module, or its replacement where it is itself such a layer.
    """
    if not parallel.joined() or parallel.world_size() == 1:
        return module
    if dist.get_backend() == "nccl":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))  # type: ignore[no-untyped-call]
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronisedBatchNorm):
        return SynchronisedBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child))
    return module


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation of (N_r, C, ...) over all processes; N_r may differ and may be 0."""

    def __init__(self, local: _BatchNorm) -> None:
        super().__init__(local.num_features, local.eps, local.momentum, local.affine, local.track_running_stats)
        # The same tensors, so that an optimiser built before keeps hold of them.
        self._parameters, self._buffers, self.training = local._parameters, local._buffers, local.training

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (N, C, ...), found {tuple(input.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (N_r, C, ...) by the moments of all processes in training, by the running ones in evaluation."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        wide = torch.promote_types(x.dtype, torch.float32) if self.weight is None else self.weight.dtype
        count, mean, variance = parallel.reduced_moments(x.movedim(1, -1).reshape(-1, x.shape[1]).to(wide))
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None and count > 0:
                cast(Tensor, self.num_batches_tracked).add_(1)
                share = 1.0 / float(cast(Tensor, self.num_batches_tracked)) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean), share)
                self.running_var.lerp_(variance.to(self.running_var), share)
        biased = variance * (count - 1).clamp(min=0) / count.clamp(min=1)
        scale = torch.rsqrt(biased + self.eps) * (1.0 if self.weight is None else self.weight)
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = (-1, *(1 for _ in x.shape[2:]))
        return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)
