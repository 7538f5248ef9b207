"""`coview import`: turn a published checkpoint into a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from coview.cli.following import collection_here, embedding
from coview.cli.output import Output
from coview.cli.places import check_files
from coview.errors import CoviewError, UsageError

DESCRIPTION = """Turn a published checkpoint into a model folder that every other command takes.

av-ssrl reads checkpoints of xID, VICReg, VICReg-Video and the supervised baseline, avid-cma those of AVID and AVID+CMA
(any depth). Only tensors are read; a file that holds other objects is refused. Networks must fit name by name and shape
by shape. --statistics takes the .npz of the spectrogram's mean and deviation that the code comes with; without it the
published overall values are used.

Examples:
  coview import av-ssrl xid.pth.tar -o xid --statistics audio_spec_50k_norm_stats.npz
  coview import avid-cma AVID_Audioset.pth.tar -o avid --statistics audio-spectDB-24k-513-norm-stats.npz
"""


@dataclass(kw_only=True)
class Arguments:
    """What `coview import` is told."""

    family: tyro.conf.Positional[Literal["av-ssrl", "avid-cma"]]
    """The code that wrote the checkpoint."""
    checkpoint: tyro.conf.Positional[Path]
    """The file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the model."""
    statistics: Path | None = None
    """The published .npz with mean and std of every band."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Import, save, print what it is."""
    arguments = tyro.cli(Arguments, args=argv, prog="coview import", description=DESCRIPTION)
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        why = "is not empty" if arguments.out.is_dir() else "is no folder"
        raise UsageError(f"{arguments.out} {why}; choose another name")
    check_files(arguments.checkpoint, arguments.statistics)
    from safetensors import SafetensorError

    from coview.interchange.foreign import import_model

    model = import_model(arguments.family, arguments.checkpoint, arguments.statistics)
    try:
        model.save(arguments.out)
    except (OSError, SafetensorError) as error:
        raise CoviewError(
            f"{arguments.out}: the model cannot be written ({error}); make room, then import again"
        ) from error
    views = {name: str(spec) for name, spec in model.views.items()}
    result = {"model": str(arguments.out), "method": model.method.about.slug, "views": views, "dim": dict(model.dim)}
    about = {name: model.about[name] for name in ("epochs", "statistics")}
    out = Output(json=arguments.json)
    code = out.finish({**result, **about}, [])
    if (collection := collection_here()) is not None:
        out.next(*embedding(arguments.out, str(collection)))
    else:
        out.say("Index a folder of recordings next: coview index FOLDER -o my-collection")
    return code
