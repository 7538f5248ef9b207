"""From raw views to model views: the last step of the data path, batched on the training device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coview.data.augment import audio, video
from coview.data.augment.settings import AugmentSettings
from coview.data.source import Source
from coview.data.views import AudioView, Batch, FeaturesView, ImageView, VideoView, ViewSpec, cut_from
from coview.errors import UsageError
from coview.randomness import make_key

# Published data statistics, the start until a collection's own are set: xID's of log10 mel magnitudes, AVID's of dB.
_STATISTICS = {"mel": (-2.19, 0.50), "spectrogram": (-28.5, 19.7)}


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
            if isinstance(view, AudioView) and view.normalise == "statistics":
                bands = view.mels if view.layout == "mel" else view.n_fft // 2 + 1
                mean, std = _STATISTICS[view.layout]
                self.register_buffer(f"{name}_mean", torch.full((bands,), mean))
                self.register_buffer(f"{name}_std", torch.full((bands,), std))
            elif isinstance(view, VideoView) and view.normalise == "statistics":
                self.register_buffer(f"{name}_mean", torch.tensor(video.IMAGENET_MEAN))
                self.register_buffer(f"{name}_std", torch.tensor(video.IMAGENET_STD))
            elif isinstance(view, FeaturesView) and view.normalise == "statistics":
                self.register_buffer(f"{name}_mean", torch.zeros(view.dim))
                self.register_buffer(f"{name}_std", torch.ones(view.dim))

    @torch.no_grad()
    def forward(self, batch: Batch, train: bool) -> Batch:
        """Return the batch with model views; `train` says whether to augment."""
        views, start, there, whole_views = {}, dict(batch.start), dict(batch.present), set(batch.whole)
        for place, (name, spec) in enumerate(self.views.items()):
            cut = cut_from(name, spec)
            if cut not in batch.views:
                raise UsageError(f"the batch lacks the view {cut!r}; it has {', '.join(batch.views) or 'none'}")
            raw, present = batch.views[cut], batch.present[cut]
            key = make_key(batch.key, place) if train else None
            # Only what is there is computed on; the rest stays zero.
            some, keys, mirrorable = raw, key, batch.mirrorable
            if not batch.has_all(cut):
                some, keys, mirrorable = raw[present], None if key is None else key[present], mirrorable[present]
            if len(some):
                made = self._model_view(name, some, spec, keys, mirrorable)
            else:
                made = torch.zeros(
                    0, *spec.shape, dtype=raw.dtype if spec.stream == "text" else None, device=raw.device
                )
            if some is not raw:
                whole = made.new_zeros(len(batch), *made.shape[1:])
                whole[present] = made
                made = whole
            views[name], there[name] = made, present
            whole_views |= {name} if cut in batch.whole else set()
            if cut in start:
                start[name] = start[cut]
        return dataclasses.replace(batch, views=views, start=start, present=there, whole=frozenset(whole_views))

    @torch.no_grad()
    def fit_features(self, source: Source) -> None:
        """Set the statistics of views of features to those of all of a source's recordings that have them.

        A feature that never changes keeps deviation 1.
        """
        for name, view in self.views.items():
            if isinstance(view, FeaturesView) and view.normalise == "statistics":
                parts = []
                for rows in torch.split(torch.arange(len(source)), _ROWS):
                    batch = source.read_window(rows, 0, 1)
                    parts.append(batch.views[name][batch.present[name]].flatten(0, -2))
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

    def _model_view(self, name: str, raw: Tensor, spec: ViewSpec, key: Tensor | None, mirrorable: Tensor) -> Tensor:
        if isinstance(spec, VideoView):
            made = self._video(name, raw, spec, key, mirrorable)
            return made[:, :, 0] if isinstance(spec, ImageView) else made
        if isinstance(spec, FeaturesView) and spec.normalise == "statistics":
            return (raw - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_std")
        return self._audio(name, raw, spec, key) if isinstance(spec, AudioView) else raw

    def _video(self, name: str, frames: Tensor, view: VideoView, key: Tensor | None, mirrorable: Tensor) -> Tensor:
        # Decoders write channels last; what is computed must not depend on how a source lays out its memory.
        clips = frames.to(torch.float32, memory_format=torch.contiguous_format) / 255
        if key is None:
            return self._normalise_video(name, video.centre_crop(clips, view.size), view)
        augment = self.augment if view.area is None else dataclasses.replace(self.augment, crop_area=view.area)
        clips = video.random_view(clips, view.size, key, augment, mirrorable)
        clips = video.blur(video.grey(video.jitter_colours(clips, key, augment), key, augment), key, augment)
        return video.disturb(self._normalise_video(name, clips, view), key, self.augment)

    def _normalise_video(self, name: str, clips: Tensor, view: VideoView) -> Tensor:
        if view.normalise != "statistics":
            return video.normalise(clips, view.normalise)
        mean, std = (self.get_buffer(f"{name}_{kind}")[:, None, None, None] for kind in ("mean", "std"))
        return (clips - mean) / std

    def _audio(self, name: str, waveform: Tensor, view: AudioView, key: Tensor | None) -> Tensor:
        image = audio.spectrogram(audio.levelled(waveform, key, self.augment), view)
        if key is not None:
            image = audio.vary(image, view, key, self.augment)
        image = self._normalise(name, image, view)
        return image if key is None else audio.disturb(image, key, self.augment)

    def _normalise(self, name: str, image: Tensor, view: AudioView) -> Tensor:
        if view.normalise == "clip":
            std, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
            return (image - mean) / (std + 1e-6)
        mean, std = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_std")
        if view.layout == "mel":
            mean, std = mean[:, None], std[:, None]
        return (image - mean) / (std + 1e-6)
