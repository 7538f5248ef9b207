"""The Python surface: the verbs of the command line as functions. `import coview` offers them all.

Two names differ from the command line's, because `coview.search` and `coview.methods` are packages, and importing one
of their files would put the package in the place of a function: `find` searches, `list_methods` lists the methods.

Nothing heavy is imported before a function is called. Errors are `coview.errors.CoviewError`; each says what to do.
"""

from __future__ import annotations

from coview.api.data import index, list_methods, open
from coview.api.learn import compare, discover, evolve, fuse, pretrain
from coview.api.use import embed, evaluate, find, frozen, load, paint

__all__ = [
    "compare", "discover", "embed", "evaluate", "evolve", "find", "frozen", "fuse", "index", "list_methods", "load",
    "open", "paint", "pretrain",
]  # fmt: skip
