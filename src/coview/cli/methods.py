"""`coview methods`: which methods there are, a line each; and all about one of them."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from dataclasses import dataclass
from typing import Any

import tyro

from coview.cli.following import collection_here, training
from coview.cli.output import Output
from coview.errors import UsageError, shown
from coview.files import read_json
from coview.methods import FIRST, PIPELINES, listed, place_of
from coview.methods.cards import Card, card_of

DESCRIPTION = """List the methods, a line each, or tell all about one of them.

Examples:
  coview methods
  coview methods xid
  coview methods --json
"""
# The groups in the order in which they are shown; a family that is not named here comes last, under its own name.
FAMILIES = {
    "instance": "which sound belongs to which picture (instance discrimination)",
    "clustering": "groups that are found, then predicted (clustering)",
    "correspondence": "do these two belong together? (correspondence)",
    "correlation": "views that vary together (correlation)",
    "fusion": "on networks that were trained before: taught by them, or one for all of them (fusion)",
    "tasks": "many tasks at once, of several views (tasks)",
    "words": "the words of captions teach pictures (words)",
    "context": "what lies where (context)",
    "time": "how things move and change (time)",
    "prediction": "one part of a picture predicts another (prediction)",
    "motion": "what comes next, and what moves (motion)",
    "reconstruction": "what is missing is filled in (reconstruction)",
    "discovery": "things that are found in pictures, by stages and without a model (discovery)",
    "protocol": "learnt from labels, to compare with",
}
_WHERE = {
    "discover": "--collection my-collection -o found",
    "fuse": "picture=EMBEDDINGS sound=EMBEDDINGS -o fused",
    "pretrain": "--collection my-collection -o my-run",
}
START = "\n".join(
    [
        "Start here:",
        *(f"  {f'coview pretrain {words[0]}':<40} {what}" for what, words in FIRST.items()),
        f"  {'coview fuse cca':<40} features that you have already",
        f"  {'coview methods NAME':<40} all about one method",
    ]
)


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    name: tyro.conf.Positional[str | None] = None
    """A method to tell all about."""
    json: bool = False
    """Print the list, or all about the method, as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview methods", description=DESCRIPTION, args=argv)
    out = Output(json=arguments.json)
    if arguments.name is not None:
        place_of(arguments.name)
        card = card_of(arguments.name)
        if arguments.json:
            out.result({"name": arguments.name, **dataclasses.asdict(card)})
        else:
            print(shown(details(arguments.name, card), lines=True))
            out.next("coview", verb_of(arguments.name, card), arguments.name, "--help")
    elif arguments.json:
        out.result({"methods": describe()})
    else:
        print(shown(listing(shutil.get_terminal_size().columns), lines=True))
        out.next(*following())
    return 0


def describe() -> list[dict[str, Any]]:
    """Return a row per method, for machines; views and coupling are those of its smallest settings."""
    names = ("title", "paper", "family", "views", "coupling", "state")
    cards = {slug: card_of(slug) for slug in sorted(listed())}
    return [{"name": slug, **{name: getattr(card, name) for name in names}} for slug, card in cards.items()]


def listing(columns: int) -> str:
    """Return the methods in groups, no line longer than `columns`."""
    cards = {slug: card_of(slug) for slug in sorted(listed())}
    width = max(map(len, cards)) + 2
    lines = START.splitlines()
    for family in [*FAMILIES, *sorted({card.family for card in cards.values()} - FAMILIES.keys())]:
        lines += ["", f"{FAMILIES.get(family, family)}:"]
        for slug, card in cards.items():
            if card.family == family:
                lines.append(f"  {slug:<{width}}{_short(slug, card.title, columns - width - 3)}")
    return "\n".join(textwrap.shorten(line, columns, placeholder="...") if line[:1] != " " else line for line in lines)


def _short(slug: str, title: str, columns: int) -> str:
    """Return a title that does not begin with the name it stands behind, cut where the line ends."""
    first, colon, rest = title.partition(": ")
    text = rest if colon and first.lower().replace(" ", "-") == slug else title
    return textwrap.shorten(text, max(columns, 12), placeholder="...")


def details(slug: str, card: Card) -> str:
    """Return all about one method."""
    recipe = card.published()
    optimiser = recipe.optimiser
    facts = {
        "paper": card.paper,
        "family": card.family,
        "views": ", ".join(card.views) + (" (or any others)" if card.features else ""),
        "labels": "needed" if card.labelled else "not used",
        "coupling": card.coupling + "  (how the loss ties samples across processes)",
        "state": card.state,
        "recipe": f"{recipe.epochs} epochs, batches of {recipe.batch_size}, {optimiser.kind} at {optimiser.lr:g}",
    }
    if card.paints:
        facts["paints"] = f"{card.paints} (coview paint)"
    if card.closed_form:
        facts["recipe"] = "solved at once"
    if slug in PIPELINES:
        facts["recipe"] = "none: stages, each done once"
    head = [f"{slug}: {card.title}", ""] + [f"{name + ':':<10}{text}" for name, text in facts.items()]
    verb = verb_of(slug, card)
    return "\n".join([*head, "", card.about, "", f"Use: coview {verb} {slug} {_WHERE[verb]}"])


def verb_of(slug: str, card: Card) -> str:
    """Return the verb that runs a method: `fuse` where it brings together features that are there already."""
    return "discover" if slug in PIPELINES else "fuse" if card.features else "pretrain"


def following() -> list[object]:
    """Return the command that learns from the collection that lies here; of none, what tells all about one method."""
    collection = collection_here()
    try:
        if collection is not None:
            counts = read_json(collection / "collection.json", "a collection")["counts"]
            if counts["recordings"] > 1:
                return training(counts, collection)
    except (UsageError, KeyError, TypeError):  # a damaged card, or a file of another program: not what was asked for
        pass
    return ["coview", "methods", next(iter(FIRST.values()))[0]]
