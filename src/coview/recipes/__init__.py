"""Published configurations as functions that return complete settings; one file per system.

A recipe is called by a short name, `system.configuration`, which is looked up here and nowhere else.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.evaluation.fine_tune import FineTune
    from coview.training.settings import RunSettings

# Pretraining and baselines: name -> function of nothing that returns `RunSettings` without a collection.
RUNS: dict[str, str] = {
    "av_ssrl.xid": "coview.recipes.av_ssrl:xid",
    "av_ssrl.vicreg": "coview.recipes.av_ssrl:vicreg",
    "av_ssrl.vicreg_video": "coview.recipes.av_ssrl:vicreg_video",
    "av_ssrl.supervised": "coview.recipes.av_ssrl:supervised",
}
# Evaluations: name -> function of nothing that returns `FineTune`.
EVALUATIONS: dict[str, str] = {
    "av_ssrl.ucf_linear": "coview.recipes.av_ssrl:ucf_linear",
    "av_ssrl.hmdb_linear": "coview.recipes.av_ssrl:hmdb_linear",
    "av_ssrl.ucf_fine_tune": "coview.recipes.av_ssrl:ucf_fine_tune",
    "av_ssrl.hmdb_fine_tune": "coview.recipes.av_ssrl:hmdb_fine_tune",
    "av_ssrl.ucf_random": "coview.recipes.av_ssrl:ucf_random",
    "av_ssrl.hmdb_random": "coview.recipes.av_ssrl:hmdb_random",
}


def run_recipe(name: str) -> RunSettings:
    """Return the settings of a run; raises UsageError with the nearest name where there is none."""
    return cast("RunSettings", _load(name, RUNS)())


def evaluation_recipe(name: str) -> FineTune:
    """Return the settings of an evaluation; raises UsageError with the nearest name where there is none."""
    return cast("FineTune", _load(name, EVALUATIONS)())


def _load(name: str, known: dict[str, str]) -> Callable[[], object]:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown recipe {name!r}{hint} Known here: {', '.join(known)}")
    module, _, function = known[name].partition(":")
    return cast(Callable[[], object], getattr(importlib.import_module(module), function))
