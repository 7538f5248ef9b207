"""Protocol image-transfer, classification of pictures of several classes by fine-tuning, as on VOC2007.

Krähenbühl, Doersch, Donahue & Darrell, ICLR 2016 (arXiv 1511.06856), and their released code: a sigmoid for each class,
unclear marks left out, SGD with momentum 0.9 at 1e-3, halved at every eighth of the run, batch 16, decay 1e-6,
gradients cut at norm 10, biases at twice the rate; a new layer N(0, 0.01) with bias 0.1. A picture's score is the sum
over ten random crops, drawn as in training, which are not the ten crops of ImageNet.

Here a crop takes between a fifth and all of the picture; released, a square of 227 pixels of a picture scaled by 0.5 to
2, which is padded where it is smaller. Reported are "11-point", VOC2007's own, and "step", scikit-learn's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview import parallel
from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.source import Source, cropped, sample_keys
from coview.data.views import Batch
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition
from coview.evaluation.bench import Progress, Result, describe, leaks, weights_of
from coview.evaluation.fine_tune import FineTune, learn
from coview.evaluation.several_labels import Marks, mean_precision, with_marks
from coview.settings import to_dict

if TYPE_CHECKING:
    from coview.model import Model

CROPS = 10
DEFINITIONS: tuple[Definition, ...] = ("11-point", "step")
CROPPED = replace(PRESETS["none"], crop_area=(0.2, 1.0), crop_ratio=(1.0, 1.0), flip=0.5)
VOC2007 = FineTune(
    view="image",
    epochs=255,  # 80,000 steps of 16 on 5,011 pictures
    warm_up_epochs=0,
    lr=1e-3,
    milestones=tuple(eighth / 8 for eighth in range(1, 8)),
    gamma=0.5,
    weight_decay=1e-6,
    batch_size=16,
    clips_per_recording=1,
    kind="sgd",
    clip_gradient=10.0,
    bias_rate=2.0,
    head_scale=0.01,
    augment=CROPPED,
)


def fine_tune_marks(
    model: Model,
    train: Source,
    test: Source,
    marks: tuple[Marks, Marks],
    out: Path,
    how: FineTune,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
    quiet: bool = True,
) -> Result:
    """Train a classifier of several classes and test it; continues where an earlier call was stopped.

    Figures: "<view>_classify_map-<definition>/<name>", of ten crops, and "<view>_classify_1crop_map-...", of the
    middle; "_rescaled" stands behind classify where the layers were rescaled.

    Args:
        model: where the encoder starts; not changed.
        train, test: cut into the model's view.
        marks: of the recordings of both.
        out: folder of the runs: `start/` and `run/`.

    Raises:
        UsageError: the parts have other classes, or are the same recordings; or `out` holds another run.
    """
    fit, held = marks
    if fit.classes != held.classes:
        raise UsageError(f"{train.name} and {test.name} have different classes; they cannot be compared")
    if train.fingerprint == test.fingerprint:
        raise UsageError(f"{train.name}: training and test part are the same recordings; choose two splits")
    how = dataclasses.replace(how, marks=len(fit.classes))
    tuned = learn(model, with_marks(train, fit), out, how, quiet=quiet)
    source, varied = cropped(test, tuned.views, how.augment), _varying(tuned, how)
    found = extract(
        tuned, test, batch_size=how.batch_size, progress=lambda *done: progress("testing", *done),
        embed=lambda batch: _scores(tuned, varied, source, batch, how),
    )  # fmt: skip
    what = f"{how.view}_classify" + "_rescaled" * how.rescale
    result = Result(["image-transfer: classification"], [], {"train": describe(train), "test": describe(test)})
    for crops, figure in (("ten", what), ("one", f"{what}_1crop")):
        present = found.present[f"{how.view}/{crops}"]
        if not bool((held.values[present] > 0).any()):
            result.lacks(figure, ["no test recording that could be read is of any class"])
            continue
        scores = found.clips[f"{how.view}/{crops}"][present][:, 0]
        for definition in DEFINITIONS:
            result.results.append(mean_precision(figure, name, scores, held.values[present], definition, how.seed))
    result.choices[what] = {
        **to_dict(how),
        "processes": parallel.world_size(),
        "classes": fit.classes,
        "score": f"the sum over {CROPS} random crops, drawn as in training by (seed, crop, recording)",
        "unclear": "recordings whose mark of a class is 0 are left out of it, in training and in test",
        "weights": "of the last epoch; the test part chose nothing",
        "start": model.digest,
    }
    result.weights[name] = [weights_of(model)]
    result.report([*leaks(train, test), *found.problems])
    return result


def _varying(tuned: Model, how: FineTune) -> Model:
    """Return the model with the random crops of training."""
    from coview.model import Model

    preprocess = Preprocess(tuned.preprocess.views, how.augment)
    preprocess.load_state_dict(tuned.preprocess.state_dict())
    return Model(tuned.method, preprocess.to(tuned.device), tuned.about)


@torch.no_grad()
def _scores(tuned: Model, varied: Model, test: Source, batch: Batch, how: FineTune) -> dict[str, Tensor]:
    """Return the scores of the classes (B, C) of the middle of every picture, and the sum over random crops.

    Args:
        varied: `_varying`.
        test: that `batch` comes from, as training would read it: crops of files are cut from the files.
    """
    one = tuned.encode(batch)[how.view]
    there = tuned.present(batch, how.view).cpu()
    row, total = batch.row.cpu()[there], one.new_zeros(int(there.sum()), one.shape[1])
    with varied.evaluating():
        for crop in range(CROPS if len(row) else 0):
            drawn = test.read(row, sample_keys(how.seed, crop, row))
            scores = varied.method.embed(varied.prepared(drawn, augmented=True))[how.view]
            own = (drawn.row.cpu() == row).to(scores.device)  # what stands for an unreadable one is another recording
            total += torch.where(own[:, None], scores, torch.nan)
    ten = torch.zeros_like(one)
    ten[there.to(one.device)] = total
    return {f"{how.view}/one": one, f"{how.view}/ten": ten}
