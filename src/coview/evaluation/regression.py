"""Protocol regression: numbers over time, such as valence, by ridge regression from frozen features.

Of the moments of the test part, pooled: Pearson's correlation, Lin's concordance (CCC) and the root of the mean squared
error. Recordings are the unit everywhere: the penalty is chosen by folds of recordings, and intervals are over
recordings, since moments of one are not independent. As in the evaluations of continuous affect (Ringeval et al., AVEC
2015), CCC is of all moments together, not a mean over recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.embedding.extract import Features, Space
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.ridge import FOLDS, agreement, chosen_ridge, folds_of, intervals, sums_by_group
from coview.evaluation.statistics import Measurement
from coview.evaluation.time_labels import TimeLabels
from coview.randomness import make_key, uniform

JOINED = "joined"
_DEALT = 0x7065726D  # stream of the labels that are dealt out anew


@dataclass(frozen=True)
class Moments:
    """Labelled moments: features (M, D) and labels (M, K), float64, and which recording each belongs to (M,)."""

    x: Tensor
    y: Tensor
    recording: Tensor
    left_out: int

    def take(self, rows: Tensor) -> Moments:
        """Return some of them."""
        return Moments(self.x[rows], self.y[rows], self.recording[rows], self.left_out)


def regression(
    bench: Bench, labels: TimeLabels, *, spaces: Sequence[Space] = ("backbone",), permuted: bool = True
) -> None:
    """Add "<view>_<target>_pearson|ccc|rmse[@projected]/<name>" to the bench's result, and "joined_..." of all views.

    What guessing gives is the training part's mean: correlation 0, and its own error. Fitted is on the training part
    and measured on the test part; where both are the same recordings, each is predicted by a fit on the others, in
    five folds.

    Args:
        labels: at moments; a window has those of its middle. Moments without labels are left out and counted.
        permuted: also measure "/permuted": the labels of the fitted moments dealt out anew.

    Raises:
        UsageError: no recording has a label.
    """
    one = bench.train is None or bench.train.fingerprint == bench.test.fingerprint
    for space in spaces:
        held = bench.features("test", space)
        fit = held if one else bench.features("train", space)
        both = {labels.recording.get(each) for each in fit.ids} & {labels.recording.get(each) for each in held.ids}
        if not one and (both := both - {None}):
            named = ", ".join(sorted(map(str, both))[:3])
            bench.result.report([(bench.test.name, f"{len(both)} recordings have moments in both parts ({named})")])
        views = sorted(held.clips)
        for group in [[view] for view in views] + ([views] if len(views) > 1 else []):
            what = group[0] if len(group) == 1 else JOINED
            seconds = [bench.model.views[bench.model.reads[view][0]].seconds for view in group]
            tested = moments_of(held, group, seconds, labels)
            fitted = tested if one else moments_of(fit, group, seconds, labels)
            _measure(bench, f"{what}_{{}}" + ("" if space == "backbone" else f"@{space}"), fitted, tested, one,
                     labels.targets, permuted)  # fmt: skip


def moments_of(features: Features, views: Sequence[str], seconds: Sequence[float], labels: TimeLabels) -> Moments:
    """Return the labelled windows that all `views` have; their moment is the mean of the views' middles.

    Args:
        seconds: how long a window of each view is.

    Raises:
        UsageError: no recording of these is in the table.
    """
    if not any(each in labels.times for each in features.ids):
        some = next(iter(labels.times))
        raise UsageError(
            f"no recording is in the table of labels; its ids are such as {some!r}, those of the recordings such as "
            f"{features.ids[0]!r}"
        )
    there = torch.stack([features.clip_present[view] for view in views]).all(0)
    middle = torch.stack([features.start[view] + s / 2 for view, s in zip(views, seconds, strict=True)]).mean(0)
    y = torch.stack(
        [torch.from_numpy(labels.at(each, own.tolist())) for each, own in zip(features.ids, middle, strict=True)]
    )
    used = there & y.isfinite().all(-1)
    known = sorted({labels.recording.get(each, each) for each in features.ids})
    number = {each: place for place, each in enumerate(known)}
    belongs = torch.tensor([number[labels.recording.get(each, each)] for each in features.ids])
    x = torch.cat([features.clips[view].double() for view in views], -1)
    return Moments(x[used], y[used], belongs[:, None].expand(used.shape)[used], int((~used).sum()))


def predictions(fitted: Moments, tested: Moments, one: bool, seed: int, deal: bool = False) -> tuple[Tensor, ...]:
    """Return (predictions, what guessing gives), both (M, K), of the tested moments, and the penalties (folds, K).

    Args:
        one: both parts are the same moments: each is predicted from recordings of other folds.
        deal: fit labels that are dealt out anew.
    """
    said, guessed = torch.empty_like(tested.y), torch.empty_like(tested.y)
    penalties: list[list[float]] = []
    folds = folds_of(tested.recording, seed) if one else torch.zeros(len(tested.y), dtype=torch.int64)
    for fold in torch.unique(folds):
        asked = folds == fold
        known = fitted.take(~asked) if one else fitted
        y = known.y
        if deal:
            y = y[torch.argsort(uniform(make_key(seed, torch.arange(len(y))), _DEALT), stable=True)]
        said[asked], chosen = chosen_ridge(known.x, y, known.recording, tested.x[asked], seed)
        guessed[asked] = known.y.mean(0)
        penalties.append(chosen)
    return said, guessed, torch.tensor(penalties)


def _measure(
    bench: Bench, what: str, fitted: Moments, tested: Moments, one: bool, targets: Sequence[str], permuted: bool
) -> None:
    known, asked = len(torch.unique(fitted.recording)), len(torch.unique(tested.recording))
    least = 3 if one else 2  # two are left for the penalty's folds when one is held out
    if known < least or not asked:
        where = "" if one else f", and {asked} of the test part"
        reason = f"{known} recordings to learn from have labelled moments{where}; at least {least} are needed"
        for target in targets:
            bench.result.lacks(what.format(target), [reason])
        return
    said, guessed, penalties = predictions(fitted, tested, one, bench.seed)
    rows = {bench.name: said}
    if permuted:
        rows["permuted"] = predictions(fitted, tested, one, bench.seed, deal=True)[0]
    for place, target in enumerate(targets):
        truth = tested.y[:, place]
        level = float(agreement(sums_by_group(guessed[:, place], truth, tested.recording).sum(0))["rmse"])
        for name, predicted in rows.items():
            sums = sums_by_group(predicted[:, place], truth, tested.recording)
            bounds = intervals(sums, bench.seed)
            for figure, value in agreement(sums.sum(0)).items():
                low, high = bounds[figure] or (None, None)
                head, _, space = what.format(target).partition("@")
                full = f"{head}_{figure}" + (f"@{space}" if space else "")
                chance = level if figure == "rmse" else 0.0
                bench.result.results.append(Measurement(f"{full}/{name}", float(value), low, high, chance, asked))
        bench.result.choices[what.format(target)] = {
            "penalties": penalties[:, place].tolist(), "folds": f"{FOLDS} of recordings", "recordings": asked,
            "moments": len(truth), "moments_without": tested.left_out, "fitted_moments": len(fitted.y),
            "parts": "one, in folds of recordings" if one else "fitted on the training part",
        }  # fmt: skip
