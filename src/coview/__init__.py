"""coview: one view of a recording teaches another.

The functions are described in `coview.api`. They are imported when they are first asked for, torch when they need it.
So are the estimators of the correlation family, which speak scikit-learn's names: `CCA(n_components=8).fit(x, y)`, and
`Encoder`, the base of networks from one view to features.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coview.api import (
        compare,
        discover,
        embed,
        evaluate,
        evolve,
        find,
        frozen,
        fuse,
        index,
        list_methods,
        load,
        open,
        paint,
        pretrain,
    )
    from coview.correlation.cca import CCA
    from coview.correlation.cluster import ClusterCCA
    from coview.correlation.kernel import KernelCCA
    from coview.correlation.kernel_features import KernelFeatureCCA
    from coview.correlation.multiset import GCCA, MCCA
    from coview.correlation.robust import RobustCCA
    from coview.encoders.base import Encoder

__all__ = [
    "CCA", "GCCA", "MCCA", "ClusterCCA", "Encoder", "KernelCCA", "KernelFeatureCCA", "RobustCCA", "compare", "discover",
    "embed", "evaluate", "evolve", "find", "frozen", "fuse", "index", "list_methods", "load", "open", "paint",
    "pretrain",
]  # fmt: skip
_ESTIMATORS = {
    "CCA": "cca", "ClusterCCA": "cluster", "GCCA": "multiset", "KernelCCA": "kernel", "MCCA": "multiset",
    "KernelFeatureCCA": "kernel_features", "RobustCCA": "robust",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        return getattr(import_module(f"coview.correlation.{_ESTIMATORS[name]}"), name)
    if name == "Encoder":
        return import_module("coview.encoders.base").Encoder
    if name in __all__:
        return getattr(import_module("coview.api"), name)
    raise AttributeError(f"module 'coview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
