"""The kinds of views by their short names; another package adds one by the entry point group "coview.views"."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from coview.errors import SettingsError
from coview.plugins import entry_points

T = TypeVar("T", bound=type[Any])
GROUP = "coview.views"
_KINDS: dict[str, type[Any]] = {}


def register_view(kind: T) -> T:
    """Make a kind of view known by the default of its `stream`; a class decorator.

    Raises:
        ValueError: another kind has that name.
    """
    name = kind.__dataclass_fields__["stream"].default
    if _KINDS.get(name, kind).__qualname__ != kind.__qualname__:
        raise ValueError(f"two kinds of view are called {name!r}: {_KINDS[name].__qualname__}, {kind.__qualname__}")
    _KINDS[name] = kind
    return kind


def kind_of(wanted: type[Any], fields: Mapping[str, Any]) -> type[Any]:
    """Return the class that plain data is read as: `wanted`, or the kind below it that `stream` names.

    Raises:
        SettingsError: no kind has this name. Packages are asked by the name of their entry point alone: nothing that a
            file says is imported.
    """
    if not inspect.isabstract(wanted):
        return wanted
    stream = str(fields.get("stream"))
    if stream not in _KINDS:
        for point in entry_points(group=GROUP, name=stream):
            register_view(point.load())
    kind = _KINDS.get(stream)
    if kind is None or not issubclass(kind, wanted):
        there = sorted({*_KINDS, *(point.name for point in entry_points(group=GROUP))})
        raise SettingsError([f"stream: expected one of {', '.join(there)}, found {stream!r}"])
    return kind
