"""A pytest plugin that plays a processor with other kernels: `pytest -p other_kernels`.

Libraries promise no bits across shapes: another block size, batch size or number of threads may end an operation one
unit in the last place elsewhere. Here every result of a kernel that rounds (products, sums, functions) is moved by at
most one unit, by a pattern that depends on the operation and on the shapes alone. What is exact on every processor
(whole numbers, powers of two) stays. A test that fails under this compares bits that nobody promises.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# fmt: off
ROUNDING = {
    "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot", "convolution", "convolution_backward", "sum",
    "mean", "var", "var_mean", "std", "norm", "cumsum", "prod", "linalg_vector_norm", "_softmax", "_log_softmax",
    "logsumexp", "exp", "exp2", "expm1", "log", "log1p", "log2", "sin", "cos", "tan", "tanh", "sigmoid", "pow",
    "rsqrt", "erf", "softplus", "logit", "lerp", "addcmul", "addcdiv", "native_batch_norm", "native_layer_norm",
    "_linalg_svd", "_linalg_eigh", "linalg_qr", "linalg_cholesky_ex", "linalg_solve_ex", "linalg_inv_ex",
    "linalg_solve_triangular", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "avg_pool2d", "avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_fft_r2c", "_scaled_dot_product_flash_attention_for_cpu",
}
# fmt: on
LOW_BITS = {torch.float32: (torch.int32, 0xF), torch.float64: (torch.int64, 0xFF)}


def moved(values: torch.Tensor, seed: int) -> None:
    """Move values by one unit in the last place or none, in place."""
    if values.dtype not in LOW_BITS or not values.numel() or (values.requires_grad and values.is_leaf):
        return
    integer, low = LOW_BITS[values.dtype]
    steps = torch.randint(-1, 2, values.shape, generator=torch.Generator().manual_seed(seed), dtype=integer)
    try:
        bits = values.detach().view(integer)
        bits.add_(torch.where((bits & low) != 0, steps, 0))  # short mantissas are exact results
    except RuntimeError:  # parts of one memory, expanded or conjugated: left as they are
        return


class OtherKernels(TorchDispatchMode):
    """Moves the results of the operations named in ROUNDING."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        if name.rstrip("_") in ROUNDING or name in ROUNDING:
            shapes = [tuple(item.shape) for item in args if isinstance(item, torch.Tensor)]
            seed = zlib.crc32(repr((name, shapes)).encode())
            for item in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(item, torch.Tensor) and item.device.type == "cpu":
                    moved(item, seed)
        return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Run the test itself under other kernels; its fixtures keep the real ones."""
    with OtherKernels():
        return (yield)
