"""`coview evaluate base-novel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Say how well classes are named that a model learnt from (base), and classes that it did not (novel).

A class is found by the vector of its name: of the words, where the model reads them, else of a view of stored texts
(--text). Measured are the accuracy of base and of novel recordings and the harmonic mean of both, among the classes of
their kind, and among all classes ("_all").

Examples:
  coview evaluate base-novel --model my-run --collection my-collection --novel owl rain "steam engine"
  coview evaluate base-novel --model my-run --collection video=V,audio=A,text=T@my-collection --novel owl rain
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    novel: tuple[str, ...]
    """Names of the classes that the model did not learn from."""
    text: str = "text"
    """The view of stored texts, where the model reads no words."""
    without_alike: bool = False
    """Leave out novel classes whose name is like that of a base class."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "base-novel", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.base_novel import base_novel

        with case.bench() as bench:
            base_novel(bench, arguments.novel, text=arguments.text, without_alike=arguments.without_alike)
        return bench.result

    return run_models(arguments, ["base-novel", *argv], measure)
