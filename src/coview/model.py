"""A model: what is kept of a run. Encoders, heads and preprocessing, in a folder that anything can read."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor

from coview.data.augment import AugmentSettings
from coview.data.collection import Collection, write_tables
from coview.data.media_source import MediaSource
from coview.data.preprocess import Preprocess
from coview.data.probing import probe_file
from coview.data.recording import Recording
from coview.data.source import Source
from coview.data.text import encode_text
from coview.data.views import Batch, TextView, VideoView, ViewSpec, read_view
from coview.encoders.base import Encoder
from coview.errors import MediaError, UsageError
from coview.files import read_tensors, write_aside, write_tensors
from coview.methods import build
from coview.methods.contract import Facts, Method
from coview.settings import to_dict

FORMAT = 1
_IN_FILES = ("video", "audio")  # streams that media files have
Space = Literal["backbone", "projected"]


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
        """Read a model folder, or the model of a run folder, onto the CPU.

        Raises:
            UsageError: there is none, or its files do not fit each other.
        """
        folder = Path(path)
        folder = folder / "model" if (folder / "model" / "config.json").exists() else folder
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            cuts = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
            tensors = read_tensors(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise UsageError(
                f"{path}: expected a run with a model (a run has one from its first checkpoint on) or a model folder "
                f"with config.json, preprocessing.json and model.safetensors ({error})"
            ) from error
        if config.get("format") != FORMAT:
            raise UsageError(f"{folder}: format {config.get('format')!r}, but this version reads {FORMAT}")
        facts = Facts(rows=config["collection"]["rows"], classes=len(config["classes"]))
        method = build(config["method"], config["settings"], facts)
        if {name: read_view(fields) for name, fields in cuts["views"].items()} != dict(method.views):
            raise UsageError(f"{folder}: preprocessing.json does not say what config.json says; one was edited")
        preprocess = Preprocess(method.views, AugmentSettings())
        parts = {"encoders": method.encoders, "projectors": method.projectors, "preprocess": preprocess}
        for part, module in parts.items():
            own = {n.removeprefix(f"{part}."): value for n, value in tensors.items() if n.startswith(f"{part}.")}
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise UsageError(f"{folder}: model.safetensors does not fit config.json: {error}") from error
        return cls(method, preprocess, {k: v for k, v in config.items() if k not in ("format", "method", "settings")})

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """Name -> how a view is cut from a recording."""
        return self.method.views

    @property
    def dim(self) -> dict[str, int]:
        """View -> length of a projected embedding, or of the encoder's features where a view has no head."""
        lengths = {}
        for view, encoder in self.method.encoders.items():
            weights = [w for w in self.head(view).parameters() if w.ndim == 2]
            lengths[view] = int(weights[-1].shape[0]) if weights else int(getattr(encoder, "dim"))  # noqa: B009
        return lengths

    def to(self, device: torch.device | str) -> Model:
        """Move the networks to a device; returns the model itself."""
        self.method.to(device)
        self.preprocess.to(device)
        return self

    @torch.no_grad()
    def encode(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """Embed the raw views of a batch that have an encoder: view -> float32 (B, D), on the model's device.

        Rows whose view is absent (`batch.present`) hold numbers without meaning. Nothing is augmented, and nothing of
        the model changes.

        Args:
            batch: raw views, as a source reads them.
            space: "backbone" for the encoder's features, "projected" for the space where views are compared.
        """
        with self.evaluating():
            values = {name: self.method.encoders[name](value) for name, value in self.inputs(batch).items()}
            if space == "projected":
                values = {name: self.head(name)(value) for name, value in values.items()}
            return {name: value.float() for name, value in values.items()}

    @torch.no_grad()
    def feature_maps(self, batch: Batch, augmented: bool = False) -> dict[str, dict[str, Tensor]]:
        """Return view -> stage -> maps of the raw views that have an encoder; otherwise as `encode`.

        With `augmented` the views are varied as in training, by the settings of the model's preprocessing.
        """
        with self.evaluating():
            encoders = cast(Mapping[str, Encoder], self.method.encoders)
            inputs = self.inputs(batch, augmented)
            return {name: encoders[name].feature_maps(value) for name, value in inputs.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep the method in evaluation mode for a while."""
        training = self.method.training
        self.method.eval()
        try:
            yield
        finally:
            self.method.train(training)

    def inputs(self, batch: Batch, augmented: bool = False) -> dict[str, Tensor]:
        """Return the model views of the raw ones that have an encoder, on the model's device."""
        known = {name: value for name, value in batch.views.items() if name in self.method.encoders}
        batch = dataclasses.replace(batch, views=known).to(next(self.method.parameters()).device)
        prepared: Batch = self.preprocess_for(list(known))(batch, train=augmented)
        return prepared.views

    def embed(
        self,
        files: Sequence[Path | str],
        view: str | None = None,
        space: Space = "projected",
        windows: int = 1,
        batch_size: int = 16,
    ) -> dict[str, Tensor]:
        """Embed media files: view -> float32 (N, D) on the CPU, the mean over `windows` evenly spaced cuts.

        Args:
            files: any audio or video files.
            view: only this view; None means every one that has an encoder of its own and is cut from files, and each
                file must have them.

        Raises:
            MediaError: a file cannot be read, has no such track, or its sound is silent.
            UsageError: the model has no such view.
        """
        if view is not None and view not in self.views:
            raise UsageError(f"the model has no view {view!r}; it has {', '.join(self.views)}")
        wanted = [view] if view else [name for name in self.distinct_views() if _track(self.views[name]) in _IN_FILES]
        if not wanted or _track(self.views[wanted[0]]) not in _IN_FILES:
            raise UsageError(f"{view or 'no view of this model'} is cut from media files; use embed_texts for captions")
        views = {name: self.views[name] for name in wanted}
        recordings = [_recording(index, Path(file), views) for index, file in enumerate(files)]
        if not recordings:
            return {name: torch.empty(0, length) for name, length in self.dim.items() if name in views}
        with tempfile.TemporaryDirectory() as folder:
            nothing: dict[str, Any] = {"source": "files", "root": ".", "ignored": {}, "report": {}}
            write_tables(Path(folder), recordings, [], nothing)
            source = MediaSource(Collection.open(folder), views)
        parts = []
        for rows in torch.split(torch.arange(len(source)), batch_size):
            parts.append(self._mean_over_windows(source, rows, space, windows, files))
        return {name: torch.cat([part[name] for part in parts]) for name in views}

    def embed_texts(self, texts: Sequence[str], space: Space = "projected") -> Tensor:
        """Embed captions: float32 (N, D) on the CPU.

        Raises:
            UsageError: the model has not learnt from captions, or there is none given.
        """
        found = [(name, spec) for name, spec in self.views.items() if isinstance(spec, TextView)]
        if not found or not texts:
            raise UsageError(f"give at least one text, to a model of captions; this one has {', '.join(self.views)}")
        name, spec = found[0]
        codes = torch.stack([encode_text(text, spec) for text in texts])
        row = torch.arange(len(texts))
        return self.encode(Batch(views={name: codes}, row=row, key=row), space)[name].cpu()

    def _mean_over_windows(
        self, source: MediaSource, rows: Tensor, space: Space, windows: int, files: Sequence[Path | str]
    ) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        for window in range(windows):
            batch = source.read_window(rows, window, windows)
            for row, reason in batch.replaced:
                raise MediaError(str(files[row]), reason, "a cut of the file could not be decoded")
            for name, values in self.encode(batch, space).items():
                there = batch.present[name][:, None].float()
                sums[name] = sums.get(name, 0) + torch.where(there > 0, values.cpu(), 0.0)
                counts[name] = counts.get(name, 0) + there
        for name, count in counts.items():
            for row in rows[count[:, 0] == 0].tolist():
                raise MediaError(str(files[row]), "silent", f"there is nothing to hear where {name!r} was cut")
        return {name: total / counts[name] for name, total in sums.items()}

    def distinct_views(self) -> list[str]:
        """Return the views that have an encoder of their own, in order: the second clip of a pair adds nothing."""
        first = {id(encoder): view for view, encoder in reversed(list(self.method.encoders.items()))}
        return [view for view in self.method.encoders if view in first.values()]

    def save(self, folder: Path) -> None:
        """Write model.safetensors, config.json, preprocessing.json and README.md, each whole or not at all.

        Raises:
            OSError, SafetensorError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"encoders": self.method.encoders, "projectors": self.method.projectors, "preprocess": self.preprocess}
        state = {f"{part}.{n}": value for part, module in parts.items() for n, value in module.state_dict().items()}
        write_tensors(state, folder / "model.safetensors")
        config = {
            "format": FORMAT,
            "method": self.method.about.slug,
            "settings": to_dict(self.method.settings),
            **self.about,
            "versions": {name: version(name) for name in ("coview", "torch")},
        }
        write_aside(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n")
        cuts = {"views": to_dict(self.views), "shapes": "raw: uint8 frames, float32 waveforms; see coview.data.views"}
        cuts["statistics"] = self.preprocess.statistics
        write_aside(folder / "preprocessing.json", json.dumps(cuts, indent=1) + "\n")
        write_aside(folder / "README.md", self._card())

    def _card(self) -> str:
        """Return the model card, with a YAML head."""
        about, method = self.about, self.method.about
        head = {"library_name": "coview", "tags": [method.slug, method.family, *self.views]}
        views = "\n".join(f"- `{name}`: {spec}" for name, spec in self.views.items())
        known = {
            **about["collection"],
            "labels in it (not learnt from unless the method says so)": len(about["classes"]),
        }
        known |= {name: value for name, value in about.items() if isinstance(value, (int, float, str))}
        numbers = "\n".join(f"- {name}: {value}" for name, value in known.items())
        return (
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {method.title}\n\n{method.paper}. "
            f"State in coview: {method.state}.\n\n## Views\n\n{views}\n\n## Training\n\n{numbers}\n\n## Use\n\n"
            '```python\nimport coview\n\nmodel = coview.load("path/to/this/folder")\n'
            'embeddings = model.embed(["clip.mp4"])\n```\n'
        )

    def preprocess_for(self, views: list[str]) -> Preprocess:
        """Return the preprocessing of some of the views alone."""
        if set(views) == set(self.views):
            return self.preprocess
        part = Preprocess({name: self.views[name] for name in views}, self.preprocess.augment)
        state = self.preprocess.state_dict()
        part.load_state_dict({name: state[name] for name in part.state_dict()})
        return part.to(next(self.method.parameters()).device)

    def head(self, view: str) -> torch.nn.Module:
        """Return the head of a view; the identity where it has none."""
        return self.method.projectors[view] if view in self.method.projectors else torch.nn.Identity()


def _recording(index: int, path: Path, views: Mapping[str, ViewSpec]) -> Recording:
    """Probe a file and check that it has what the views are cut from."""
    outcome = probe_file(path)
    if "reason" in outcome:
        raise MediaError(str(path), outcome["reason"], outcome["message"])
    fields = {**outcome, "flags": tuple(outcome["flags"])}
    others = ", ".join(repr(name) for name, spec in views.items() if fields[f"has_{_track(spec)}"])
    hint = f"; ask for view={others} to use the rest of it" if others else ""
    for name, spec in views.items():
        track = _track(spec)
        if not fields[f"has_{track}"]:
            raise MediaError(str(path), f"no-{track}", f"the file has no {track} track for {name!r}{hint}")
        if isinstance(spec, VideoView) and spec.frames > 1 and not fields["end"]:
            raise MediaError(str(path), "still", f"the file is one picture, without the motion of {name!r}{hint}")
        if spec.stream == "audio" and fields.get("silent"):
            raise MediaError(str(path), "silent", f"the file's sound is silent, so it has no {name!r}{hint}")
    known = {"id": f"{index:09d}", "path": str(path.absolute()), "start": 0.0, "duration": fields["end"]}
    return Recording(**{**fields, **known})


def _track(view: ViewSpec) -> str:
    return "video" if isinstance(view, VideoView) else view.stream
