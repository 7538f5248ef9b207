"""What is answered about a method from its card, without importing it: the help of its options, and wrong words."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import tyro

from coview.errors import UsageError
from coview.methods.cards import card_of
from coview.training.settings import RunSettings, by_recipe


def published(method: str) -> RunSettings:
    """Return a run with a method's published recipe, as its card says; no collection.

    The method's own settings are a stand-in that has their names, kinds, defaults and help, and nothing else.
    """
    card = card_of(method)
    return by_recipe(method, stand_in(card.settings)(), card.published())


def stand_in(group: Mapping[str, Any]) -> type[Any]:
    """Return a dataclass with the options of a card's group."""
    fields: list[Any] = []
    for name, entry in group["options"].items():
        if isinstance(entry, dict):
            inner = stand_in(entry)
            fields.append((name, inner, dataclasses.field(default_factory=inner)))
            continue
        kind, default, said = entry
        if isinstance(default, bool):
            fields.append((name, Annotated[bool, tyro.conf.arg(help=said)], dataclasses.field(default=default)))
            continue
        said = tyro.conf.arg(metavar=kind, help=said, help_behavior_hint=f"(default: {default})")
        fields.append((name, Annotated[str, said], dataclasses.field(default=default)))
    return dataclasses.make_dataclass("Group", fields, namespace={"__doc__": group["about"]}, frozen=True, kw_only=True)


def check_words(command: str, words: Sequence[str], known: Iterable[str], but: str | None = None) -> None:
    """Refuse an option that is none, before anything is imported to find that out.

    Args:
        command: for the message.
        known: names of options, without hyphens before them, as in settings.yaml.
        but: options that begin with this are not looked at.

    Raises:
        UsageError: all words that are none, each with the nearest option.
    """
    names, wrong = [name.replace("_", "-") for name in known], []
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("_", "-")
        if not word.startswith("--") or name in ("", "help") or (but and name.startswith(but)):
            continue
        group, _, last = name.rpartition(".")
        positive = f"{group}.{last.removeprefix('no-')}" if group else last.removeprefix("no-")
        if name not in names and positive not in names:
            near = difflib.get_close_matches(name, names, n=1)
            wrong.append(f"there is no option --{name}" + (f"; did you mean --{near[0]}?" if near else ""))
    if wrong:
        raise UsageError("\n".join([*wrong, f"({command} --help lists all options)"]))
