"""`coview export`: write a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from coview.cli.following import collection_here, embedding, taught_on
from coview.cli.output import Output
from coview.cli.places import check_models
from coview.errors import UsageError

DESCRIPTION = """Write a model for other programs: as ONNX, one file per view, or to a repository of a hub.

ONNX graphs take model views (normalised pictures, spectrograms; preprocessing.json says how they are made) and give the
encoder's features and the embedding. Each is run by ONNX Runtime and compared with the model before the command ends.
Nothing is sent anywhere unless --hub names a repository.

Examples:
  coview export my-run --onnx my-graphs
  coview export my-run --hub me/my-model
"""


@dataclass(kw_only=True)
class Arguments:
    """What `coview export` is told."""

    model: tyro.conf.Positional[Path]
    """Run or model folder."""
    onnx: Path | None = None
    """Folder for the graphs."""
    hub: str | None = None
    """Repository OWNER/NAME; made private where it is not there."""
    public: bool = False
    """Make the new repository public."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Export, and print what was made and how exact it is."""
    arguments = tyro.cli(Arguments, args=argv, prog="coview export", description=DESCRIPTION)
    if arguments.onnx is None and arguments.hub is None:
        raise UsageError("say what to export to: --onnx FOLDER or --hub OWNER/NAME")
    check_models(arguments.model)
    from coview.model import Model

    model = Model.from_run(arguments.model)
    result: dict[str, Any] = {"model": str(arguments.model)}
    if arguments.onnx is not None:
        from coview.interchange.onnx import export_onnx

        result |= {"onnx": str(arguments.onnx), "largest_difference": export_onnx(model, arguments.onnx)}
    if arguments.hub is not None:
        from coview.interchange.hub import push

        result |= {"hub": push(model, arguments.hub, private=not arguments.public)}
    out = Output(json=arguments.json)
    code = out.finish(result, [])
    if (collection := taught_on(arguments.model) or collection_here()) is not None:
        out.next(*embedding(arguments.model, str(collection)))  # what other programs should find too
    return code
