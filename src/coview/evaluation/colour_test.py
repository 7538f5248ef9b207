"""Protocol image-transfer, colour: how near a model's colours are, how they fail, and whether things are still known.

Zhang, Isola & Efros, ECCV 2016 (arXiv 1603.08511): the area under the curve of errors in a and b, over all places and
with each weighted by the rarity of its true colour, beside grey and the mean colour of the training part, without which
the first says nothing; and the accuracy of a classifier on real, grey and coloured pictures, all of one size through
one JPEG. Pictures without colour are left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview.data.source import Source
from coview.data.views import ImageView, ViewSpec
from coview.embedding.extract import read_windows
from coview.errors import UsageError
from coview.evaluation import colour_scores as scores
from coview.evaluation.bench import Progress, Result, describe, leaks, weights_of
from coview.evaluation.scores import hits
from coview.evaluation.statistics import Measurement, accuracy, resampled_counts
from coview.media import jpeg
from coview.objectives.colour import greyed, lab_to_srgb, srgb_to_lab
from coview.objectives.colour_bins import COUNT, colour_bins, colourful, smoothed_prior
from coview.painting.painter import Painter, as_picture

if TYPE_CHECKING:
    from coview.model import Model

VIEW = "picture"
QUALITY = 95  # of the JPEG that all pictures go through before they are classified
TRUE, GREY, MEAN = "true", "grey", "mean-colour"
_ROWS = 32


@dataclass(frozen=True, kw_only=True)
class ColourTest:
    """What is measured at which size.

    Attributes:
        size: side of the square in pixels that is coloured.
        classifier: of pictures; its scores are read in its projected space. None: no classification.
    """

    size: int = 256
    classifier: Model | None = None
    seed: int = 0

    def views(self) -> dict[str, ViewSpec]:
        """Return what sources must be cut into."""
        return {VIEW: ImageView(size=self.size, margin=1.0, normalise="none")}


@dataclass
class _Sums:
    """What single pictures add to the figures: figure and arm -> a row for each."""

    rows: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    right: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, figure: str, arm: str, sums: Tensor) -> None:
        """Add a picture's."""
        self.rows.setdefault((figure, arm), []).append(sums)


def colour_test(
    model: Model,
    train: Source,
    test: Source,
    how: ColourTest,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Colour the test part from its lightness and measure it.

    Figures: "colour_auc/<name>" and "colour_auc-rebalanced/<name>", whose chance is what grey pictures reach, beside
    "/grey" and "/mean-colour"; "colour_chroma-share", "_one-direction", "_hue-confusion", "_bleeding",
    "_chroma-unevenness" and "_hue-unevenness" beside "/true"; with a classifier "colour_classified" of all.

    Args:
        model: one that paints colour; it stays as it is.
        train: its mean colour is a baseline; it is not learnt from.
        train, test: cut into `how.views()`.

    Raises:
        UsageError: the model makes no colours, no test picture has colour, the classifier does not know the classes, or
            the name is one of those it stands beside.
    """
    if name in (TRUE, GREY, MEAN):
        raise UsageError(f"{name!r} names figures that the model's stand beside; choose another name")
    painter = Painter(model)
    if painter.paints != "colour":
        raise UsageError(f"{model.method.about.slug} makes {painter.paints}, not colours")
    check_classifier(how.classifier, test)
    result = Result(["image-transfer: colour"], [], {"train": describe(train), "test": describe(test)})
    mean, _, _ = _colours(train, result)
    _, prior, grey = _colours(test, result)
    sums, done = _Sums(), 0
    for pictures, labels, _ in _coloured(test):
        for picture, label in zip(pictures, labels, strict=True):
            made = torch.from_numpy(painter.paint(as_picture(picture[None]))).permute(2, 0, 1)[None].float() / 255
            lab = srgb_to_lab(picture[None])
            plain = torch.cat([lab[:, :1], mean[None, :, None, None].expand(1, 2, *lab.shape[2:])], 1)
            arms = {TRUE: picture[None], GREY: greyed(picture[None]), MEAN: lab_to_srgb(plain), name: made}
            _add_scores(sums, arms, prior, name)
            if how.classifier is not None and int(label) >= 0:
                _classify(sums, arms, how.classifier, label)
            done += 1
            progress("colouring", done, len(test) - grey)
    result.results = _figures(sums, name, how.seed, len(test.classes))
    result.choices["colour"] = {
        "size": how.size, "left_out": {"grey": grey}, "mean_colour": mean.tolist(),
        "errors": f"distance in a and b; thresholds 0 to {scores.LARGEST}; rebalanced by 1 / p of the nearest of "
        f"{COUNT} bins, p smoothed, of the test part's own true colours; chance is grey's",
        "failures": f"hue where chroma is {scores.COLOURED} or more; an edge is a step of {scores.FLAT} in L, within "
        f"{scores.NEAR} pixels; regions are connected places of one true colour, {scores.LEAST} or more",
        "classifier": None if how.classifier is None else {"digest": how.classifier.digest, "jpeg": QUALITY},
    }  # fmt: skip
    if grey:
        result.notes.append(f"{grey} of {len(test)} test pictures have no colour and are left out")
    result.weights[name] = [weights_of(model)]
    result.report(leaks(train, test))
    return result


def check_classifier(classifier: Model | None, test: Source) -> None:
    """Raise UsageError where a classifier cannot be asked for the classes of a source."""
    if classifier is None:
        return
    if len(classifier.reads) != 1 or list(classifier.about.get("classes", ())) != list(test.classes):
        raise UsageError(f"the classifier is one of one view that was learnt from the {len(test.classes)} classes here")
    if next(iter(classifier.dim.values())) != len(test.classes):
        raise UsageError(
            "the classifier's projected space does not hold a score for each class; give a run of `evaluate fine-tune`"
        )


def _coloured(source: Source, result: Result | None = None) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield pictures (B, 3, S, S) in [0, 1] that have colour, their labels (B,), and how many have none."""
    for batch in read_windows(source, torch.arange(len(source)), 1, _ROWS):
        if result is not None:
            result.report([(source.ids[row], reason) for row, reason in batch.replaced])
        pictures = batch.views[VIEW][batch.present[VIEW]][:, :, 0].float().contiguous() / 255
        kept = colourful(srgb_to_lab(pictures)[:, 1:])
        yield pictures[kept], batch.label[batch.present[VIEW]][kept], int((~kept).sum())


def _colours(source: Source, result: Result) -> tuple[Tensor, Tensor, int]:
    """Return the mean colour (2,), the smoothed shares of the bins (313,), and how many pictures have none."""
    total, shares, places, without = torch.zeros(2, dtype=torch.float64), torch.zeros(COUNT).double(), 0, 0
    bins = colour_bins()
    for some, _, grey in _coloured(source, result):
        without += grey
        for picture in some:
            ab = srgb_to_lab(picture[None])[0, 1:].flatten(1).T
            total, places = total + ab.double().sum(0), places + len(ab)
            for part in torch.split(ab, scores.AT_ONCE):
                shares += len(part) * smoothed_prior(part, bins).double()
    if not places:
        raise UsageError(f"{source.name}: none of its {len(source)} pictures has colour: nothing to compare with")
    return (total / places).float(), shares / places, without


def _add_scores(sums: _Sums, arms: Mapping[str, Tensor], prior: Tensor, name: str) -> None:
    labs = {arm: srgb_to_lab(picture) for arm, picture in arms.items()}
    true = labs[TRUE][:, 1:]
    weight = scores.rarity_of(true.movedim(1, -1).flatten(0, -2), prior)
    regions = scores.regions_of(labs[TRUE])
    for arm in (GREY, MEAN, name):
        errors = scores.chroma(labs[arm][:, 1:] - true).flatten()
        sums.add("auc", arm, scores.passed(errors))
        sums.add("auc-rebalanced", arm, scores.passed(errors, weight))
    for arm in (TRUE, name):
        ab = labs[arm][:, 1:]
        chroma, hue = scores.unevenness(ab, regions)
        found = {"one-direction": scores.tint(ab), "bleeding": scores.bleeding(ab, labs[TRUE][:, :1])}
        found |= {"chroma-unevenness": chroma, "hue-unevenness": hue}
        if arm != TRUE:
            found |= {"chroma-share": scores.chroma_share(ab, true), "hue-confusion": scores.hue_confusion(ab, true)}
        for figure, value in found.items():
            sums.add(figure, arm, value)


def _classify(sums: _Sums, arms: Mapping[str, Tensor], classifier: Model, label: Tensor) -> None:
    """Note whether a classifier knows a picture in every form, all of them through one JPEG."""
    through = []
    for picture in arms.values():
        pixels = as_picture(picture)
        read = jpeg.decode(jpeg.encode(pixels, QUALITY), pixels.shape[1], pixels.shape[0], VIEW)
        through.append(torch.from_numpy(read.copy()).permute(2, 0, 1))
    view = next(iter(classifier.reads))
    found = classifier.encode_image(torch.stack(through), view=view).cpu()
    for arm, right in zip(arms, hits(found, label.expand(len(found)), 1), strict=True):
        sums.right.setdefault(arm, []).append(right)


def _figures(sums: _Sums, name: str, seed: int, classes: int) -> list[Measurement]:
    figures = {}
    for (figure, arm), rows in sums.rows.items():
        of = scores.in_one_direction if figure == "one-direction" else _ratio
        figures[figure, arm] = pooled(f"colour_{figure}/{arm}", torch.stack(rows), of, None, seed)
    for figure in ("auc", "auc-rebalanced"):
        mine, grey = figures[figure, name], figures[figure, GREY]
        figures[figure, name] = Measurement(mine.name, mine.value, mine.low, mine.high, grey.value, mine.n)
    measured = [m for m in figures.values() if m.value == m.value]  # NaN: nothing had such a place
    return measured + [
        accuracy(f"colour_classified/{arm}", torch.stack(right), 1 / classes) for arm, right in sums.right.items()
    ]


def pooled(
    name: str, sums: Tensor, statistic: Callable[[Tensor], Tensor], chance: float | None, seed: int
) -> Measurement:
    """Return a statistic (...) of sums (..., K) added up over pictures (n, K); interval over resampled pictures."""
    drawn = torch.cat([statistic(counts.double() @ sums) for counts in resampled_counts(len(sums), seed)])
    low, high = drawn.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Measurement(name, float(statistic(sums.sum(0))), low, high, chance, len(sums))


def _ratio(sums: Tensor) -> Tensor:
    return sums[..., 0] / sums[..., 1]
