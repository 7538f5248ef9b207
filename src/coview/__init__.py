"""coview: one view of a recording teaches another.

The functions are described in `coview.api`. They are imported when they are first asked for, torch when they need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coview.api import compare, discover, embed, evaluate, find, fuse, index, list_methods, load, open, pretrain

__all__ = [
    "compare",
    "discover",
    "embed",
    "evaluate",
    "find",
    "fuse",
    "index",
    "list_methods",
    "load",
    "open",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("coview.api"), name)
    raise AttributeError(f"module 'coview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
