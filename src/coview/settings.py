"""Settings: plain keyword-only dataclasses, read strictly and written back whole.

A settings file may choose a method or an encoder by its short name only; nothing in it is ever imported or evaluated.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from coview.errors import SettingsError
from coview.files import read_yaml

T = TypeVar("T")

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def to_dict(settings: Any) -> Any:
    """Return nested dataclasses as plain dicts and lists, ready for YAML or JSON."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: to_dict(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(key): to_dict(value) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [to_dict(value) for value in settings]
    return settings


def from_dict(kind: type[T], data: Mapping[str, Any], base: T | None = None) -> T:
    """Build the dataclass `kind` from plain data.

    Args:
        base: has the values that the data do not state, group by group; without it, the dataclasses' defaults.

    Raises:
        SettingsError: listing every unknown name (with the nearest known one), missing name and wrong type at once.
            A `ValueError` of a dataclass's own `__post_init__` is listed in the same way.
    """
    problems: list[str] = []
    value = _build(kind, data, "", problems, base)
    if problems:
        raise SettingsError(problems)
    return typing.cast(T, value)


def load_yaml(kind: type[T], path: Path) -> T:
    """Read the dataclass `kind` from a YAML file; errors as in `from_dict` and `read_yaml`, with the file's name."""
    data = read_yaml(path, "settings")
    try:
        return from_dict(kind, data)
    except SettingsError as error:
        raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from None


def dump_yaml(settings: Any, path: Path) -> None:
    """Write settings as YAML in their declared order."""
    path.write_text(yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True), encoding="utf-8")


def diff(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return one line per leaf that differs, as `name: old -> new`; empty when equal."""
    old, new = to_dict(old), to_dict(new)
    if isinstance(old, dict) and isinstance(new, dict):
        lines: list[str] = []
        for name in [*old, *(name for name in new if name not in old)]:
            lines += diff(old.get(name, "(absent)"), new.get(name, "(absent)"), f"{prefix}.{name}" if prefix else name)
        return lines
    return [] if old == new else [f"{prefix}: {old} -> {new}"]


def _build(kind: Any, data: Any, where: str, problems: list[str], base: Any = None) -> Any:
    if not isinstance(data, Mapping):
        problems.append(f"{where or 'settings'}: expected a group of settings, found {_short(data)}")
        return None
    # A class that stands for several, such as a view, says which one the data mean.
    try:
        kind = getattr(kind, "kind_of", lambda fields: kind)(data)
    except SettingsError as error:
        problems.extend(f"{where}.{problem}" if where else problem for problem in error.problems)
        return None
    for old, new in getattr(kind, "renamed", {}).items():  # files that were written before are read on
        if old in data and new not in data:
            data = {new if name == old else name: value for name, value in data.items()}
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind) if field.init}
    before, values = len(problems), {}
    for name, value in data.items():
        label = f"{where}.{name}" if where else str(name)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            problems.append(f"{label}: unknown setting" + (f"; did you mean {near[0]!r}?" if near else ""))
            continue
        values[name] = _convert(hints[name], value, label, problems, getattr(base, name, None))
    if base is not None:
        values = {name: getattr(base, name) for name in known} | values
    for name, field in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values and name not in data:
            problems.append(f"{where}.{name}: missing" if where else f"{name}: missing")
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(f"{where}: {error}" if where else str(error))
        return None


def _convert(hint: Any, value: Any, where: str, problems: list[str], base: Any = None) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where, problems, base)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where, problems, base if type(base) is hint else None)
    if origin is typing.Literal:
        if not isinstance(value, str | int | float | bool | None) or value not in arguments:
            problems.append(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {_short(value)}")
        return value
    if origin in (tuple, list) and isinstance(value, (list, tuple)):
        fixed = origin is tuple and arguments[-1:] != (Ellipsis,)
        if fixed and len(value) != len(arguments):
            problems.append(f"{where}: expected {len(arguments)} values, found {len(value)}")
            return None
        kinds = arguments if fixed else [arguments[0]] * len(value)
        items = [_convert(k, v, f"{where}[{i}]", problems) for i, (k, v) in enumerate(zip(kinds, value, strict=True))]
        return origin(items)
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _convert(arguments[1], v, f"{where}.{k}", problems) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return float(value)
    if hint is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)  # YAML 1.1 takes 3e-4, without a point, for a word
    if hint is Path and isinstance(value, str):
        return Path(value)
    plain = origin or hint
    if plain is float and isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{where}: expected a finite number, found {value!r}")
        return None
    if plain is Any or (isinstance(value, plain) and (plain is bool or not isinstance(value, bool))):
        return value
    problems.append(f"{where}: expected {getattr(hint, '__name__', hint)}, found {_short(value)}")
    return None


def _convert_union(kinds: tuple[Any, ...], value: Any, where: str, problems: list[str], base: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    complaints: list[list[str]] = []
    for kind in kinds:
        if kind is type(None):
            continue
        tried: list[str] = []
        result = _convert(kind, value, where, tried, base)
        if not tried:
            return result
        complaints.append(tried)
    problems.extend(sorted(complaints, key=len)[0])  # of the kind that came closest
    return None


def _short(value: Any) -> str:
    """Return a value for a message; a file may hold pages of it."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 200 else "a number of many digits"
    return text if len(text) <= 80 else text[:77] + "..."
