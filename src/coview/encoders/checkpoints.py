"""Weights that anybody may have written: tensors by name, and nothing is unpickled."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.files import read_tensors

_INSIDE = ("state_dict", "model_state", "model")  # where codes keep a network's tensors beside other things


def load_archive(path: Path) -> Any:
    """Return what a PyTorch file holds: tensors and plain values, on the CPU.

    Raises:
        UsageError: there is no such file, it holds objects, or would take more memory than its own size.
    """
    try:
        if not path.is_file():
            raise ValueError("no regular file" if path.exists() else "it is not there")
        check_archive(path, path.stat().st_size)  # checkpoints are not compressed
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path}: it holds more than tensors and plain values, and coview unpickles no objects; have its owner "
            "save the state_dict alone, or convert it where you trust it"
        ) from error
    except Exception as error:  # damaged archives make the reader raise anything
        raise UsageError(f"{path}: cannot be read as a PyTorch checkpoint: {error}") from error


def check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are larger than the file they came from: views of one number, which copying would fill."""
    size = path.stat().st_size
    grown = [str(name) for name, value in tensors.items() if value.numel() * value.element_size() > size]
    if grown:
        raise UsageError(f"{path}: {len(grown)} of its tensors are larger than the file, first {grown[0]}")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return a network's tensors by name: of a .safetensors file, or of a PyTorch file that holds a state_dict.

    Raises:
        UsageError: there is no such file, it is damaged, holds objects, no tensors, or numbers that are not finite.
    """
    if path.suffix == ".safetensors":
        try:
            found: Any = read_tensors(path)
        except Exception as error:  # damaged files make the reader raise anything
            raise UsageError(f"{path}: cannot be read as safetensors ({error})") from error
    else:
        found = load_archive(path)
        for name in _INSIDE:
            if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
                found = found[name]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path}: expected the tensors of a network by name (a state_dict)")
    check_sizes(path, found)
    bad = [name for name, value in found.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        raise UsageError(f"{path}: {len(bad)} of {len(found)} tensors hold NaN or infinity (first {bad[0]})")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def check_archive(path: Path, most: int) -> None:
    """Refuse an archive that unpacks to more than `most` bytes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > most:
                raise ValueError(f"it would unpack to more than {most} bytes")
