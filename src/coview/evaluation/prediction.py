"""Protocol prediction: how like the true pictures predicted ones are, at every horizon, beside what needs no learning.

PSNR and SSIM (`objectives.frame_prediction`) of every test recording, against the last picture that was shown
("copy-last"), against the same model told the actions of the next recording ("other-actions"), and against a model that
was trained without actions ("no-actions"). Differences are paired: recording by recording. A method takes part by being
a `methods.predictor.Predictor`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from coview.data.source import Source, narrowed
from coview.data.views import Batch
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.evaluation.bench import Progress, Result, describe, weights_of
from coview.evaluation.statistics import Measurement, mean
from coview.methods.predictor import Prediction, Predictor
from coview.model import Model
from coview.objectives.frame_prediction import psnr, ssim

COPY, OTHERS, UNTOLD = "copy-last", "other-actions", "no-actions"
_SCORES = {"psnr": psnr, "ssim": ssim}
_LEAST_SIDE = 11  # pixels of a window of SSIM


def predictor_of(model: Model) -> Predictor:
    """Return a model's method as what predicts pictures; raises UsageError where it does not."""
    if not isinstance(model.method, Predictor):
        raise UsageError(
            f"{model.method.about.slug} predicts no pictures; `coview methods` lists those that do under 'motion'"
        )
    return model.method


def predicted(model: Model, batch: Batch) -> Prediction:
    """Return what a model predicts of a raw batch whose samples have all of its views."""
    own = dataclasses.replace(batch, views={name: batch.views[name] for name in model.views}).to(model.device)
    with model.evaluating():
        return predictor_of(model).predict(model.preprocess(own, train=False))


def complete(batch: Batch) -> Tensor:
    """Return bool (B,): which samples have all views, and every step of them."""
    there = torch.stack([batch.present[name] for name in batch.views]).all(0)
    for name in batch.length:
        there = there & batch.mask(name).all(1)
    return there


def prediction(
    model: Model,
    test: Source,
    *,
    name: str,
    untold: Model | None = None,
    baselines: bool = True,
    seed: int = 0,
    windows: int = 1,
    batch_size: int = 64,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Measure a model's predictions; recordings that lack a view, or a step of one, are left out and counted.

    Args:
        test: cut into the model's views, of which those of `untold` are some.
        name: stands behind the slash in the names of the figures.
        untold: a model that was trained without actions, on the same pictures.
        baselines: measure the last picture and other recordings' actions too.
        seed: of the intervals.
        windows: evenly spaced cuts of each recording, over which scores are averaged.

    Raises:
        UsageError: a model predicts no pictures, the two predict others, or no recording is complete.
    """
    method = predictor_of(model)
    film = method.film
    if untold is not None and any(model.views.get(view) != spec for view, spec in untold.views.items()):
        raise UsageError("the model without actions has views that the model has not; train both on the same ones")
    digest = model.digest
    others, tables = _told_to(test, method.told if baselines else (), batch_size)

    def scores(batch: Batch) -> Mapping[str, Tensor]:
        whole = complete(batch)
        chosen = batch.select(whole)
        found: dict[str, Tensor] = {}
        if not len(chosen):  # the shapes must be known: they are measured on what is there, and not counted
            chosen = batch
        one = predicted(model, chosen)
        made = {name: one.made}
        if baselines:
            made[COPY] = one.last[:, :, None].expand_as(one.true)
            if len(others) > 1:
                moved = torch.searchsorted(others, chosen.row.cpu(), right=True) % len(others)
                told = {view: table[moved].to(chosen.row.device) for view, table in tables.items()}
                made[OTHERS] = predicted(model, dataclasses.replace(chosen, views=chosen.views | told)).made
        if untold is not None:
            made[UNTOLD] = _same(one, predicted(untold, chosen))
        for who, films in made.items():
            for what, values in _scored(one.true, films).items():
                filled = values.new_zeros(len(batch), values.shape[1])
                filled[whole] = values[: int(whole.sum())]
                found[f"{film}/{what}/{who}"] = filled
        found[f"{film}/complete"] = whole.to(one.made)[:, None]
        return found

    features = extract(
        model, test, windows=windows, batch_size=batch_size, embed=scores,
        progress=lambda done, total: progress("predicting", done, total),
    )  # fmt: skip
    values = features.values
    kept = (values.pop(f"{film}/complete")[:, 0] == 1) & torch.stack([*features.present.values()]).all(0)
    if not bool(kept.any()):
        raise UsageError(f"{test.name}: no recording has all of {', '.join(model.views)} at every step")
    by_name = {each.partition("/")[2]: found[kept] for each, found in values.items()}
    result = Result(["prediction"], _figures(by_name, name, seed), {"test": describe(test), "windows": windows})
    result.choices["horizons"] = next(iter(by_name.values())).shape[1]
    if baselines and len(method.told) and len(others) < 2:
        result.lacks(OTHERS, [f"{len(others)} recordings of {test.name} have all that the model is told"])
    if left := int((~kept).sum()):
        result.notes.append(f"{left} of {len(kept)} recordings lack a view, or a step of one, and are left out")
    if not any(key.startswith("ssim") for key in by_name):
        result.lacks("ssim", [f"its windows need pictures of {_LEAST_SIDE} pixels at least"])
    result.report(features.problems)
    result.weights[name] = [weights_of(model)]
    result.choices["frozen"] = {"sha256_before": digest, "sha256_after": model.digest}
    return result


def _figures(scores: Mapping[str, Tensor], name: str, seed: int) -> list[Measurement]:
    """Return the figures of scores (N, T), "score/who": over all horizons, at each, and how far `name` is above."""
    figures = []
    for key, found in scores.items():
        what, _, who = key.partition("/")
        figures.append(mean(f"{what}/{who}", found.mean(1), None, seed))
        figures += [mean(f"{what}_{step + 1}/{who}", found[:, step], None, seed) for step in range(found.shape[1])]
        if who != name:
            gain = scores[f"{what}/{name}"].mean(1) - found.mean(1)
            figures.append(mean(f"{what}_above_{who}/{name}", gain, 0.0, seed))
    return figures


def _scored(true: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Return name -> (B, T) of films (B, 3, T, H, W)."""
    names = [name for name in _SCORES if name != "ssim" or min(true.shape[-2:]) >= _LEAST_SIDE]
    return {name: torch.stack([_SCORES[name](*pair) for pair in zip(true.unbind(2), made.unbind(2), strict=True)], 1)
            for name in names}  # fmt: skip


def _told_to(test: Source, told: tuple[str, ...], batch_size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return which recordings have all of what they are told, int64 ascending, and that: view -> raw views of a cut."""
    source, rows = narrowed(test, told), []
    tables: dict[str, list[Tensor]] = {view: [] for view in told}
    for block in torch.split(torch.arange(len(test)), batch_size) if told else ():
        batch = source.read_window(block, 0, 1)
        batch = batch.select(complete(batch))
        rows.append(batch.row.cpu())
        for view, found in tables.items():
            found.append(batch.views[view].cpu())
    return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64), {
        view: torch.cat(found) for view, found in tables.items()
    }


def _same(one: Prediction, other: Prediction) -> Tensor:
    """Return the other's pictures, which must be predictions of the same ones."""
    if one.true.shape != other.true.shape or not torch.equal(one.true, other.true):
        raise UsageError(
            f"the model without actions predicts other pictures, {tuple(other.true.shape[1:])} where the model's are "
            f"{tuple(one.true.shape[1:])}: train both on the same view and with the same context"
        )
    return other.made
