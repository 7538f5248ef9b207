"""Protocol units: what the single units of a stage look for, by the pictures that excite them most.

Zhou, Khosla, Lapedriza, Oliva & Torralba, "Object detectors emerge in deep scene CNNs", ICLR 2015 (arXiv 1412.6856): of
every picture the largest value of a unit's map and its place; the pictures with the largest values, with what the unit
sees of them. People name units there; here a unit is called a detector where its top pictures are mostly of one class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coview.data.views import Batch, cut_from
from coview.embedding.extract import Features, extract
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.stages import known_stages
from coview.evaluation.statistics import accuracy
from coview.model import Model
from coview.parallel import gather
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
    loudest = _Loudest(bench.model, view, stage)
    found = extract(
        bench.model, bench.test, embed=loudest, batch_size=bench.batch_size,
        progress=lambda done, total: bench.progress("looking at pictures", done, total),
    )  # fmt: skip
    bench.result.report(found.problems)
    rows = torch.nonzero(found.present[f"{view}/seen"]).flatten()
    if len(rows) < TOP:
        raise UsageError(f"{bench.test.name}: {len(rows)} recordings have {view!r}; {TOP} are needed to name units by")
    top, peak, where = loudest.of_all(bench.model.device)
    count, order = len(top), torch.searchsorted(rows, top.contiguous())
    label, share = _named(found.labels[top])
    seen = Units(view, stage, top, peak, where, label, share, found)
    if not bool((found.labels >= 0).any()):
        bench.result.notes.append(f"{bench.test.name} has no labels: its units are shown, and none is named")
    else:
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


class _Loudest:
    """Looks at raw batches, and keeps of each unit the ten pictures that excite it most, with the places in its map.

    A call returns "<view>/seen" (B, 1): not finite where a map is not.

    Raises:
        UsageError: the stage has no places.
    """

    def __init__(self, model: Model, view: str, stage: str) -> None:
        self.model, self.view, self.stage = model, view, stage
        self.peak, self.row, self.place = torch.empty(0), torch.empty(0), torch.empty(0)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        cut = cut_from(self.view, self.model.views[self.view])  # what is no picture is not looked at
        alone = replace(batch, views={cut: batch.views[cut]})
        maps = self.model.feature_maps(alone)[self.view][self.stage].float()
        if maps.ndim < 4:
            raise UsageError(f"stage {self.stage!r} of {self.view!r} has no places; name another with --stage")
        peak, at = (each.cpu() for each in maps.flatten(2).max(2))
        place = torch.stack(torch.unravel_index(at, maps.shape[2:]), 2)
        whole = peak.isfinite().all(1)
        there = (whole & self.model.present(batch, self.view).cpu())[:, None]
        row = batch.row.cpu()[:, None].expand_as(peak)
        self._keep(torch.where(there, peak, -torch.inf), row, place)
        return {f"{self.view}/seen": torch.where(whole, 1.0, torch.nan)[:, None]}

    def of_all(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return of all processes' pictures row (C, K), peak (C, K) and place (C, K, 2 or 3), best first."""
        mine = self.peak, self.row, self.place
        peak, row, place = (gather(each.to(device)).cpu() for each in mine)
        order = torch.argsort(row, dim=0, stable=True)
        peak, row = peak.gather(0, order), row.gather(0, order)
        place = place.gather(0, order[..., None].expand_as(place))
        # A process without pictures has looked at the first one too.
        peak[1:][row[1:] == row[:-1]] = -torch.inf
        self.peak = torch.empty(0)
        self._keep(peak, row, place)
        return self.row.T, self.peak.T, self.place.transpose(0, 1)

    def _keep(self, peak: Tensor, row: Tensor, place: Tensor) -> None:
        if len(self.peak):
            peak, row, place = (
                torch.cat(pair) for pair in ((self.peak, peak), (self.row, row), (self.place, place))
            )  # fmt: skip
        order = torch.argsort(peak, dim=0, descending=True, stable=True)[:TOP]  # equal ones in the order of their ids
        self.peak, self.row = peak.gather(0, order), row.gather(0, order)
        self.place = place.gather(0, order[..., None].expand(*order.shape, place.shape[2]))


def _named(labels: Tensor) -> tuple[list[int], Tensor]:
    """Return the commonest label of each row of (C, K), -1 where none is known, and its share of the row (C,)."""
    classes = int(labels.max()) + 1
    if classes < 1:
        return [-1] * len(labels), torch.zeros(len(labels), dtype=torch.float64)
    counts = (labels[:, :, None] == torch.arange(classes)).sum(1)
    most, which = counts.max(1)
    return torch.where(most > 0, which, -1).tolist(), most.double() / labels.shape[1]
