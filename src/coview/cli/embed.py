"""`coview embed`: write the embeddings of a collection or of files, for search and for other tools."""

from __future__ import annotations

import csv
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.output import Output
from coview.cli.places import check_files, check_models, check_sources
from coview.errors import UsageError

if TYPE_CHECKING:
    import torch

    from coview.data.source import Source
    from coview.data.stored import Stored
    from coview.model import Model

DESCRIPTION = """Write the embeddings of a collection or of files into a folder: float32 vectors of length 1 as .npy
(recordings x windows x numbers), which of them are there and from which second on, the id and file of each recording as
Parquet, and card.json, which says what made them. Any tool can read them.

A stopped call goes on where it was when the same command is given again; parts that are there are not made again, and
recordings that could not be read are tried again. What cannot be read is named and left out, and the exit code is 3.

Examples:
  coview embed --model my-run --collection my-collection -o my-embeddings
  coview embed --model my-run bark.wav street.mp4 -o two-files

No run is needed: --encoder takes trained networks of torchvision, timm and transformers (hf: a folder, or a repository
in the hub's cache), one for each kind of view, with their own preprocessing. Their weights are named by --weights, or
lie where the library keeps them; nothing is fetched unless --download says so. The folder is then a model as well:
  coview embed --encoder timm:resnet50 hf:my-ast --weights resnet50.safetensors --collection my-collection -o features
  coview search --model features --embeddings features --collection my-collection --query bark.wav
A network of two towers, such as CLIP, SigLIP (pictures) and CLAP (sounds), brings words into the same space:
  coview embed --encoder hf:my-clip --collection my-collection -o features
  coview search --model features --collection my-collection --text "a dog barks"
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Media files to embed, instead of a collection."""
    model: Path | None = None
    """Run or model folder."""
    encoder: tuple[str, ...] = ()
    """Instead of a model, trained networks: torchvision:NAME, timm:NAME, hf:FOLDER or hf:OWNER/NAME."""
    weights: tuple[Path, ...] = ()
    """Their weights, a file for each of torchvision's and timm's: .safetensors, or a PyTorch state_dict."""
    download: bool = False
    """Fetch weights that are not there."""
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
    executor: Literal["here", "ray"] = "here"
    """Where parts are made: here (under torchrun or srun by all its processes), or on the cluster of machines that
    RAY_ADDRESS names, which see the same paths; there on processors, a thread for each part."""
    workers: int | None = None
    """Processes of a Ray that is started on this computer; one per core by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview embed", description=DESCRIPTION, args=argv)
    if bool(arguments.files) == bool(arguments.collection):
        raise UsageError("pass either --collection or the names of files")
    if (arguments.model is None) == (not arguments.encoder):
        raise UsageError("pass either --model or --encoder")
    if (arguments.weights or arguments.download) and not arguments.encoder:
        raise UsageError("--weights and --download belong to --encoder")
    if arguments.executor == "ray" and arguments.device == "cuda":
        raise UsageError("on Ray parts are made on processors; for many GPUs start coview embed by torchrun or srun")
    check_models(arguments.model)
    check_sources(arguments.collection)
    check_files(*arguments.weights)
    import numpy as np

    from coview import parallel
    from coview.training.settings import choose_device

    if arguments.executor == "ray" and parallel.world_size() > 1:
        raise UsageError("--executor ray starts its own processes: call it without torchrun and srun")
    device = parallel.initialise(choose_device("cpu" if arguments.executor == "ray" else arguments.device))
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
    there = np.stack([stored.present[view].any(1) for view in stored.views])
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
        out.next("coview", "search", "--model", arguments.model or arguments.out, *where, *how)
    return code


def embed(arguments: Arguments, collection: str, device: torch.device, out: Output) -> Stored:
    """Embed a collection as the arguments say."""
    from coview import parallel
    from coview.data.executors import choose_executor
    from coview.embedding.stored import store
    from coview.search.places import open_with_paths

    names = (arguments.model, arguments.encoder, arguments.weights, arguments.download, collection)
    opening = Opening(*names, Path.cwd())
    model = opening.model_on(device)
    source, paths = open_with_paths(collection, model)
    executor = choose_executor("ray", arguments.workers) if arguments.executor == "ray" else None
    with out.steps() as show:
        stored = store(
            model, source, arguments.out, paths=paths, space=arguments.space, windows=arguments.windows,
            batch_size=arguments.batch_size, progress=lambda done, total: show("embedding", done, total),
            executor=executor, opener=opening,
        )  # fmt: skip
    if arguments.encoder and parallel.is_main():  # kept beside what it made, so that queries can be embedded too
        model.save(arguments.out / "model")
    return stored


@dataclass(frozen=True)
class Opening:
    """How any process opens the model and the collection (`embedding.parts.Opener`)."""

    model: Path | None
    encoder: tuple[str, ...]
    weights: tuple[Path, ...]
    download: bool
    collection: str
    folder: Path  # where the command was given: names start from there

    def model_on(self, device: torch.device) -> Model:
        """Return the model of a run, or of trained encoders: the same names and files make the same."""
        from coview.model import Model

        if self.model is not None:
            return Model.from_run(self.model).to(device)
        from coview.interchange.pretrained import frozen_model

        return frozen_model(self.encoder, self.weights, self.download).to(device)

    def open(self) -> tuple[Model, Source]:
        """Return both, the model on the processor; this process then works in the command's own folder."""
        import torch

        from coview.search.places import open_with_paths

        os.chdir(self.folder)
        model = self.model_on(torch.device("cpu"))
        return model, open_with_paths(self.collection, model)[0]


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
