"""Protocol linear-probe: a linear classifier on frozen features, of the encoder's end and of named stages on the way.

Default: multinomial logistic regression (`probe.py`) on the encoder's own features, encoder in evaluation mode. AVID's
released probe trains one linear layer per stage by gradient, with the encoder in TRAINING mode: its normalisation
statistics drift towards the target data. That behaviour has the name "bn-adapt" here, happens to a copy, and is part
of the figure's name. A probe by gradient with augmentation is `fine_tune` with a frozen encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.controls import drift
from coview.evaluation.measurable import LEAST, question
from coview.evaluation.probe import Probe, fit_probe
from coview.evaluation.scores import filled, score
from coview.evaluation.stages import known_stages, stages_of
from coview.evaluation.ten_crop import extract_ten_crops
from coview.model import Model


def linear_probe(
    bench: Bench, *, stages: Sequence[str] = (), as_released: bool = False, ten_crop: bool = False
) -> None:
    """Add the probe's accuracy on every view, and on every stage asked for, to the bench's result.

    Figures: "<view>_probe/<name>" (see `bench.score`), "<view>_probe@<stage>/<name>"; with `as_released`,
    "<view>_probe_bn-adapt/<name>" as well; with `ten_crop`, "<view>_probe_10crop/<name>" of views of pictures.

    Args:
        stages: as in `stages.stages_of`; all are read in one pass, each has a classifier of its own.
        as_released: also measure a copy whose batch normalisation has drifted over one epoch of the training part.
        ten_crop: also test the probes on ten crops of every test clip, their class probabilities averaged.

    Raises:
        UsageError: no view has a stage asked for, or no picture has room for crops.
    """
    if not bench.classifies("linear-probe"):
        return
    fit, held = bench.features("train"), bench.features("test")
    views = bench.model.distinct_views()
    probes = {view: probe_view(bench, fit, held, view, f"{view}_probe") for view in views}
    if ten_crop:
        on_ten_crops(bench, probes)
    asked = {view: found for view in views if (found := stages_of(bench.model, view, stages))}
    if stages and not asked:
        known = "; ".join(f"{v}: {', '.join(known_stages(bench.model, v))}" for v in views)
        raise UsageError(f"no encoder has a stage {' or '.join(stages)}; there are {known}")
    if asked:
        fit, held = bench.features("train", stages=asked), bench.features("test", stages=asked)
        for view, found in asked.items():
            for stage in found:
                standardise = stage.normalise == "standardise"
                probe_view(bench, fit, held, f"{view}/{stage}", f"{view}_probe@{stage.name}", standardise=standardise)
    if as_released:
        adapted(bench, views)


def probe_view(
    bench: Bench, fit: Features, held: Features, view: str, what: str, *, standardise: bool = True
) -> Probe | None:
    """Fit on the labelled recordings of `fit` that have the view, test on those of `held`; returns the probe."""
    asked, classes = question(fit, held, view, fit.classes, least=LEAST), len(fit.classes)
    choices = bench.result.choices.setdefault(what, {})
    choices["left_out"] = asked.left_out()
    bench.result.lacks(what, asked.lacking)
    if not asked.whole:
        return None
    choices["majority_share"] = majority(asked.labels, asked.truth, classes)
    clips = filled(fit, view)[asked.used]
    probe = fit_probe(clips, asked.labels, classes, seed=bench.seed, standardise=standardise)
    choices |= {"features": view, **probe.choices}
    probability = probe.logits(filled(held, view)[asked.tested]).softmax(-1)
    bench.result.results += score(what, bench.name, probability, asked.truth, asked.classes, bench.seed)
    return probe


def on_ten_crops(bench: Bench, probes: Mapping[str, Probe | None]) -> None:
    """Test probes of views of pictures on ten crops of every clip."""
    progress = partial(bench.progress, "embedding ten crops")
    held = extract_ten_crops(
        bench.model, bench.test, windows=bench.windows, space="backbone", batch_size=bench.batch_size, progress=progress
    )
    for view in held.clips:
        probe, what = probes[view], f"{view}_probe_10crop"
        if probe is not None:
            asked = question(bench.features("train"), held, view, held.classes)
            probability = probe.logits(filled(held, view)[asked.tested]).softmax(-1)
            bench.result.results += score(
                what, bench.name, probability, asked.truth, asked.classes, bench.seed, clips=False
            )
            bench.result.choices[what] = {"crops": "corners and middle, plain and mirrored where a recording may be"}


def majority(labels: Tensor, truth: Tensor, classes: int) -> float:
    """Return the share of `truth` (N,) that is the most frequent of the training `labels`."""
    return float((truth == torch.bincount(labels, minlength=classes).argmax()).double().mean())


def adapted(bench: Bench, views: Sequence[str]) -> None:
    """Measure a copy of the model whose normalisation statistics have followed the training part, as released."""
    assert bench.train is not None
    method = copy.deepcopy(bench.model.method)
    twin = Model(method, bench.model.preprocess, bench.model.about)
    drift(twin, bench.train, seed=bench.seed, batch_size=32)
    own = Bench(
        twin, bench.train, bench.test, name=bench.name, seed=bench.seed, windows=bench.windows,
        batch_size=bench.batch_size, progress=bench.progress,
    )  # fmt: skip
    with own:
        fit, held = own.features("train"), own.features("test")
        for view in views:
            probe_view(own, fit, held, view, f"{view}_probe_bn-adapt")
    bench.result.results += own.result.results
    bench.result.choices["bn-adapt"] = {
        "as_released": "AVID and AV-SSRL leave the frozen encoder's batch normalisation in training mode",
        "here": "one epoch of the training part in batches of 32 moves the running statistics of a copy, then frozen",
        "sha256": own.result.choices["frozen"]["sha256_after"],
    }
