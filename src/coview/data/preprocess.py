"""From raw views to model views: the last step of the data path, batched on the training device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coview.data.augment.settings import AugmentSettings
from coview.data.looks import augment_of, key_of
from coview.data.source import Source
from coview.data.views import Batch, ViewSpec, made_of
from coview.errors import UsageError

_ROWS = 4096  # recordings read at a time for statistics


class Preprocess(nn.Module):
    """Turns raw batches (uint8 frames, waveforms) into what a method sees (normalised float32).

    In training every random factor is drawn from the sample's key and the view's place in `views`, so a sample looks
    the same in any batch, on any process and on any device (to rounding). Rows that are absent come out as zeros.

    Buffers `<view>_mean` and `<view>_std` (one value per band, channel or feature) serve views that are normalised by
    "statistics".
    """

    def __init__(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> None:
        super().__init__()
        self.views, self.augment = dict(views), augment
        for name, view in self.views.items():
            if view.statistics is not None:
                mean, std = view.statistics
                self.register_buffer(f"{name}_mean", mean)
                self.register_buffer(f"{name}_std", std)

    @torch.no_grad()
    def forward(self, batch: Batch, train: bool) -> Batch:
        """Return the batch with model views; `train` says whether to augment."""
        made, whole = dataclasses.replace(batch, views={}, cropped=frozenset(), whole=frozenset()), set(batch.whole)
        made.start, made.present, made.length = dict(batch.start), dict(batch.present), dict(batch.length)
        for name, spec in self.views.items():
            cut = made_of(name, spec, batch)
            if cut not in batch.views:
                raise UsageError(f"the batch lacks the view {cut!r}; it has {', '.join(batch.views) or 'none'}")
            key = key_of(self.views, name, batch.key) if train else None
            made.views[name], made.present[name] = self._model_view(name, spec, batch, key), batch.present[cut]
            whole |= {name} if cut in batch.whole else set()
            for known, field in ((batch.start, made.start), (batch.length, made.length)):
                if cut in known:
                    field[name] = known[cut]
        made.whole = frozenset(whole)
        return made

    def _model_view(self, name: str, spec: ViewSpec, batch: Batch, key: Tensor | None) -> Tensor:
        """Return one view (B, ...): only what is there is computed on, the rest stays zero."""
        cut = made_of(name, spec, batch)
        raw, present, mirrorable = batch.views[cut], batch.present[cut], batch.mirrorable
        some = not batch.has_all(cut)
        if some:
            raw, mirrorable = raw[present], mirrorable[present]
            key = None if key is None else key[present]
        statistics = self.statistics_of(name)
        augment = augment_of(self.views, name, self.augment)
        if cut in batch.cropped:
            augment = dataclasses.replace(augment, crop_area=None)
        made = spec.prepare(raw, key, mirrorable, augment, statistics) if len(raw) else spec.nothing.to(raw.device)
        if some:
            made = spec.fill(made, present)
        if spec.sequence:  # after its end a sequence is zero, whatever is subtracted from its steps
            made = torch.where(batch.mask(cut).to(made.device)[..., None], made, 0.0)
        return made

    def statistics_of(self, name: str) -> tuple[Tensor, Tensor] | None:
        """Return the mean and deviation (C,) that a view is normalised by; None where by no statistics."""
        if self.views[name].statistics is None:
            return None
        return self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_std")

    @torch.no_grad()
    def fit_features(self, source: Source) -> None:
        """Set the statistics of views that nothing is decoded for to those of all of a source's recordings with them.

        A number that never changes keeps deviation 1.
        """
        for name, view in self.views.items():
            if view.medium is None and view.statistics is not None:
                parts = []
                for rows in torch.split(torch.arange(len(source)), _ROWS):
                    batch = source.read_window(rows, 0, 1)
                    raw = batch.views[name]
                    valid = batch.mask(name) if view.sequence else torch.ones(len(raw), 1, dtype=torch.bool)
                    there = (valid & batch.present[name][:, None]).expand(len(raw), -1)
                    values = view.values(raw)
                    assert values is not None
                    parts.append(values[there.flatten()])
                std, mean = torch.std_mean(torch.cat(parts).double(), dim=0, correction=0)
                self.get_buffer(f"{name}_mean").copy_(mean)
                self.get_buffer(f"{name}_std").copy_(torch.where(std > 1e-6 * mean.abs(), std, 1.0))

    def set_statistics(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Normalise views by these means and deviations, as `data.statistics.read_statistics` returns them."""
        for name, (mean, std) in statistics.items():
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_std").copy_(std)

    @property
    def statistics(self) -> dict[str, dict[str, list[float]]]:
        """View -> the mean and deviation that it is normalised by, as plain numbers."""
        own: dict[str, dict[str, list[float]]] = {}
        for name, values in self.state_dict().items():
            view, _, kind = name.rpartition("_")
            own.setdefault(view, {})[kind] = values.tolist()
        return own
