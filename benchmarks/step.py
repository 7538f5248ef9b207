"""Time the full xID training step here: samples per second, the criterion's share, the share of the ceiling.

    python benchmarks/step.py                                  # R(2+1)D-18 + Conv2D, 8 x 112 x 112 pixels, 2 s of sound
    python benchmarks/step.py --batch 256 --compile            # on a GPU; bfloat16 there by default

The step is forward, backward, Adam, memory update, on data already on the device. The criterion is what xID adds to the
networks: scores against the memory, RINCE, its backward pass, the memory update. The ceiling is the rate of one large
matrix product in the same precision, measured here; the step's operations are counted by torch's flop counter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from coview.data.views import Batch
from coview.methods.contract import Facts
from coview.methods.parts.batch import unit
from coview.methods.xid import XID, XIDSettings
from coview.objectives.rince import rince


def seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median wall time of one call, after two calls to warm up."""
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Return operations per second of a large square matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in "ab")
    return 2 * size**3 / seconds(lambda: a @ b, device, 10)


def criterion(method: XID, heads: dict[str, Tensor], batch: Batch) -> None:
    """Run xID's own part of a step, forward, backward and memory update, on the heads' outputs."""
    z = {name: unit(value) for name, value in heads.items()}
    pairs = [method._bank_scores(z["video"], "audio", batch), method._bank_scores(z["audio"], "video", batch)]
    torch.stack([rince(*pair, 0.1, 0.01) for pair in pairs]).mean().backward()  # type: ignore[no-untyped-call]
    method.later(batch.row, {name: value.detach() for name, value in z.items()})
    method.after_step()


def main() -> None:
    """Measure, then print one line for people or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rows", type=int, default=50_000, help="recordings, the size of the memory")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["bf16", "fp32"], help="default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--compile", action="store_true", help="compile the two encoders")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    half = (options.precision or ("bf16" if device.type == "cuda" else "fp32")) == "bf16"

    torch.manual_seed(0)
    method = XID(XIDSettings(), Facts(rows=options.rows)).to(device)
    batch = method.example_batch(options.batch, 0).to(device)
    if options.compile:
        for encoder in method.encoders.values():
            encoder.compile()
    optimiser = torch.optim.Adam(method.parameters(), 5e-4, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = method(batch).loss
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        method.after_step()

    step_time = seconds(step, device, options.repeats)
    heads = {name: torch.randn(options.batch, 128, device=device, requires_grad=True) for name in method.views}
    own_time = seconds(lambda: criterion(method, heads, batch), device, max(options.repeats, 10))
    # Counted on the uncompiled networks, so that every operation is seen.
    plain = XID(XIDSettings(variant="in-batch"), Facts(rows=2)).to(device)
    with FlopCounterMode(display=False) as counter:
        plain(batch.select(slice(0, 2))).loss.backward()
    operations = counter.get_total_flops() * options.batch / 2
    rate = ceiling(device, torch.bfloat16 if half else torch.float32)

    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} thread(s)",
        "precision": "bf16" if half else "fp32",
        "compiled": options.compile,
        "batch": options.batch,
        "rows": options.rows,
        "step_seconds": step_time,
        "samples_per_second": options.batch / step_time,
        "criterion_seconds": own_time,
        "criterion_share": own_time / step_time,
        "step_flops": operations,
        "ceiling_flops_per_second": rate,
        "ceiling_share": operations / step_time / rate,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['device']}, {result['precision']}{', compiled' if options.compile else ''}, batch {options.batch}: "
        f"{step_time:.4g} s a step, {options.batch / step_time:.4g} samples/s; criterion {own_time * 1e3:.3g} ms = "
        f"{own_time / step_time:.2%} of the step; {operations / step_time / 1e12:.3g} of {rate / 1e12:.3g} TFLOP/s = "
        f"{operations / step_time / rate:.0%} of the matrix-product ceiling"
    )


if __name__ == "__main__":
    main()
