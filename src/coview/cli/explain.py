"""`coview explain`: a page of what a model has put together, and of where in a picture it hears the sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from coview.cli.following import measuring
from coview.cli.output import Output
from coview.cli.places import check_models, check_sources
from coview.errors import UsageError

DESCRIPTION = """Write a page that shows what a trained model has learnt: clusters of recordings by picture and by
sound, to look at and listen to, with their purity where labels exist; and, over pictures, where the sound comes from.

Examples:
  coview explain --model my-run --collection my-collection
  coview explain --model my-run --collection objects-av --clusters 6 -o my-page
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: Path
    """Run or model folder."""
    collection: str
    """Collection folder, memory-mapped set or world whose recordings are shown."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for explain.html; by default the model's."""
    split: Literal["all", "train", "validation", "test"] = "all"
    """Which part of the collection; of a world, all is the test part."""
    clusters: int | None = None
    """Clusters of each view; by default as many as labels, else the root of half the recordings."""
    count: int | None = None
    """Recordings looked at, at most; all of them by default."""
    seed: int = 0
    """Chooses the recordings and the first centres."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview explain", description=DESCRIPTION, args=argv)
    if arguments.clusters is not None and arguments.clusters < 1:
        raise UsageError(f"--clusters {arguments.clusters}: expected at least 1")
    check_models(arguments.model)
    check_sources(arguments.collection)
    from coview.data.open import open_source
    from coview.data.synthetic import is_world
    from coview.evaluation.explain import explain
    from coview.evaluation.runs import records_of
    from coview.evaluation.verdict import verdict
    from coview.model import Model
    from coview.training.settings import choose_device

    model = Model.from_run(arguments.model).to(choose_device(arguments.device))
    views = model.needed
    whole: Literal["test"] | None = "test" if is_world(arguments.collection) else None
    source = open_source(arguments.collection, views, split=whole if arguments.split == "all" else arguments.split)
    problems: list[tuple[str, str]] = []
    out = Output(json=arguments.json)
    with out.steps() as show:
        page, results = explain(
            model, source, arguments.out or arguments.model, clusters=arguments.clusters, limit=arguments.count,
            seed=arguments.seed, problems=problems, progress=show,
        )  # fmt: skip
    said = verdict(results, records_of(arguments.model).signs())
    for sentence in said:
        out.say(sentence)
    rows = [measurement.row() for measurement in results]
    more = {"verdict": said} if arguments.json else {}
    code = out.finish({"page": str(page), **more, "results": rows}, problems)
    out.next(*measuring(arguments.model, model, arguments.collection, len(source.classes)))
    return code
