"""coview: one view of a recording teaches another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from coview.model import Model


def load(path: Path | str) -> Model:
    """Read a model from its folder or from a run's folder; see `coview.model.Model`.

    Raises:
        UsageError: there is no model, or its files do not fit each other.
    """
    from coview.model import Model  # torch takes seconds to import, and `import coview` should not

    return Model.from_run(path)


__all__ = ["load"]
