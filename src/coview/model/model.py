"""A model: what is kept of a run, in evaluation mode behind the preprocessing it was trained with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from coview.data.preprocess import Preprocess
from coview.data.source import Source
from coview.data.views import Batch, ViewSpec, cut_from
from coview.encoders.base import Encoder, evaluating
from coview.errors import MediaError, UsageError
from coview.methods.contract import Method
from coview.methods.reading import Space
from coview.model.folder import read_model, write_model
from coview.model.media import in_files, read_files, text_batch
from coview.model.tensors import raw_frames, raw_sound, view_of

_TEXTS = 256  # that are embedded together: of names of classes there may be any number


class Model:
    """The encoders and heads of a method behind the preprocessing they were trained with, in evaluation mode.

    Args:
        method: shared, not copied; it is put back into training mode after each use if it was in it.
        preprocess: turns raw views into model views.
        about: what `config.json` says beside the method: the collection, the classes, the steps of training, ...
    """

    def __init__(self, method: Method, preprocess: Preprocess, about: Mapping[str, Any]) -> None:
        self.method = method
        self.preprocess = preprocess
        self.about = dict(about)

    @classmethod
    def of(cls, method: Method, preprocess: Preprocess, source: Source, **about: Any) -> Model:
        """Return the model of a method that is or was trained on `source`; `about` goes into config.json."""
        collection = {"name": Path(source.name).name, "fingerprint": source.fingerprint, "rows": len(source)}
        return cls(method, preprocess, {"collection": collection, "classes": list(source.classes), **about})

    @classmethod
    def from_run(cls, path: Path | str) -> Model:
        """Read a model folder, or the model of a run folder, onto the CPU; without what only training needs.

        Raises:
            UsageError: there is none; its files are damaged or do not fit each other; its weights are not finite.
        """
        return cls(*read_model(Path(path)))

    def save(self, folder: Path) -> None:
        """Write model.safetensors, preprocessing.json, README.md and config.json, each whole or not at all.

        Raises:
            UsageError: weights that are not finite.
            OSError, SafetensorError: the folder cannot be written.
        """
        write_model(self.method, self.preprocess, self.about, folder)

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """Name -> how a view is cut from a recording."""
        return self.method.views

    @cached_property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """Name of an embedding -> the views it is made of.

        An embedding is called like its view; what a method makes of several views at once has a name of its own.
        """
        own = type(self.method).embed is Method.embed
        names = self.method.encoders if own else self._example("projected")
        return {name: self.method.made_of(name) for name in names}

    @cached_property
    def dim(self) -> Mapping[str, int]:
        """Name of an embedding -> its length in the projected space, or the features' where a view has no head."""
        return {name: value.shape[1] for name, value in self._example("projected").items()}

    @torch.no_grad()
    def _example(self, space: Space) -> dict[str, Tensor]:
        with self.evaluating():
            return self.method.embed(self.method.example_batch(1, 0).to(self.device), space)

    def distinct_views(self) -> list[str]:
        """Return the embeddings that differ, in order: a second clip with the first one's encoder adds nothing."""
        encoders = self.method.encoders
        seen: dict[int, str] = {}
        for name in self.reads:
            seen.setdefault(id(encoders[name]) if name in encoders else id(name), name)
        return list(seen.values())

    @property
    def needed(self) -> dict[str, ViewSpec]:
        """The views that a source must cut for `distinct_views`."""
        return self._cut_for(self.distinct_views())

    def _cut_for(self, names: Sequence[str]) -> dict[str, ViewSpec]:
        """Return the views that some embeddings are made of, and those that these are crops of."""
        read = {view for name in names for view in self.reads[name]}
        read |= {cut_from(view, self.views[view]) for view in read}
        return {view: spec for view, spec in self.views.items() if view in read}

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.method.parameters()).device

    def to(self, device: torch.device | str) -> Model:
        """Move the networks to a device; returns the model itself."""
        self.method.to(device)
        self.preprocess.to(device)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of every tensor of encoders, heads, makers and preprocessing: name, shape, type, bytes; computed
        anew.
        """
        digest = hashlib.sha256()
        for part in (self.method.encoders, self.method.projectors, self.method.makers, self.preprocess):
            for name, tensor in sorted(part.state_dict().items()):
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """Embed the raw views of a batch: name of an embedding -> float32 (B, D), on the model's device.

        Rows that lack a view (`batch.present`) hold numbers without meaning. Nothing is augmented, and nothing of
        the model changes.

        Args:
            batch: raw views, as a source reads them.
            space: "backbone" for the encoder's features, "projected" for the space where views are compared.
        """
        with self.evaluating():
            return {name: value.float() for name, value in self.method.embed(self.prepared(batch), space).items()}

    @cached_property
    def grouped(self) -> bool:
        """Whether the method puts recordings into groups of its own."""
        with torch.no_grad(), self.evaluating():
            return bool(self.method.groups(self.method.example_batch(1, 0).to(self.device)))

    @torch.no_grad()
    def groups(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> scores float32 (B, K) of the method's own groups, of raw views; otherwise as `encode`."""
        with self.evaluating():
            return {name: value.float() for name, value in self.method.groups(self.prepared(batch)).items()}

    @torch.no_grad()
    def feature_maps(self, batch: Batch, augmented: bool = False) -> dict[str, dict[str, Tensor]]:
        """Return view -> stage -> maps of the raw views that have an encoder; otherwise as `encode`.

        With `augmented` the views are varied as in training, by the settings of the model's preprocessing.
        """
        with self.evaluating():
            encoders = cast(Mapping[str, Encoder], self.method.encoders)
            inputs = self.prepared(batch, augmented).views
            return {name: encoders[name].feature_maps(value) for name, value in inputs.items() if name in encoders}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep the method in evaluation mode for a while."""
        with evaluating(self.method):
            yield

    def inputs(self, batch: Batch, augmented: bool = False) -> dict[str, Tensor]:
        """Return the model views of the raw ones that are embedded, on the model's device."""
        return self.prepared(batch, augmented).views

    def prepared(self, batch: Batch, augmented: bool = False) -> Batch:
        """Return the batch of the model views that are embedded, on the model's device."""
        read = {view for views in self.reads.values() for view in views}
        known = [name for name in self.views if name in read and cut_from(name, self.views[name]) in batch.views]
        raw = {cut: batch.views[cut] for cut in (cut_from(name, self.views[name]) for name in known)}
        made: Batch = self.preprocess_for(known)(dataclasses.replace(batch, views=raw).to(self.device), train=augmented)
        return made

    def present(self, batch: Batch, name: str) -> Tensor:
        """Return bool (B,): which samples of a raw batch have the views that an embedding is made of.

        These are all of them, or with `Method.takes_some` any.
        """
        there = torch.stack([batch.present[cut_from(view, self.views[view])] for view in self.reads[name]])
        return there.any(0) if self.method.takes_some else there.all(0)

    def preprocess_for(self, views: list[str]) -> Preprocess:
        """Return the preprocessing of some of the views alone."""
        if set(views) == set(self.views):
            return self.preprocess
        part = Preprocess({name: self.views[name] for name in views}, self.preprocess.augment)
        state = self.preprocess.state_dict()
        part.load_state_dict({name: state[name] for name in part.state_dict()})
        return part.to(self.device)

    def head(self, view: str) -> torch.nn.Module:
        """Return the head of a view; the identity where it has none."""
        return self.method.projectors[view] if view in self.method.projectors else torch.nn.Identity()

    def embed(
        self,
        files: Sequence[Path | str],
        view: str | None = None,
        space: Space = "projected",
        windows: int = 1,
        batch_size: int = 16,
    ) -> dict[str, Tensor]:
        """Embed media files: name -> float32 (N, D) on the CPU, the mean over `windows` evenly spaced cuts.

        Args:
            files: any audio or video files.
            view: only this embedding; None means every one whose views are cut from files, and each file must have
                them.

        Raises:
            MediaError: a file cannot be read, has no such track, its sound is silent, or its embedding is not finite.
            UsageError: the model has no such embedding.
        """
        if view is not None and view not in self.reads:
            raise UsageError(f"the model has no view {view!r}; it has {', '.join(self.reads)}")
        cut = {name for name in self.reads if all(in_files(self.views[one]) for one in self.reads[name])}
        wanted = [name for name in ([view] if view else self.distinct_views()) if name in cut]
        if not wanted:
            raise UsageError(f"{view or 'no view of this model'} is cut from media files; use embed_texts for captions")
        if not files:
            return {name: torch.empty(0, self.dim[name]) for name in wanted}
        read = read_files(files, self._cut_for(wanted), windows, batch_size)
        parts = [self._mean(batches, wanted, space) for batches in read]
        whole = {name: torch.cat([part[name] for part in parts]) for name in wanted}
        for values in whole.values():
            for row in (~values.isfinite().all(1)).nonzero().flatten().tolist():
                raise MediaError(str(files[row]), "not-finite", "the model makes NaN or infinity of the file")
        return whole

    def encode_video(self, frames: Tensor, *, view: str | None = None, space: Space = "projected") -> Tensor:
        """Embed clips that are in memory: float32 (B, D) on the model's device.

        The short side is scaled to what the model's decoder delivers (`raw_shape` of the view) and the square in the
        middle kept; then the model's own preprocessing makes the centre crop and normalises, as for files.

        Args:
            frames: uint8 (B, 3, T, H, W) or (3, T, H, W), RGB, T frames at the view's rate: `model.views["video"]`.
            view: which view of clips, where there are several.

        Raises:
            InputError: the model has no such view, or the tensor is of another shape or type.
        """
        name = view_of(list(self.reads), dict(self.views), "video", view)
        return self._encode_raw(name, raw_frames(frames, self.views[name]), space)

    def encode_image(self, pictures: Tensor, *, view: str | None = None, space: Space = "projected") -> Tensor:
        """Embed pictures that are in memory, uint8 (B, 3, H, W) or (3, H, W), RGB; otherwise as `encode_video`."""
        name = view_of(list(self.reads), dict(self.views), "image", view)
        clips = pictures[..., None, :, :] if pictures.ndim > 2 else pictures  # else `raw_frames` says what is wrong
        return self._encode_raw(name, raw_frames(clips, self.views[name]), space)

    def encode_audio(
        self, waveform: Tensor, rate: int, *, view: str | None = None, space: Space = "projected"
    ) -> Tensor:
        """Embed sounds that are in memory: float32 (B, D) on the model's device.

        They are resampled to the view's rate; the view's first seconds are used, with silence behind what is shorter;
        then the model's own preprocessing makes and normalises the spectrogram, as for files.

        Args:
            waveform: float (B, N) or (N,), mono, full scale 1.
            rate: samples per second.
            view: which view of sound, where there are several.

        Raises:
            InputError: the model has no such view, or the tensor is of another shape or type.
        """
        name = view_of(list(self.reads), dict(self.views), "audio", view)
        return self._encode_raw(name, raw_sound(waveform, rate, self.views[name]), space)

    def _encode_raw(self, name: str, raw: Tensor, space: Space) -> Tensor:
        row = torch.arange(len(raw))
        return self.encode(Batch(views={name: raw}, row=row, key=row), space)[name]

    def embed_texts(self, texts: Sequence[str], space: Space = "projected") -> Tensor:
        """Embed captions: float32 (N, D) on the CPU.

        Raises:
            UsageError: the model has not learnt from captions, or there is none given.
        """
        parts = (text_batch(texts[first : first + _TEXTS], self.views) for first in range(0, len(texts) or 1, _TEXTS))
        return torch.cat([self.encode(batch, space)[name].cpu() for name, batch in parts])

    def _mean(self, batches: Sequence[Batch], names: Sequence[str], space: Space) -> dict[str, Tensor]:
        """Return the mean embeddings of batches of the same recordings, over those that have the views."""
        made = [self.encode(batch, space) for batch in batches]
        means = {}
        for name in names:
            there = torch.stack([self.present(batch, name) for batch in batches])
            values = torch.stack([values[name].cpu() for values in made])
            means[name] = torch.where(there[..., None], values, 0.0).sum(0) / there.sum(0)[:, None]
        return means
