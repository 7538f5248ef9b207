"""Protocol units: what the single units of a stage look for, by the pictures that excite them most.

Zhou, Khosla, Lapedriza, Oliva & Torralba, "Object detectors emerge in deep scene CNNs", ICLR 2015 (arXiv 1412.6856): of
every picture the largest value of a unit's map and its place; the pictures with the largest values, with what the unit
sees of them. People name units there; here a unit is called a detector where its top pictures are mostly of one class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coview.data.views import Batch
from coview.embedding.extract import Features, extract
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.stages import known_stages
from coview.evaluation.statistics import accuracy
from coview.model import Model
from coview.randomness import make_key, uniform

TOP = 10  # pictures by which a unit is named
SHARE = 0.75  # of them that are of one class
_DEALS, _DEALT = 20, 0x756E6974  # times that labels are dealt out anew, and the stream of that


@dataclass(frozen=True)
class Units:
    """The units of a stage.

    Attributes:
        view, stage: which.
        top: int64 (C, K), of each unit the places in `features` of the pictures that excite it most, best first.
        peak: float32 (C, K), how much; 0 and less is not at all.
        place: int64 (C, K, 2 or 3), where in the map.
        label, share: (C,), the commonest class of the top pictures, -1 for none, and its share of them.
        features: whose recordings were looked at.
    """

    view: str
    stage: str
    top: Tensor
    peak: Tensor
    place: Tensor
    label: list[int]
    share: Tensor
    features: Features

    @property
    def detectors(self) -> Tensor:
        """Bool (C,): most of the top pictures are of one class, and all of them excite the unit."""
        return (self.share >= SHARE) & (self.peak[:, -1] > 0)


def units(bench: Bench, view: str | None = None, stage: str | None = None) -> Units:
    """Look at a stage's units, and add "<view>_units@<stage>/<name>", the share of them that are detectors of a class.

    Chance is that of labels dealt out anew. Untrained networks have detectors too: measure them beside (--controls).

    Args:
        view, stage: by default the first view of pictures, and the last stage of its encoder.

    Raises:
        UsageError: no such view or stage, a stage without places, or fewer than ten pictures.
    """
    view, stage = chosen(bench.model, view, stage)
    found = extract(
        bench.model, bench.test, embed=_peaks(bench.model, view, stage), batch_size=bench.batch_size,
        progress=lambda done, total: bench.progress("looking at pictures", done, total),
    )  # fmt: skip
    bench.result.report(found.problems)
    peaks, places = found.values[f"{view}/peak"], found.values[f"{view}/place"]
    rows = torch.nonzero(found.present[f"{view}/peak"]).flatten()
    if len(rows) < TOP:
        raise UsageError(f"{bench.test.name}: {len(rows)} recordings have {view!r}; {TOP} are needed to name units by")
    count = peaks.shape[1]
    order = torch.argsort(peaks[rows], dim=0, descending=True, stable=True)[
        :TOP
    ].T  # equal ones in the order of their ids
    top = rows[order]
    where = places.view(len(places), -1, count)[top, :, torch.arange(count)[:, None]].long()
    label, share = _named(found.labels[top])
    seen = Units(view, stage, top, peaks[top, torch.arange(count)[:, None]], where, label, share, found)
    if bool((found.labels >= 0).any()):
        known = found.labels[rows]
        dealt = [uniform(make_key(bench.seed, deal), _DEALT, len(rows)).argsort(stable=True) for deal in range(_DEALS)]
        excited = seen.peak[:, -1] > 0
        chance = sum(float(((_named(known[each][order])[1] >= SHARE) & excited).double().mean()) for each in dealt)
        figure = accuracy(f"{view}_units@{stage}/{bench.name}", seen.detectors, chance / _DEALS)
        bench.result.results.append(replace(figure, items=None))  # units of other seeds are other units
    classes = Counter(found.classes[label[unit]] for unit in torch.nonzero(seen.detectors).flatten().tolist())
    bench.result.choices[f"{view}_units@{stage}"] = {
        "units": count, "pictures": len(rows), "top": TOP, "share": SHARE, "detectors_of": dict(classes.most_common()),
        "never_excited": int((seen.peak[:, 0] <= 0).sum()),
    }  # fmt: skip
    return seen


def chosen(model: Model, view: str | None, stage: str | None) -> tuple[str, str]:
    """Return the view and the stage that were asked for, or the first view of pictures and its encoder's last stage.

    Raises:
        UsageError: there is no such view of pictures, or no such stage.
    """
    pictured = [name for name in model.distinct_views() if known_stages(model, name) and model.views[name].square]
    if not pictured or (view is not None and view not in pictured):
        raise UsageError(f"{view or 'units'}: the model's views of pictures are {', '.join(pictured) or 'none'}")
    view = view or pictured[0]
    known = known_stages(model, view)
    if stage is not None and stage not in known:
        raise UsageError(f"the encoder of {view!r} has no stage {stage!r}; it has {', '.join(known)}")
    return view, stage or known[-1]


def _peaks(model: Model, view: str, stage: str) -> Callable[[Batch], dict[str, Tensor]]:
    """Return a function from a raw batch to each unit's largest value (B, C) and its place (B, 2 or 3 times C)."""

    @torch.no_grad()
    def embed(batch: Batch) -> dict[str, Tensor]:
        maps = model.feature_maps(batch)[view][stage].float()
        if maps.ndim < 4:
            raise UsageError(f"stage {stage!r} of {view!r} has no places; name another with --stage")
        peak, at = maps.flatten(2).max(2)
        place = torch.stack(torch.unravel_index(at, maps.shape[2:]), 1)
        return {f"{view}/peak": peak, f"{view}/place": place.flatten(1)}

    return embed


def _named(labels: Tensor) -> tuple[list[int], Tensor]:
    """Return the commonest label of each row of (C, K), -1 where none is known, and its share of the row (C,)."""
    classes = int(labels.max()) + 1
    if classes < 1:
        return [-1] * len(labels), torch.zeros(len(labels), dtype=torch.float64)
    counts = (labels[:, :, None] == torch.arange(classes)).sum(1)
    most, which = counts.max(1)
    return torch.where(most > 0, which, -1).tolist(), most.double() / labels.shape[1]
