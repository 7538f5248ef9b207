"""`coview paint`: colours grey photographs, fills holes, or removes noise, at full size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.following import looking, taught_on
from coview.cli.output import Output
from coview.cli.places import check_files, check_models
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.painting.painter import Painter

DESCRIPTION = """Make pictures with a trained model, as large as they are: colour grey photographs (or coloured ones
anew, from their lightness), fill what is missing in them, or take their noise away, whichever the model has learnt.
Each is written as a PNG, and a page shows them beside what they were made of. Colouring keeps the lightness, filling
keeps what is around the hole. What cannot be read is named and left out, and the exit code is 3.

Examples:
  coview paint --model my-run --input old-photographs/ -o coloured
  coview paint --model my-run --input torn.jpg --mask tear.png -o filled
  coview paint --model my-run --input street.jpg --box 120 80 64 64 -o filled
  coview paint --model run-a run-b --input photographs/ --study 20 -o my-study
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: tuple[Path, ...]
    """Run or model folder of a method that makes pictures; of a study, one or more."""
    input: Path
    """A picture, or a folder of pictures at any depth."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the pictures and paintings.html; must be empty or not there yet."""
    mask: Path | None = None
    """Where pictures are missing: a picture of the same size, white there; or a folder with one for each, so named."""
    box: tuple[int, int, int, int] | None = None
    """Where pictures are missing: left, top, width and height of a box, in pixels."""
    study: int | None = None
    """Instead, write a study of so many participants into -o: which of two pictures has made colours?"""
    seed: int = 0
    """Of a study: chooses pictures, sides and order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview paint", description=DESCRIPTION, args=argv)
    if arguments.mask and arguments.box:
        raise UsageError("say where the hole is once: --mask or --box")
    if not arguments.model or (len(arguments.model) > 1 and arguments.study is None):
        raise UsageError("pictures are made by one --model; several are compared by --study N")
    if arguments.study is not None and (arguments.mask or arguments.box):
        raise UsageError("a study is about colours: leave out --mask and --box")
    check_models(*arguments.model)
    check_files(arguments.input, arguments.mask)
    from coview.model import Model
    from coview.painting.painter import Painter
    from coview.training.settings import choose_device

    out, device = Output(json=arguments.json), choose_device(arguments.device)
    painters = [Painter(Model.from_run(path).to(device)) for path in arguments.model]
    return paint(arguments, painters[0], out) if arguments.study is None else write(arguments, painters, out)


def paint(arguments: Arguments, painter: Painter, out: Output) -> int:
    """Paint the pictures, and return the exit code."""
    from coview.evaluation.paintings import write_page
    from coview.painting.files import Holes, paint_files

    holes = Holes(box=arguments.box, mask=arguments.mask)
    with out.steps() as show:
        painted, problems = paint_files(
            painter, arguments.input, arguments.out, holes, lambda done, total: show("painting", done, total)
        )
    page = write_page(arguments.out, painted, painter.model.method.about.slug, painter.paints, len(problems))
    made = [{"from": str(one.source), "picture": str(one.target)} for one in painted]
    result = {"paints": painter.paints, "pictures": made if arguments.json else len(made), "page": str(page)}
    code = out.finish(result, problems)
    if (taught := taught_on(arguments.model[0])) is not None:
        out.next(*looking(arguments.model[0], painter.model, taught))
    return code


def write(arguments: Arguments, painters: list[Painter], out: Output) -> int:
    """Write a study, and return the exit code."""
    from coview.evaluation.study import write_study

    names = [path.resolve().name for path in arguments.model]
    if len(set(names)) < len(names):
        names = list(map(str, arguments.model))
    with out.steps() as show:
        written, problems = write_study(
            painters, names, arguments.input, arguments.out, arguments.study or 0,
            arguments.seed, lambda done, total: show("pictures", done, total),
        )  # fmt: skip
    pages = [str(page) for page in written.pages]
    result = {"pages": pages if arguments.json else len(pages), "pairs": vars(written.plan), "key": str(written.key)}
    code = out.finish(result, problems)
    out.say("Give every participant a page of their own and images/; keep key.json to yourself.")
    return code
