"""What protocols have finished is kept as files, so that a call that was killed goes on where it was.

A piece of work, such as the features of one part or one draw of labels, is one JSON file, which says what it is of and
what came out. Its tensors lie beside it and are written first: where the file is, the work is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from coview import parallel
from coview.errors import CoviewError, UsageError
from coview.evaluation.statistics import Measurement
from coview.files import read_json, read_tensors, write_aside, write_tensors
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

    def write() -> None:
        text = json.dumps({**wanted, **made.plain, "tensors": sorted(made.tensors)}, indent=1, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if made.tensors:
                write_tensors(made.tensors, path.with_suffix(".safetensors"))
            write_aside(path, text + "\n")
        except (OSError, SafetensorError) as error:
            raise CoviewError(f"{path}: cannot be written ({error}); make room, then give the call again") from error

    parallel.on_main(write)
    return made


def keep_figures(path: Path, about: Mapping[str, Any], make: Callable[[], list[Measurement]]) -> list[Measurement]:
    """Return finished figures from `path`, else make and write them; see `keep`."""
    return figures_of(keep(path, about, lambda: figures_piece(make(), {})))


def figures_piece(figures: Sequence[Measurement], plain: Mapping[str, Any]) -> Piece:
    """Return figures as a piece of work, with what each item contributed, which a row does not hold."""
    items = {m.name: _listed(m.items) for m in figures if m.items is not None}
    return Piece({"results": [m.row() for m in figures], "items": items, **plain})


def figures_of(piece: Piece) -> list[Measurement]:
    """Return the figures of a piece."""
    items = piece.plain.get("items", {})
    return [Measurement(**row, items=_unlisted(items.get(row["name"]))) for row in piece.plain["results"]]


def _listed(items: Tensor) -> str | list[float]:
    """Return items as JSON can hold them: answers that are right or wrong as a line of 1 and 0, else the numbers."""
    return "".join("01"[right] for right in items.tolist()) if items.dtype is torch.bool else items.double().tolist()


def _unlisted(items: str | list[float] | None) -> Tensor | None:
    if items is None:
        return None
    if isinstance(items, str):
        return torch.tensor([letter == "1" for letter in items])
    return torch.tensor(items, dtype=torch.float64)


def folder_of(base: Path, about: Mapping[str, Any]) -> Path:
    """Return `base`, or beside it a folder of its own where `base` holds pieces of something else.

    Args:
        about: what all pieces of a folder say of themselves, such as model and recordings.
    """
    wanted = json.loads(json.dumps(about))
    first = next(iter(sorted(base.glob("*.json"))), None) if base.is_dir() else None
    stored = read_json(first, "a piece of a measurement", remedy="remove it: it is measured again") if first else wanted
    same = all(stored.get(name) == value for name, value in wanted.items())
    return base if same else base.with_name(f"{base.name}-{digest(wanted)}")


def digest(about: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that tell what a piece is of, for names of files that never meet."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]


def _read(path: Path, wanted: Mapping[str, Any]) -> Piece | None:
    if not path.is_file():
        return None
    stored = read_json(path, "a piece of a measurement", remedy="remove it: it is measured again")
    differs = [name for name, value in wanted.items() if stored.get(name) != value]
    if differs:
        raise UsageError(f"{path}: is of another {' and '.join(differs)}; remove it or choose another folder")
    plain = {name: value for name, value in stored.items() if name not in (*wanted, "tensors")}
    names, tensors = stored.get("tensors"), path.with_suffix(".safetensors")
    try:
        found = read_tensors(tensors) if names else {}
        if sorted(found) != (names or []):
            raise ValueError(f"it holds {', '.join(sorted(found)) or 'nothing'}")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UsageError(f"{tensors}: cannot be read ({error}); remove it and {path.name}: it is made again") from error
    return Piece(plain, found)
