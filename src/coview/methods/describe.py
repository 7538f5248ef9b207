"""Writes the cards of methods and pipelines from their classes: `python -m coview.methods.describe [NAME ...]`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
import tokenize
import types
import typing
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from coview.files import write_aside
from coview.methods import METHODS, PIPELINES, build, load_method, load_pipeline
from coview.methods.cards import FOLDER, Card
from coview.methods.contract import Facts
from coview.methods.recipe import Recipe
from coview.settings import to_dict

_NAMES = {int: "INT", float: "FLOAT", str: "STR", bool: "BOOL", Path: "PATH", Any: "STR", type(None): "{None}"}


def describe(slug: str) -> Card:
    """Return the card of a method or pipeline, from its class; raises UsageError where there is none of this name."""
    if slug in PIPELINES:
        return _of_pipeline(slug)
    kind = load_method(slug)
    method = build(slug, kind.Settings.tiny(), Facts(rows=16, classes=2))
    about, plain = kind.about, to_dict(Recipe())
    return Card(
        title=about.title,
        paper=about.paper,
        family=about.family,
        state=about.state,
        views=list(method.views),
        coupling=method.coupling,
        closed_form=kind.closed_form,
        labelled=kind.labelled,
        features=bool(getattr(kind.Settings, "any_features", False)),
        paints=kind.paints or "",
        about=inspect.cleandoc(sys.modules[kind.__module__].__doc__ or ""),
        recipe=_differences(plain, to_dict(kind.recipe())),
        settings=_group(kind.Settings()),
    )


def _of_pipeline(slug: str) -> Card:
    kind = load_pipeline(slug)
    about = kind.about
    return Card(
        title=about.title,
        paper=about.paper,
        family=about.family,
        state=about.state,
        views=list(kind.views),
        coupling="none",
        about=inspect.cleandoc(sys.modules[kind.__module__].__doc__ or ""),
        settings=_group(kind.Settings()),
    )


def as_text(card: Card) -> str:
    """Return a card as its file holds it."""
    return json.dumps(dataclasses.asdict(card), indent=1, ensure_ascii=False) + "\n"


def _differences(plain: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `own` says otherwise than `plain`, group by group."""
    found = {}
    for name, value in own.items():
        if isinstance(value, dict) and isinstance(plain[name], dict):
            if inner := _differences(plain[name], value):
                found[name] = inner
        elif value != plain[name]:
            found[name] = value
    return found


def _group(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as a group of a card."""
    helps, hints = helps_of(type(settings)), typing.get_type_hints(type(settings))
    options = {
        item.name: _entry(getattr(settings, item.name), hints[item.name], helps.get(item.name, ""))
        for item in dataclasses.fields(settings)
        if item.init and _is_option(getattr(settings, item.name), hints[item.name])
    }
    return {"about": inspect.cleandoc(type(settings).__doc__ or ""), "options": options}


def _is_option(value: Any, hint: Any) -> bool:
    """Tell whether the command line has it: a group that is off, or a free mapping, is for settings files."""
    kinds = [hint, *typing.get_args(hint)]
    return (
        dataclasses.is_dataclass(value)
        or not any(dataclasses.is_dataclass(k) or k is Any for k in kinds)
        or (isinstance(value, dict) and any(map(dataclasses.is_dataclass, value.values())))
    )


def _entry(value: Any, hint: Any, said: str) -> Any:
    if dataclasses.is_dataclass(value):
        return _group(value)
    if isinstance(value, dict) and any(map(dataclasses.is_dataclass, value.values())):
        return {"about": said, "options": {name: _group(inner) for name, inner in value.items()}}
    if (
        isinstance(value, dict) and value
    ):  # named numbers are options of their own; where there are none, pairs are typed
        kind = kind_of(typing.get_args(hint)[1])
        return {"about": said, "options": {name: [kind, _shown(inner), said] for name, inner in value.items()}}
    return [kind_of(hint), value if isinstance(value, bool) else _shown(value), said]


def _shown(value: Any) -> str:
    """Return a default as it is typed: the values of a tuple or of a dict one after the other."""
    parts = value.items() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else None
    return str(value) if parts is None else " ".join(map(_shown, parts))


def kind_of(hint: Any) -> str:
    """Return what an option takes, as help shows it: INT, {a,b}, FLOAT FLOAT, [INT [INT ...]], {None}|PATH."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin in (typing.Union, types.UnionType):
        kinds = [kind_of(one) for one in sorted(arguments, key=lambda one: one is not type(None))]
        listed = all(kind.startswith("{") and " " not in kind for kind in kinds)
        return "{" + ",".join(kind[1:-1] for kind in kinds) + "}" if listed else "|".join(map(_braced, kinds))
    if origin in (tuple, list, dict):
        kinds = [kind_of(one) for one in arguments if one is not Ellipsis]
        one = " ".join(kinds)
        return f"[{one} [{one} ...]]" if origin is not tuple or arguments[-1:] == (Ellipsis,) else one
    return _NAMES.get(hint, "STR")


def _braced(kind: str) -> str:
    return f"{{{kind}}}" if " " in kind and not kind.startswith(("{", "[")) else kind


def helps_of(kind: type[Any]) -> dict[str, str]:
    """Return field -> its help: the string below it, the comment behind it, or the comments above it.

    As tyro reads them; a field that a subclass declares again without a word keeps that of the class above.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base) and isinstance(base, type):
            found |= {name: text for name, text in _helps_in(base).items() if text or name not in found}
    return found


def _helps_in(kind: type[Any]) -> dict[str, str]:
    try:
        source = inspect.cleandoc("\n" + inspect.getsource(kind))
    except (OSError, TypeError):  # a class made at run time
        return {}
    lines, comments = source.splitlines(), _comments(source)
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = node.lineno - 1
        while above in comments and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        below = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
        behind = comments.get(node.end_lineno or node.lineno)
        found[node.target.id] = (
            " ".join(below.split())
            if isinstance(below, str)
            else behind or " ".join(comments[line] for line in range(above + 1, node.lineno))
        )
    return found


def _comments(source: str) -> dict[int, str]:
    """Return line -> the comment on it."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def main(slugs: Sequence[str]) -> int:
    """Write the cards of the named methods, of all without a name; returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    for slug in slugs or [*METHODS, *PIPELINES]:
        write_aside(FOLDER / f"{slug}.json", as_text(describe(slug)))
        print(FOLDER / f"{slug}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
