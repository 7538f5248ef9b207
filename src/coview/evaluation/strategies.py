"""Protocol image-transfer, the four ways in which another task can use what a model has learnt.

- init: the encoder's weights are where training starts, and everything learns;
- freeze: only the new linear layer learns, statistics of normalisation included in what does not;
- augment: a new encoder learns, and the given one's features, frozen, stand beside its own;
- joint: the given encoder learns the new task and goes on with the old one, L = L_new + weight L_old, on one trunk.

Every one of them begins with the same linear layer, normal of deviation 0.01. Layers that were pretrained at very
different rates hold fine-tuning back (Krähenbühl et al., ICLR 2016, arXiv 1511.06856): `rescale` measures each strategy
with and without rescaling.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from coview.data.source import Source
from coview.data.views import ViewSpec
from coview.evaluation.bench import Progress, Result
from coview.evaluation.fine_tune import FineTune, fine_tune, views_of

if TYPE_CHECKING:
    from coview.model import Model

Strategy = Literal["init", "freeze", "augment", "joint"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
HEAD = 0.01  # deviation of the new layer's first weights


def strategy_of(how: FineTune, strategy: Strategy, weight: float = 1.0) -> FineTune:
    """Return how a strategy trains; `weight` is that of the old loss in "joint", where 0 is "init" itself.

    In "augment" a whole new encoder learns, and the given one is whole: no stages are chosen.
    """
    how = dataclasses.replace(how, head_scale=HEAD, frozen=False, beside=False, joint=0.0)
    if strategy == "joint":
        return dataclasses.replace(how, joint=weight)
    if strategy == "augment":
        return dataclasses.replace(how, beside=True, train_from=None, reinit_from=None)
    return dataclasses.replace(how, frozen=strategy == "freeze")


def wanted_views(model: Model, strategies: Sequence[Strategy], how: FineTune) -> Mapping[str, ViewSpec]:
    """Return what the training and the test part must be cut into for all of some strategies."""
    views: dict[str, ViewSpec] = {}
    for strategy in strategies:
        views |= views_of(model, strategy_of(how, strategy))
    return views


def transfer(
    model: Model,
    train: Source,
    test: Source,
    out: Path,
    how: FineTune,
    strategies: Sequence[Strategy] = STRATEGIES,
    *,
    name: str,
    weight: float = 1.0,
    rescale: bool = False,
    progress: Progress = lambda what, done, total: None,
    quiet: bool = True,
) -> Result:
    """Train a classifier by each strategy and test it; continues where an earlier call was stopped.

    Figures: "<view>_<strategy>/<name>", and with `rescale` also "<view>_<strategy>_rescaled/<name>" of init, freeze and
    joint: an encoder that learns beside another begins anew.

    Args:
        model: stays as it is.
        train, test: cut into `wanted_views`.
        out: a folder, in which each strategy has one.
        weight: of the old loss in "joint".

    Raises:
        UsageError: the sources cannot be classified, the encoder cannot be rescaled, or `out` holds other runs.
    """
    result = Result([], [], {})
    for strategy in dict.fromkeys(strategies):
        for again in (False, True) if rescale and strategy != "augment" else (False,):
            what = f"{how.view}_{strategy}" + ("_rescaled" if again else "")
            mine = dataclasses.replace(strategy_of(how, strategy, weight), rescale=again)
            found = fine_tune(
                model, train, test, out / what, mine, name=name, what=what, progress=progress, quiet=quiet
            )
            result.results += found.results
            result.choices |= found.choices
            result.weights |= found.weights
            result.report(found.problems)
    return result
