"""`coview audit`: what is suspect in a collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.following import free, looking
from coview.cli.output import Output
from coview.cli.places import check_models, check_sources

if TYPE_CHECKING:
    from coview.model import Model

DESCRIPTION = """Find what is suspect in a collection: the same recording in several splits, or more than once (the same
bytes, the same content, or encoded anew), a sound that may not belong to its picture, one sound under many pictures,
what is silent, black, of one colour or frozen, and labels that the neighbours do not have.

Leaves audit.html to look at and listen to, audit.parquet with every suspect, and audit.md. Nothing is changed. A
model of kinds does not see a sound that was exchanged within its kind; the page says how well this one tells
recordings apart.
Suspects are no error: the exit code is 0, or 3 where recordings could not be read.

Examples:
  coview audit --model my-run --collection my-collection
  coview audit --model my-run --collection my-collection -o my-audit --json
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: Path
    """Run or model folder; best one that learnt from other recordings, or from these and not for long."""
    collection: str
    """Collection folder, memory-mapped set or world to look at."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for the page and the tables; by default a new one, my-audit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout, all suspects included."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview audit", description=DESCRIPTION, args=argv)
    check_models(arguments.model)
    check_sources(arguments.collection)
    from coview.data.collection import Collection
    from coview.embedding.extract import extract
    from coview.model import Model
    from coview.search.audit import audit
    from coview.search.audit_page import table, write_audit
    from coview.search.places import open_with_paths
    from coview.training.settings import choose_device

    model = Model.from_run(arguments.model).to(choose_device(arguments.device))
    source, _ = open_with_paths(arguments.collection, model)
    indexed = (Path(arguments.collection) / "collection.json").is_file()
    out = Output(json=arguments.json)
    with out.steps() as show:
        features = extract(
            model, source, windows=4, space="projected", progress=lambda done, total: show("embedding", done, total)
        )
        collection = Collection.open(arguments.collection) if indexed else None
        found = audit(source, features, pair_of(model), collection, show)
        page = write_audit(arguments.out or Path(free("my-audit")), source, found, model.method.about.slug)
    for note in found.notes:
        out.say(note)
    listed = {"suspects": table(source, found).to_pylist(), "notes": found.notes} if arguments.json else {}
    code = out.finish({"page": str(page), "found": dict(found.counts), **listed}, features.problems)
    out.next(*looking(arguments.model, model, arguments.collection))
    return code


def pair_of(model: Model) -> tuple[str, str] | None:
    """Return the names of the picture and of the sound that a model compares in one space; None where it has none."""
    named = {model.views[name].medium: name for name in reversed(model.distinct_views()) if name in model.views}
    if not len(model.method.projectors) or not {"picture", "sound"} <= named.keys():
        return None
    return named["picture"], named["sound"]
