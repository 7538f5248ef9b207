"""`coview evaluate image-transfer --task probe`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Fit a linear classifier on every stage of a frozen encoder, all of them at once, by gradient.

Maps are brought to about 9,600 numbers, by bilinear resizing (Zhang et al. 2017) or by means (Goyal et al. 2019), and
normalised without scale and shift. Training sees random crops, the test the middle. --rescale measures with rescaled
layers as well. A stopped call goes on.

Examples:
  coview evaluate image-transfer --task probe --model my-run --collection my-pictures --controls
  coview evaluate image-transfer --task probe --model my-run --collection imagenet --form average --size 227
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    view: str = "image"
    """View whose encoder is probed."""
    stages: tuple[str, ...] = ()
    """Which stages; all by default."""
    form: Literal["bilinear", "average"] = "bilinear"
    """How maps are made smaller."""
    numbers: int = 9600
    """Numbers of a stage, at most."""
    size: int | None = None
    """Another side of the picture in pixels than in pretraining."""
    rescale: bool = False
    """Measure with rescaled layers too: batch normalisation absorbed, and all layers balanced to learn at one rate."""
    epochs: int = 28
    """Epochs; the rate falls to a tenth at 2, 4 and 6 sevenths of them."""
    lr: float = 0.01
    """Rate of SGD."""
    weight_decay: float = 5e-4
    """Of the weights."""
    train_batch: int = 256
    """Pictures in an optimiser step, all processes together."""
    workers: int | Literal["auto"] = "auto"
    """Readers per process; auto: as many as there are cores where media are decoded, else none."""
    out: Path | None = None
    """Folder of the runs, instead of evaluations/image-transfer/ in the model's."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task probe", DESCRIPTION, argv)
    words = ["image-transfer", "--task", "probe", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-probe", trains=True)


def _measure(case: Case) -> Result:
    from coview.errors import SettingsError
    from coview.evaluation.bench import describe, weights_of
    from coview.evaluation.resume import digest
    from coview.evaluation.stage_probes import Probing, probed_views, stage_probes

    asked: Any = case.arguments
    same = ("view", "stages", "form", "numbers", "epochs", "lr", "weight_decay", "workers")
    try:
        how = Probing(**{name: getattr(asked, name) for name in same}, batch_size=asked.train_batch, seed=case.seed)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    how = replace(how, changes={} if asked.size is None else {"size": asked.size})
    train, test = case.sources(probed_views(case.model, how))
    folder = asked.out or asked.model[0] / "evaluations" / "image-transfer"
    of = digest({**weights_of(case.model), "train": describe(train), "stages": how.stages, "size": asked.size})
    results = []
    for again in (False, True) if asked.rescale else (False,):
        out = folder / f"probe-{how.form}{'-rescaled' * again}-{case.label}-{of}"
        results.append(
            stage_probes(
                case.model, train, test, out, replace(how, rescale=again), name=case.name,
                progress=case.progress, quiet=asked.json,
            )
        )  # fmt: skip
    for other in results[1:]:
        results[0].add(other)
    return results[0]
