"""`coview embed`: write the embeddings of a collection or of files, for search and for other tools."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.output import Output
from coview.cli.places import check_models, check_sources
from coview.errors import UsageError

if TYPE_CHECKING:
    import torch

    from coview.data.stored import Stored

DESCRIPTION = """Write the embeddings of a collection or of files into a folder: float32 vectors of length 1 as .npy
(recordings x windows x numbers), which of them are there and from which second on, the id and file of each recording as
Parquet, and card.json, which says what made them. Any tool can read them.

A stopped call goes on where it was when the same command is given again; parts that are there are not made again, and
recordings that could not be read are tried again. What cannot be read is named and left out, and the exit code is 3.

Examples:
  coview embed --model my-run --collection my-collection -o my-embeddings
  coview embed --model my-run bark.wav street.mp4 -o two-files
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Media files to embed, instead of a collection."""
    model: Path
    """Run or model folder."""
    collection: str | None = None
    """Collection folder, memory-mapped set or world."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the embeddings."""
    space: Literal["projected", "backbone"] = "projected"
    """Where views are compared, or the features that classifiers use."""
    windows: int = 4
    """Evenly spaced cuts of each recording, at most."""
    batch_size: int = 64
    """Recordings embedded at a time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview embed", description=DESCRIPTION, args=argv)
    if bool(arguments.files) == bool(arguments.collection):
        raise UsageError("pass either --collection or the names of files")
    check_models(arguments.model)
    check_sources(arguments.collection)
    import numpy as np

    from coview import parallel
    from coview.training.settings import choose_device

    device = parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    refused: list[tuple[str, str]] = []
    try:
        if arguments.collection:
            stored = embed(arguments, arguments.collection, device, out)
        else:
            with tempfile.TemporaryDirectory() as folder:
                refused = index_files(arguments.files, Path(folder))
                stored = embed(arguments, str(Path(folder) / "collection"), device, out)
    finally:
        parallel.shutdown()
    problems = refused + stored.problems
    there = np.stack([present.any(1) for present in stored.present.values()])
    result = {
        "embeddings": str(stored.folder),
        "recordings": len(stored.ids),
        "embedded": int(there.any(0).sum()),
        "vectors": {view: int(stored.present[view].sum()) for view in stored.views},
        "refused": [f"{name}: {reason}" for name, reason in problems],
    }
    code = out.finish(result if arguments.json else {**result, "refused": len(problems)}, problems)
    asked = next((name for number, name in enumerate(stored.ids) if there[:, number].all()), None)
    if arguments.collection and asked is not None:
        where = ("--collection", arguments.collection, "--embeddings", arguments.out)
        how = [f"--recording={asked}"] if asked.startswith("-") else ["--recording", asked]
        out.next("coview", "search", "--model", arguments.model, *where, *how)
    return code


def embed(arguments: Arguments, collection: str, device: torch.device, out: Output) -> Stored:
    """Embed a collection as the arguments say."""
    from coview.embedding.stored import store
    from coview.model import Model
    from coview.search.places import open_with_paths

    model = Model.from_run(arguments.model).to(device)
    source, paths = open_with_paths(collection, model)
    with out.steps() as show:
        return store(
            model, source, arguments.out, paths=paths, space=arguments.space, windows=arguments.windows,
            batch_size=arguments.batch_size, progress=lambda done, total: show("embedding", done, total),
        )  # fmt: skip


def index_files(files: tuple[Path, ...], folder: Path) -> list[tuple[str, str]]:
    """Index the files into `folder`/collection; returns (file, reason) of each that cannot be read."""
    from coview.data.index import index_source

    manifest = folder / "files.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "id"])
        table.writerows((file.absolute(), file) for file in files)
    collection = index_source(str(manifest), folder / "collection", workers=None if len(files) > 50 else 0)
    return [(row.path, f"{row.reason}: {row.message}") for row in collection.quarantine()]
