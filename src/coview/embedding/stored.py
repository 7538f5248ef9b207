"""Features in files: written part by part by one process or many, gone on with after a kill, repaired by a rerun.

The one form in which features and embeddings are kept: for search, for protocols, and for clustering of more than
memory holds. `coview.data.stored` says what lies where, and reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from coview import parallel
from coview.data.executors import Executor
from coview.data.source import Source
from coview.data.stored import (
    FORMAT,
    Stored,
    map_arrays,
    open_stored,
    part_count,
    read_card,
)
from coview.embedding.extract import Features, Space, extract_locally, require_some
from coview.embedding.parts import Embedding, Opener, PartTask, make_elsewhere, make_part
from coview.errors import CoviewError, UsageError
from coview.files import is_leftover, locked, write_aside, written_whole
from coview.settings import diff, to_dict

if TYPE_CHECKING:
    from coview.model import Model

_PARTS = 1024  # at most: each leaves a file in `done/`


def store(
    model: Model,
    source: Source,
    folder: Path,
    *,
    space: Space = "projected",
    windows: int = 1,
    batch_size: int = 64,
    normalised: bool = True,
    precision: Literal["float16", "float32"] = "float32",
    paths: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
    opener: Opener | None = None,
) -> Stored:
    """Embed a source into a folder, or complete what a stopped call left there; returns it on every process.

    Parts that are there are not made again. Recordings that could not be read are tried again, and parts whose numbers
    have changed since they were written are made anew. Process r of W makes every W-th part; all must see the folder.

    Args:
        space: "projected", where views are compared, or "backbone".
        windows: evenly spaced cuts per recording, so that results have times.
        batch_size: recordings at a time.
        normalised: vectors of length 1, whose inner product is the cosine.
        paths: the file of each recording; none where there are no files.
        about: what else the numbers depend on; goes into the card, and must be the same when the call is repeated.
        progress: called with (recordings done, recordings) of this process.
        executor: makes the parts elsewhere, with `opener`: one at a time in a process, on its processor, one thread.
            The numbers are those of this process to the bit where it uses one thread.

    Raises:
        UsageError: the folder holds something else, or embeddings made in another way; another process works on it.
        CoviewError: the folder cannot be written, or no recording at all has a finite embedding.
    """
    if not len(source):
        raise UsageError(f"{source.name}: there is nothing to embed; the collection or its split is empty")
    card = {
        "format": FORMAT,
        "model": model.digest,
        "method": model.method.about.slug,
        "source": Path(source.name).name,
        "collection": source.fingerprint,
        "recordings": len(source),
        "space": space,
        "windows": source.windows(windows),
        "normalised": normalised,
        "metric": "inner product of unit vectors: the cosine" if normalised else "cosine",
        "precision": precision,
        "preprocessing": to_dict(source.views),
        **(about or {}),
    }
    done = _complete(folder, card)
    if done is not None:
        return done

    how: dict[str, Any] = {"windows": windows, "space": space, "batch_size": batch_size}

    def embed(rows: torch.Tensor) -> Features:
        return extract_locally(model, source, rows, **how)

    with _held(folder):
        _in_turn(folder, lambda: _begin(folder, card, embed, source, paths, batch_size))
        known = read_card(folder)
        if known.get("model") != card["model"]:
            raise CoviewError(f"{folder}: not the same folder on all processes; use a disk that they share")
        if executor is not None and opener is not None:
            spread = how | {"normalised": normalised}
            _everywhere(folder, lambda: _shared_out(folder, executor, opener, spread, progress))
        else:
            mine = range(parallel.rank(), part_count(known), parallel.world_size())
            _everywhere(folder, lambda: _make_parts(folder, known, mine, embed, source, normalised, progress))
        if parallel.is_main():
            for leftover in filter(is_leftover, folder.rglob("*")):  # all have written: nobody needs them any more
                if leftover.name != ".lock":
                    leftover.unlink(missing_ok=True)
        found = open_stored(folder, checked=executor is None)  # what others wrote has to be here
    require_some(features_of(found, source))
    return found


def features_of(found: Stored, source: Source) -> Features:
    """Return stored numbers as features of the source that they were made of; they stay in their files."""
    return Features(
        clips={name: torch.from_numpy(array) for name, array in found.clips.items()},
        clip_present={name: torch.from_numpy(array) for name, array in found.present.items()},
        start={name: torch.from_numpy(array) for name, array in found.start.items()},
        labels=source.labels,
        rows=torch.arange(len(source)),
        ids=list(source.ids),
        classes=list(source.classes),
        problems=list(found.problems),
    )


def check_model(found: Stored, model: Model) -> None:
    """Refuse a model that did not make these embeddings."""
    asked = model.digest
    if asked != found.card["model"]:
        raise UsageError(
            f"{found.folder} holds embeddings of another model (its weights are {str(found.card['model'])[:12]}, those "
            f"of the model asked are {asked[:12]}). Similarities between two models mean nothing: use the model that "
            "made them, or embed the collection again into another folder"
        )


def _complete(folder: Path, card: Mapping[str, Any]) -> Stored | None:
    """Return a store of the same card with nothing to repair, on all processes alike; None where there is work."""
    found = None
    if (folder / "card.json").is_file():
        _check_card(folder, card)
        with contextlib.suppress(UsageError):
            found = open_stored(folder)
    # What cannot be repaired where it lies is taken as it is.
    well = found is not None and not (found.problems and os.access(folder, os.W_OK))
    everyone = parallel.gather(torch.tensor([well], dtype=torch.uint8, device=parallel.collective_device()))
    return found if bool(everyone.all()) else None


def _check_card(folder: Path, card: Mapping[str, Any]) -> None:
    known = read_card(folder)
    if known["format"] != FORMAT:
        raise UsageError(f"{folder} holds embeddings of an older version, which can be read; choose another folder")
    changes = diff({name: value for name, value in known.items() if name not in ("views", "part")}, dict(card))
    if changes:
        raise UsageError(
            f"{folder} holds embeddings made in another way (there -> asked):\n"
            + "\n".join(f"  - {line}" for line in changes)
            + "\nChoose another folder"
        )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder for all processes of this call; the first one makes it and takes the lock."""
    with contextlib.ExitStack() as stack:

        def take() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, "embed"))

        _in_turn(folder, take)
        yield


def _in_turn(folder: Path, act: Callable[[], None]) -> None:
    """Let process 0 act, and the others wait for it."""
    _everywhere(folder, act if parallel.is_main() else lambda: None)


def _everywhere(folder: Path, act: Callable[[], None]) -> None:
    """Act on every process, and raise on all where one fails, so that none is left waiting."""
    problem: CoviewError | None = None
    try:
        act()
    except CoviewError as error:
        problem = error
    except OSError as error:
        problem = CoviewError(
            f"{folder}: the embeddings cannot be written ({error.strerror or error}); make room or choose another "
            "disk, then give the same command again: it goes on from there"
        )
    failed = parallel.gather(torch.tensor([problem is not None], device=parallel.collective_device()).to(torch.uint8))
    if problem is not None:
        raise problem
    if bool(failed.any()):
        raise CoviewError(f"{folder}: another process could not write the embeddings; its message says why")


def _begin(
    folder: Path,
    card: Mapping[str, Any],
    embed: Embedding,
    source: Source,
    paths: Sequence[str],
    batch_size: int,
) -> None:
    """Lay out an empty store, or finish the layout of one that was stopped at once."""
    if not (folder / "card.json").is_file():
        if any(not is_leftover(path) and path.name != "card.json" for path in folder.iterdir()):
            raise UsageError(f"{folder}: the folder is not empty and holds no embeddings; choose another one")
        first = embed(torch.arange(1))
        widths = {name: clips.shape[2] for name, clips in first.clips.items()}
        part = batch_size * -(-len(source) // (batch_size * _PARTS))  # whole batches: the same numbers as in memory
        write_aside(folder / "card.json", json.dumps({**card, "part": part, "views": widths}, indent=2) + "\n")
    table = {"row": range(len(source)), "id": list(source.ids), "path": list(paths) or [""] * len(source)}
    with written_whole(folder / "recordings.parquet") as aside:
        pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), aside)
    known = read_card(folder)
    (folder / "done").mkdir(exist_ok=True)
    for name, width in known["views"].items():
        shape = (known["recordings"], known["windows"])
        kinds = {"": ((*shape, width), known["precision"]), ".present": (shape, "bool"), ".start": (shape, "float64")}
        try:
            map_arrays(folder, known, name, width)
        except UsageError:  # not there yet, or damaged: then no part has its digest, and all are made anew
            for end, (extent, kind) in kinds.items():
                with written_whole(folder / f"{name}{end}.npy") as aside:
                    np.lib.format.open_memmap(aside, mode="w+", dtype=kind, shape=extent).flush()


def _shared_out(
    folder: Path,
    executor: Executor,
    opener: Opener,
    how: Mapping[str, Any],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Let an executor make all parts."""
    card = read_card(folder)
    tasks = [PartTask(folder.absolute(), number, opener, **how) for number in range(part_count(card))]
    for count, _ in enumerate(executor.run(make_elsewhere, tasks), 1):
        if progress:
            progress(min(count * card["part"], card["recordings"]), card["recordings"])


def _make_parts(
    folder: Path,
    card: Mapping[str, Any],
    mine: range,
    embed: Embedding,
    source: Source,
    normalised: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    for count, number in enumerate(mine):
        make_part(folder, card, number, embed, source, normalised)
        if progress:
            progress(min((count + 1) * card["part"], len(source)), min(len(mine) * card["part"], len(source)))
