"""Static cards: what is said of a method without importing it, for `coview methods`, for help, and for typing errors.

A method's file imports torch, which takes seconds; its card is a small JSON file in `cards/`, written from the class by
`python -m coview.methods.describe` and held true by a test. A method without a card is described from its class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coview.methods.recipe import Recipe
from coview.settings import from_dict

FOLDER = Path(__file__).with_name("cards")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A method or a pipeline in words and numbers.

    Attributes:
        title, paper, family, state: as in `contract.About`.
        views, coupling: with the default settings.
        closed_form, labelled: as in `contract.Method`.
        features: the views may be whatever vectors there are (`coview fuse`).
        paints: what it makes of pictures, as in `contract.Method`; "" for nothing.
        about: the first paragraphs of its file.
        recipe: what the published recipe has that is not the default of `Recipe`, as plain data.
        settings: the tree of the default settings: name -> [kind, default, help] of an option, or of a group
            {"about": ..., "options": {...}}.
    """

    title: str
    paper: str
    family: str
    state: str
    views: list[str]
    coupling: str
    closed_form: bool = False
    labelled: bool = False
    features: bool = False
    paints: str = ""
    about: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def published(self) -> Recipe:
        """Return the published recipe."""
        return from_dict(Recipe, self.recipe)


def card_of(slug: str) -> Card:
    """Return the card of a method; raises UsageError where there is no such method."""
    path = FOLDER / f"{slug}.json"
    if path.is_file():
        fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Card(**fields)
    from coview.methods.describe import describe  # imports the method, and torch with it

    return describe(slug)
