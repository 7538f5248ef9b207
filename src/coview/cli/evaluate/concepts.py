"""`coview evaluate concepts`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, few_labels, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result
    from coview.evaluation.concepts import Split

DESCRIPTION = """Probe the classes whose concepts pretraining has seen, and the unseen ones; corrected for chance.

The split comes from one of: --published (AV-SSRL's for UCF-101 and HMDB-51 after VGGSound), --seen (a list), or the
names of the pretraining classes (--pretraining: a stored list such as vggsound, or a text file, one name a line),
compared by sentence encoders: MiniLM (extra "text"), and any further sentence-transformers folder. Features and the
figures of each probe are kept under evaluations/: a stopped call goes on where it was.

Examples:
  coview evaluate concepts --model my-run --collection ucf101 --folds 1 --published ucf101 --controls
  coview evaluate concepts --model my-run --collection ucf101 --folds 1 --pretraining vggsound
  coview evaluate concepts --model my-run --collection digits-av:A --seen 0 1 2 3 4 --ratio 0.2
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    published: str | None = None
    """Data set whose published split is used: ucf101 or hmdb51."""
    seen: tuple[str, ...] = ()
    """Classes on the seen side."""
    pretraining: str | None = None
    """Names of the pretraining classes: a stored list (vggsound, audioset, kinetics400) or a text file."""
    encoders: tuple[Path, ...] = ()
    """Folders of further sentence encoders; a class is seen where all agree."""
    threshold: float = 0.47
    """Least similarity of a pretraining class to its nearest target class, by MiniLM."""
    outliers: tuple[str, ...] = ()
    """Target classes that are never seen, whatever their names say."""
    ratio: float | None = None
    """Use this share of each class's training recordings alone, drawn as by few-shot."""
    shots: int | None = None
    """Use this number of each class's training recordings alone."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "concepts", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.concepts import concepts

        budget = few_labels(arguments.ratio, arguments.shots)
        with case.bench() as bench:
            folder = arguments.model[0] / "evaluations" / "concepts" / case.label
            concepts(bench, _split(arguments, list(bench.test.classes)), folder, budget)
        return bench.result

    return run_models(arguments, ["concepts", *argv], measure)


def _split(arguments: Arguments, classes: list[str]) -> Split:
    from coview.encoders.text import minilm_folder
    from coview.errors import UsageError
    from coview.evaluation.concepts import class_list, listed_split, published_split, split_by_names
    from coview.evaluation.sentences import sentence_encoder

    given = [bool(arguments.published), bool(arguments.seen), bool(arguments.pretraining)]
    if sum(given) != 1:
        raise UsageError("say where the split comes from, by one of --published, --seen and --pretraining")
    if arguments.published:
        return published_split(arguments.published, classes)
    if arguments.seen:
        return listed_split(arguments.seen, classes)
    path = Path(str(arguments.pretraining))
    names = path.read_text(encoding="utf-8").split("\n") if path.is_file() else class_list(str(path))["classes"]
    encoders = [sentence_encoder(folder) for folder in (minilm_folder(), *arguments.encoders)]
    return split_by_names(
        [name for name in names if name.strip()], classes, encoders,
        threshold=arguments.threshold, outliers=arguments.outliers,
    )  # fmt: skip
