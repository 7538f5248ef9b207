"""Files that are there whole or not at all, and tensors in them; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def write_aside(path: Path, text: str) -> None:
    """Write a text file under another name and rename it, so that even a power cut leaves the old one or the new.

    Processes that write the same file at the same time do not meet: each has a name of its own until the last moment.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def is_leftover(path: Path) -> bool:
    """Tell whether a file is what `write_aside` or `write_tensors` left when their process was killed in the middle."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, aside and renamed; one with several names (an encoder of two views) only once.

    Raises:
        OSError, SafetensorError: the disk is full or closed to us.
    """
    kept: dict[str, Tensor] = {}
    first: dict[tuple[Any, ...], str] = {}
    aliases = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        if identity in first:
            aliases[name] = first[identity]
            continue
        first[identity] = name
        kept[name] = tensor.detach().contiguous().cpu()
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file(kept, aside, metadata={"aliases": json.dumps(aliases)})
    with aside.open("rb+") as stream:
        os.fsync(stream.fileno())
    aside.replace(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote, or any safetensors file, on the CPU.

    Raises:
        OSError, SafetensorError, ValueError: there is no such file, or it is damaged.
    """
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    return tensors | {name: tensors[first] for name, first in aliases.items()}
