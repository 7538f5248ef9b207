"""`coview paint`: colours grey photographs, fills holes, or removes noise, at full size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from coview.cli.output import Output
from coview.cli.places import check_files, check_models
from coview.errors import UsageError

DESCRIPTION = """Make pictures with a trained model, as large as they are: colour grey photographs (or coloured ones
anew, from their lightness), fill what is missing in them, or take their noise away, whichever the model has learnt.
Each is written as a PNG, and a page shows them beside what they were made of. Colouring keeps the lightness, filling
keeps what is around the hole. What cannot be read is named and left out, and the exit code is 3.

Examples:
  coview paint --model my-run --input old-photographs/ -o coloured
  coview paint --model my-run --input torn.jpg --mask tear.png -o filled
  coview paint --model my-run --input street.jpg --box 120 80 64 64 -o filled
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: Path
    """Run or model folder of a method that makes pictures."""
    input: Path
    """A picture, or a folder of pictures at any depth."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the pictures and paintings.html; must be empty or not there yet."""
    mask: Path | None = None
    """Where pictures are missing: a picture of the same size, white there; or a folder with one for each, so named."""
    box: tuple[int, int, int, int] | None = None
    """Where pictures are missing: left, top, width and height of a box, in pixels."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview paint", description=DESCRIPTION, args=argv)
    if arguments.mask and arguments.box:
        raise UsageError("say where the hole is once: --mask or --box")
    check_models(arguments.model)
    check_files(arguments.input, arguments.mask)
    from coview.evaluation.paintings import write_page
    from coview.model import Model
    from coview.painting.files import Holes, paint_files
    from coview.painting.painter import Painter
    from coview.training.settings import choose_device

    out = Output(json=arguments.json)
    painter = Painter(Model.from_run(arguments.model).to(choose_device(arguments.device)))
    holes = Holes(box=arguments.box, mask=arguments.mask)
    if (arguments.mask or arguments.box) is None and painter.paints == "holes":
        raise UsageError("this model fills holes: say where they are, by --mask or --box")
    if (arguments.mask or arguments.box) is not None and painter.paints != "holes":
        raise UsageError(f"this model makes {painter.paints} and fills no holes: leave out --mask and --box")
    with out.steps() as show:
        painted, problems = paint_files(
            painter, arguments.input, arguments.out, holes, lambda done, total: show("painting", done, total)
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    page = write_page(arguments.out, painted, painter.model.method.about.slug, painter.paints, len(problems))
    made = [{"from": str(one.source), "picture": str(one.target)} for one in painted]
    result = {"paints": painter.paints, "pictures": made if arguments.json else len(made), "page": str(page)}
    return out.finish(result, problems)
