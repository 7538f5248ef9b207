"""`coview evaluate analysis --task ensemble`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from coview.cli.evaluate.common import Case, Models, parts, read, run_models
from coview.cli.places import check_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Bench, Result
    from coview.model import Model

DESCRIPTION = """Measure what a second model knows of the classes that the first does not, both frozen.

A linear support vector machine for each class on the features of each model: mean average precision of the model
(base), of the second (member), of the mean of their probabilities, and of machines fitted on both models' features
side by side (joined); the gain of both over the base, with its interval; how alike the two models' errors are.
--controls does the same with random weights of both, and with the classes of other recordings (permuted). Several
--model are seeds of one setting, and need as many --with.

Examples:
  coview evaluate analysis --task ensemble --model my-run --with another-run --collection my-pictures --controls
  coview evaluate analysis --task ensemble --model a-0 a-1 a-2 --with b-0 b-1 b-2 --collection my-films --view video
    --with-view image
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    second: Annotated[tuple[Path, ...], tyro.conf.arg(name="with")] = ()
    """Run or model folders of the second model, one for each --model."""
    view: str | None = None
    """View of the model whose features are used; by default the first that both models have."""
    with_view: str | None = None
    """View of the second model; by default that of the first."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    from coview.errors import UsageError

    arguments = read(Arguments, "analysis --task ensemble", DESCRIPTION, argv)
    if len(arguments.second) != max(len(arguments.model), 1):
        raise UsageError(
            f"--with names a second model for each --model, found {len(arguments.second)} for {len(arguments.model)}"
        )
    check_models(*arguments.second)
    words = ["analysis", "--task", "ensemble", *argv]
    return run_models(arguments, words, _measure, kept="analysis-ensemble")


def _measure(case: Case) -> Result:
    from coview.evaluation.ensemble import ensemble, permuted
    from coview.evaluation.runs import judge, records_of
    from coview.evaluation.several_labels import marks_of
    from coview.evaluation.verdict import is_control

    asked: Any = case.arguments
    own = not is_control(case.name)
    with case.bench() as base, _beside(case) as member:
        assert base.train is not None
        view, other = _views(base.model, member.model, asked.view, asked.with_view)
        fit = marks_of(asked.collection, base.train)
        held = marks_of(asked.test_collection or asked.collection, base.test, fit.classes)
        ensemble(base, view, member, other, fit, held, case.name)
        if own and asked.controls:
            ensemble(base, view, member, other, permuted(fit, case.seed), held, "permuted")
            base.result.notes.append("permuted: the same training, each recording with the classes of another")
    base.result.report(member.result.problems)
    base.result.weights["with"] = member.result.weights[case.name]
    if own:
        path = asked.second[case.number]
        judge(base.result, records_of(path), base.test, member.model.needed, str(path))
    return base.result


def _beside(case: Case) -> Bench:
    """Return the bench of the second model on the same parts; beside random weights, it has random ones too."""
    from coview.evaluation.bench import Bench
    from coview.evaluation.controls import random_weights
    from coview.model import Model

    asked: Any = case.arguments
    model = Model.from_run(asked.second[case.number]).to(case.model.device)
    train, test = parts(asked, model.needed, case.fold)
    if case.name == "random":  # another draw than that of any first model
        seed = asked.seed + len(asked.model) + case.number
        model = random_weights(model, train, seed=seed, batch_size=asked.batch_size)
    return Bench(
        model, train, test, name=case.name, seed=case.seed, windows=asked.windows, batch_size=asked.batch_size,
        folder=asked.model[0] / "evaluations" / "features", progress=case.progress,
    )  # fmt: skip


def _views(model: Model, second: Model, view: str | None, other: str | None) -> tuple[str, str]:
    """Return the view of each model.

    Raises:
        UsageError: a model has no such view, or the two have none in common and none was named.
    """
    from coview.errors import UsageError

    known, beside = model.distinct_views(), second.distinct_views()
    both = [name for name in known if name in beside]
    view = view or next(iter(both), None)
    other = other or view
    if view in known and other in beside:
        return str(view), str(other)
    raise UsageError(
        f"name views that the models have, by --view and --with-view: the first has {', '.join(known)}, "
        f"the second {', '.join(beside)}"
    )
