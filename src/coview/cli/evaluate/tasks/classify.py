"""`coview evaluate image-transfer --task classify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Train a classifier of pictures that may be of several classes, from the model's encoder: mean average
precision.

As on VOC2007 (Krähenbühl et al. 2016): a sigmoid for each class, unclear marks left out, the scores of ten random crops
added up. A collection of one label for each picture will do too. --rescale measures with rescaled layers as well. A
stopped call goes on.

Examples:
  coview evaluate image-transfer --task classify --model my-run --collection voc2007 --controls --rescale
  coview evaluate image-transfer --task classify --model my-run --collection voc2007 --train-from conv3 --epochs 60
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    view: str = "image"
    """View whose encoder is trained."""
    epochs: int = 255
    """Epochs; the rate is halved at every eighth of them."""
    lr: float = 1e-3
    """Rate of SGD."""
    weight_decay: float = 1e-6
    """Of the weights."""
    train_batch: int = 16
    """Pictures in an optimiser step, all processes together."""
    dropout: float = 0.5
    """On the features."""
    frozen: bool = False
    """Only the linear layer learns."""
    head_from: str | None = None
    """Stage whose mean the linear layer reads, instead of the features."""
    train_from: str | None = None
    """First stage that learns; those below stay as they are."""
    reinit_from: str | None = None
    """First stage that starts from new weights."""
    rescale: bool = False
    """Measure with rescaled layers too: batch normalisation absorbed, and all layers balanced to learn at one rate."""
    workers: int | Literal["auto"] = "auto"
    """Readers per process; auto: as many as there are cores where media are decoded, else none."""
    out: Path | None = None
    """Folder of the runs, instead of evaluations/image-transfer/ in the model's."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task classify", DESCRIPTION, argv)
    words = ["image-transfer", "--task", "classify", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-classify", trains=True)


def _measure(case: Case) -> Result:
    from dataclasses import replace

    from coview.data.views import raw_views
    from coview.errors import SettingsError
    from coview.evaluation.bench import describe, weights_of
    from coview.evaluation.fine_tune import views_of
    from coview.evaluation.fine_tune_marks import VOC2007, fine_tune_marks
    from coview.evaluation.resume import digest
    from coview.evaluation.several_labels import marks_of

    asked: Any = case.arguments
    same = ("view", "epochs", "lr", "weight_decay", "dropout", "frozen", "head_from", "train_from", "reinit_from")
    try:
        how = replace(
            VOC2007,
            **{name: getattr(asked, name) for name in same},
            batch_size=asked.train_batch,
            workers=asked.workers,
            seed=case.seed,
        )
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    train, test = case.sources(raw_views(views_of(case.model, how)))
    fit = marks_of(asked.collection, train)
    marks = fit, marks_of(asked.test_collection or asked.collection, test, fit.classes)
    folder = asked.out or asked.model[0] / "evaluations" / "image-transfer"
    of = digest({**weights_of(case.model), "train": describe(train)})
    results = []
    for again in (False, True) if asked.rescale else (False,):
        out = folder / f"classify{'-rescaled' * again}-{case.label}-{of}"
        results.append(
            fine_tune_marks(
                case.model, train, test, marks, out, replace(how, rescale=again), name=case.name,
                progress=case.progress, quiet=asked.json,
            )
        )  # fmt: skip
    for other in results[1:]:
        results[0].add(other)
    return results[0]
