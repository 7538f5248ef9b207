"""`coview label`: propose a label for every recording, from the names of the classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from coview.cli.following import free
from coview.cli.output import Output, cells
from coview.cli.places import check_files, check_models, check_sources
from coview.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coview.search.labels import Said

DESCRIPTION = """Propose a label for every recording: the class whose name lies nearest, as a model that reads words
understands it (one that learnt from captions, or two towers in one space: coview embed --encoder hf:my-clip).

Proposals go into the collection's log of labels (how = zero-shot, with their confidence), where those of people are
kept as well; the collection is not changed. What a person has said, and a label that the collection has, stays: the
table has it, and the proposal beside it. The same command again gives the same; a stopped one goes on.
The table is one that coview index and coview evaluate --labels read.

Names stand between commas, or one on each line of a text file. Confidences are as true as the scale that the model has
learnt: coview evaluate zero-shot --calibrate measures that, and finds a better one for --scale.

Examples:
  coview label --model features --collection my-collection --classes "dog, rain, church bells"
  coview label --model features --collection my-collection --classes names.txt --at-least 0.8 -o my-labels.csv
  coview label --model my-run --collection my-collection --classes "dog, rain" --prompts "a film of {}"
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: Path
    """Run or model folder, or one of embeddings that coview embed --encoder has written."""
    collection: str
    """Collection folder."""
    classes: str
    """Names of the classes between commas, or a text file with one on each line."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Table of all labels, .csv or .parquet; by default a new one, my-labels.csv."""
    view: str | None = None
    """Only this view of the recordings; by default all that share a space with words, averaged."""
    prompts: tuple[str, ...] = ()
    """Sentences with {} in the place of the name, or a text file with one in each line."""
    at_least: float = 0.0
    """Confidence below which no label is proposed."""
    scale: float | None = None
    """Of the cosines, from which confidences are made, instead of the one that the model has learnt."""
    windows: int = 4
    """Evenly spaced cuts of each recording, at most."""
    embeddings: Path | None = None
    """Embeddings of the collection made by coview embed, instead of those kept beside the model."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview label", description=DESCRIPTION, args=argv)
    names = read_names(arguments.classes)
    check_models(arguments.model)
    check_sources(arguments.collection)
    check_files(arguments.embeddings)
    if not 0 <= arguments.at_least <= 1 or (arguments.scale is not None and not 0 < arguments.scale < 1e6):
        raise UsageError("--at-least is a confidence from 0 to 1, and --scale a number above 0")
    from coview.data.collection import Collection
    from coview.evaluation.naming import read_prompts
    from coview.model import Model
    from coview.search.carrying import carry
    from coview.search.label_table import check_form, rows_of, write_labels
    from coview.search.labels import PROPOSED, LabelLog, counted, log_of
    from coview.search.places import embeddings_of
    from coview.search.proposing import propose
    from coview.training.settings import choose_device

    table = arguments.out or Path(free("my-labels.csv"))
    check_form(table)
    prompts, collection = read_prompts(arguments.prompts), Collection.open(arguments.collection)
    out = Output(json=arguments.json)
    model = Model.from_run(arguments.model).to(choose_device(arguments.device))
    with LabelLog(log_of(collection.fingerprint)) as log:  # opened first: it should not fail after hours of embedding
        with out.steps() as show:
            stored = embeddings_of(
                model, arguments.model, arguments.collection, arguments.windows, arguments.embeddings,
                lambda done, total: show("embedding the collection", done, total),
            )  # fmt: skip
        if not set(stored.ids) <= set(collection.ids):  # what lacks every view of the model is in no store
            raise UsageError(f"{stored.folder} holds embeddings of other recordings than {arguments.collection}")
        carried = carry(log, collection)
        proposals, asked = propose(
            model, stored, names, prompts=prompts, view=arguments.view, scale=arguments.scale, least=arguments.at_least
        )
        written = log.propose(proposals)
        current, proposed = log.current(), log.proposed()
    rows = rows_of(collection, current, proposed)
    write_labels(rows, table)
    if carried.labels:
        out.say(f"labels of people that came along from an earlier index of these recordings: {carried.labels}")
    own = [row for row in rows if row["how"] not in (None, PROPOSED)]
    agree = sum(row["label"] == row["proposed"] for row in own)
    if own:
        out.say(f"{len(own)} recordings have a label already, and keep it; {agree} of them were proposed the same")
    if not asked.learnt:
        out.say("the model has learnt no scale for its cosines: confidences rank, but are not shares that are right")
    if not arguments.json:
        show_counts(counted(proposed), proposed)
    result: dict[str, Any] = {
        "labels": str(table), "log": str(log.path), "recordings": len(rows), "proposed": len(proposed),
        "new": written, "kept": len(own), "agree": agree,
    }  # fmt: skip
    if arguments.json:
        result |= {"counts": counted(proposed), "classes": asked.names, "prompts": asked.prompts, "scale": asked.scale}
    code = out.finish(result, [*stored.problems, *(("--classes", reason) for reason in asked.lacking)])
    out.next("coview", "index", table, "-o", free("my-labelled"))
    return code


def read_names(text: str) -> list[str]:
    """Return the names of classes between commas, or on the lines of a file, each once.

    Raises:
        UsageError: there are fewer than two, one is no text in Unicode, or the file cannot be read.
    """
    from coview.data.words import word_of

    given = text.split(",")
    if len(given) == 1 and Path(text).is_file():
        from coview.files import read_text

        given = read_text(Path(text), "names of classes", limit=1 << 22).splitlines()
    try:
        names = list(dict.fromkeys(filter(None, map(word_of, given))))
    except ValueError as error:
        raise UsageError(f"--classes: {error}") from error
    if len(names) < 2:
        raise UsageError(f"--classes {text[:40]!r}: expected two names at least, between commas or in a text file")
    return names


def show_counts(counts: Mapping[str, int], proposed: Mapping[str, Said]) -> None:
    """Print what was proposed, a line for each class, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", title="proposed", title_justify="left")
    for heading in ("class", "recordings", "mean confidence"):
        table.add_column(heading, justify="left" if heading == "class" else "right", no_wrap=True)
    for name, count in counts.items():
        sure = sum(said.confidence or 0.0 for said in proposed.values() if said.label == name) / count
        table.add_row(*cells(name, count, f"{sure:.2f}"))
    Console(highlight=False, soft_wrap=True).print(table)
