"""What protocols have finished is kept as files, so that a call that was killed goes on where it was.

A piece of work, such as the features of one part or one draw of labels, is one JSON file, which says what it is of and
what came out. Its tensors lie beside it and are written first: where the file is, the work is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview import parallel
from coview.errors import UsageError
from coview.evaluation.statistics import Measurement
from coview.files import read_tensors, write_aside, write_tensors
from coview.parallel import collective_device


@dataclass(frozen=True)
class Piece:
    """What came out of a piece of work.

    Attributes:
        plain: plain data, ready for JSON; a number comes back to the bit.
        tensors: by name.
    """

    plain: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def keep(path: Path, about: Mapping[str, Any], make: Callable[[], Piece]) -> Piece:
    """Return a finished piece of work from `path` (.json); where there is none, make it, and process 0 writes it.

    Args:
        about: what the piece is of, plain data; other names than those of `Piece.plain`.

    Raises:
        UsageError: what is kept there is of something else.
    """
    wanted = json.loads(json.dumps(about))
    found = _read(path, wanted)
    # Every process must come to the same answer, with one file system for all or not.
    everyone = parallel.gather(torch.tensor([found is not None], dtype=torch.uint8, device=collective_device()))
    if found is not None and bool(everyone.all()):
        return found
    made = make()
    if parallel.is_main():
        path.parent.mkdir(parents=True, exist_ok=True)
        if made.tensors:
            write_tensors(made.tensors, path.with_suffix(".safetensors"))
        text = json.dumps({**wanted, **made.plain, "tensors": sorted(made.tensors)}, indent=1, ensure_ascii=False)
        write_aside(path, text + "\n")
    return made


def keep_figures(path: Path, about: Mapping[str, Any], make: Callable[[], list[Measurement]]) -> list[Measurement]:
    """Return finished figures from `path`, else make and write them; see `keep`."""
    piece = keep(path, about, lambda: Piece({"results": [measurement.row() for measurement in make()]}))
    return [Measurement(**row) for row in piece.plain["results"]]


def digest(about: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that tell what a piece is of, for names of files that never meet."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]


def _read(path: Path, wanted: Mapping[str, Any]) -> Piece | None:
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    differs = [name for name, value in wanted.items() if stored.get(name) != value]
    if differs:
        raise UsageError(f"{path}: is of another {' and '.join(differs)}; remove it or choose another folder")
    plain = {name: value for name, value in stored.items() if name not in (*wanted, "tensors")}
    return Piece(plain, read_tensors(path.with_suffix(".safetensors")) if stored.get("tensors") else {})
