"""`coview discover PIPELINE`: clusters of patches that show the same thing, found in pictures by stages."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from coview.cli.following import training
from coview.cli.output import Output
from coview.cli.places import check_files
from coview.cli.static import check_words, stand_in
from coview.errors import UsageError
from coview.methods import PIPELINES
from coview.methods.cards import card_of

HELP = """usage: coview discover PIPELINE --collection COLLECTION -o FOUND [options]

Find patches of pictures that show the same thing, as ranked clusters: clusters.json, and clusters.html to look at.
There is no model and no training; every stage leaves files in FOUND, and a stopped call goes on where it was when the
same command is given again. Pictures are stills, and the middle frames of films.

Pipelines: {pipelines}

Examples:
  coview discover context-discovery --collection my-photo-collection -o found --tiny
  coview discover context-discovery --collection my-photo-collection -o found --method.parts 200 --workers 8
  coview discover context-discovery --help
"""
DESCRIPTION = """Find patches that show the same thing in a collection's pictures by {slug}: {title}."""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes beside the pipeline's settings."""

    collection: Path
    """Collection folder, as `coview index` writes it."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOUND")]
    """Folder for the stages, clusters.json and clusters.html."""
    split: Literal["all", "train", "validation", "test"] = "all"
    """Which part of the collection."""
    tiny: bool = False
    """Start from the smallest settings, for some dozens of small pictures."""
    seed: int = 0
    """Of every draw."""
    executor: Literal["auto", "serial", "processes", "ray"] = "auto"
    """Who does the work; auto: processes."""
    workers: int | None = None
    """Processes; one per core by default, 0 works in this one."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code: 3 where a picture could not be looked at."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(pipelines=", ".join(sorted(PIPELINES))), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    slug, rest = argv[0], argv[1:]
    if slug not in PIPELINES:
        raise UsageError(f"the first word names the pipeline; {slug!r} is none. Known: {', '.join(sorted(PIPELINES))}")
    card = card_of(slug)
    options = {f"method.{name}" for name in card.settings["options"]}
    check_words(f"coview discover {slug}", rest, {item.name for item in dataclasses.fields(Arguments)} | options)
    if {"-h", "--help"} & set(rest):
        _parsed(slug, card.title, rest, stand_in(card.settings)())
    arguments, _ = tyro.cli(Arguments, args=rest, return_unknown_args=True, prog=f"coview discover {slug}")
    check_files(arguments.collection)
    from coview.methods import load_pipeline

    kind = load_pipeline(slug).Settings
    arguments = _parsed(slug, card.title, rest, kind.tiny() if arguments.tiny else kind())
    return _discover(slug, arguments, Output(json=arguments.json))


def _parsed(slug: str, title: str, argv: list[str], settings: Any) -> Any:
    """Return the command's arguments with the pipeline's settings, `settings` where nothing else is asked."""
    fields = [("method", type(settings), dataclasses.field(default=settings))]
    whole = dataclasses.make_dataclass("Arguments", fields, bases=(Arguments,), kw_only=True)
    said = DESCRIPTION.format(slug=slug, title=title)
    return tyro.cli(whole, prog=f"coview discover {slug}", description=said, args=argv)


def _discover(slug: str, arguments: Any, out: Output) -> int:
    from coview.data.collection import Collection
    from coview.data.executors import choose_executor
    from coview.evaluation.discovered import write_page
    from coview.methods.pipeline import discover

    collection = whole = Collection.open(arguments.collection)
    if arguments.split != "all":
        collection = collection.select(split=arguments.split)
    name: Any = "processes" if arguments.executor == "auto" else arguments.executor
    with out.steps() as show:
        try:
            found = discover(
                slug, collection, arguments.out, arguments.method, choose_executor(name, arguments.workers),
                seed=arguments.seed, progress=show,
            )  # fmt: skip
        except (KeyboardInterrupt, SystemExit):
            out.say("stopped; the same command goes on from here")
            raise
    page, results = write_page(found, collection, arguments.out, slug)
    members = sum(len(cluster.members) for cluster in found.clusters)
    counts: Mapping[str, int] = {"pictures": found.pictures, "clusters": len(found.clusters), "members": members}
    rows = [measurement.row() for measurement in results]
    if not found.clusters:
        out.say("no cluster's surroundings follow from each other; there may be too few pictures of one thing")
    code = out.finish({"page": str(page), "counts": counts, "results": rows}, found.problems)
    out.next(*training(whole.about["counts"], arguments.collection))
    return code
