"""What a search by example asks with, as vectors: files that were sent, spans of recordings, recordings, words.

Files are decoded in another process (`cuts`), and the model only sees arrays. What was sent is deleted at once; its
vectors stay in memory under a random name until the server ends or many others came.
"""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.recording import Recording
from coview.data.views import Batch, cut_from
from coview.errors import CoviewError
from coview.model import Model
from coview.model.media import in_files
from coview.serve.refusal import Refusal
from coview.serve.workers import Workers
from coview.settings import to_dict

KEPT = 200  # queries and curves in memory
_AT_ONCE = 2  # decoded and embedded; as many again may wait
Key = TypeVar("Key")
Value = TypeVar("Value")
_NOTHING = "the model makes nothing of it: its embedding is zero or not finite"


@dataclass(frozen=True)
class Made:
    """Name of an embedding -> its windows (W, D), those that are there, and where each begins; and what was seen."""

    vectors: Mapping[str, Tensor]
    starts: Mapping[str, NDArray[np.float64]]
    about: Mapping[str, Any]

    def mean(self, name: str) -> Tensor | None:
        """Return the mean (D,) of an embedding's windows; None where there is none."""
        return self.vectors[name].mean(0) if name in self.vectors else None


class Recent(Generic[Key, Value]):
    """The values that were used last, `KEPT` of them; for several threads."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """Return a value, None where it is not kept any more."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> Value:
        """Keep a value; returns it."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > KEPT:
                self._values.popitem(last=False)
        return value

    def get_or_make(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return a value, made now where it is not kept."""
        found = self.get(key)
        return self.put(key, make()) if found is None else found


class Queries:
    """Makes vectors with one model.

    Args:
        windows: evenly spaced cuts of a query, as many as of the recordings that were embedded.
    """

    def __init__(self, model: Model, windows: int, workers: Workers) -> None:
        self.model, self.windows, self._workers = model, windows, workers
        self._folder = Path(tempfile.mkdtemp(prefix="coview-queries-"))  # for nobody else: 0700
        self._model_lock, self._slots = threading.Lock(), threading.BoundedSemaphore(2 * _AT_ONCE)
        self._sent: Recent[str, Made] = Recent()
        self._spans: Recent[tuple[str, float, float, int], Made] = Recent()
        self._cuts = {name: view for name, view in model.needed.items() if in_files(view)}
        self._cuts = {name: view for name, view in self._cuts.items() if cut_from(name, view) == name}
        self.from_files = [
            name
            for name in model.distinct_views()
            if all(cut_from(view, model.views[view]) in self._cuts for view in model.reads[name])
        ]

    @property
    def words(self) -> str | None:
        """The embedding that is made of words; None where the model reads none."""
        spelt = (name for name in self.model.reads if name in self.model.views)
        return next((name for name in spelt if self.model.views[name].spell("word") is not None), None)

    def close(self) -> None:
        """Delete what is left of files that were sent."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, content: bytes) -> tuple[str, Made]:
        """Embed a file that was sent; returns the name it is asked by.

        Raises:
            Refusal: 422 it cannot be read, 429 too much is being made.
        """
        path = self._place()
        try:
            path.write_bytes(content)
            made = self._embed(path, None, self.windows)
        finally:
            path.unlink(missing_ok=True)
        if not made.vectors:
            said = made.about["remarks"] or [_NOTHING]
            raise Refusal(422, "nothing in this file can be asked by", " ".join(said))
        name = secrets.token_hex(8)
        self._sent.put(name, made)
        return name, made

    def sent(self, name: str) -> Made:
        """Return a file that was sent.

        Raises:
            Refusal: 410, it is not known any more.
        """
        found = self._sent.get(name)
        if found is None:
            raise Refusal(410, "this file is not known any more", "drop it again: what is sent is kept in memory alone")
        return found

    def span(self, path: Path, recording: Recording, start: float, end: float) -> Made:
        """Embed a span of a recording, in seconds of its clock; errors as of `add`."""
        start, end = max(start, recording.start), min(end, recording.end)
        if not start < end:
            raise Refusal(400, "a span that does not lie in the recording")
        part = dataclasses.replace(recording, start=start, end=end, duration=end - start)
        key = (recording.id, start, end, self.windows)
        return self._spans.get_or_make(key, lambda: self._embed(path, part, self.windows))

    def densely(self, path: Path, recording: Recording) -> Made:
        """Embed a recording by windows a quarter of a view apart, `cuts.MOST_WINDOWS` at most; errors as of `add`."""
        key = (recording.id, recording.start, recording.end, 0)
        return self._spans.get_or_make(key, lambda: self._embed(path, recording, 0))

    def of_words(self, text: str) -> Tensor:
        """Embed words: (D,).

        Raises:
            Refusal: 400, the model reads none.
        """
        if self.words is None:
            raise Refusal(400, "this model reads no words", "ask by a recording or a file")
        with self._model_lock:
            return self.model.embed_texts([text])[0]

    def _place(self) -> Path:
        if not self._folder.is_dir():  # systems clean folders of temporary files now and then
            self._folder = Path(tempfile.mkdtemp(prefix="coview-queries-"))
        return self._folder / secrets.token_hex(16)

    def _embed(self, path: Path, recording: Recording | None, windows: int) -> Made:
        if not self._cuts:
            raise Refusal(422, "this model takes no media files", "ask by a recording of the collection")
        if not self._slots.acquire(blocking=False):
            raise Refusal(429, "too much is being embedded already", "wait a moment")
        try:
            out = self._place()
            fields = None if recording is None else _plain(recording)
            views = {name: to_dict(view) for name, view in self._cuts.items()}
            job = {"kind": "cut", "path": str(path), "out": str(out), "views": views, "windows": windows}
            try:
                about = self._workers.do({**job, "recording": fields})
                arrays = _arrays(out)
            except Refusal as refusal:
                hint = "try another file" if recording is None else refusal.hint
                raise Refusal(refusal.status, refusal.error, hint) from refusal
            finally:
                out.unlink(missing_ok=True)
            with self._model_lock:  # who waits for the model holds its arrays, and its slot
                return self._made(arrays, about)
        finally:
            self._slots.release()

    def _made(self, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Made:
        names = [name for name in self._cuts if name in arrays]
        vectors: dict[str, Tensor] = {}
        starts: dict[str, NDArray[np.float64]] = {}
        if names:
            row = torch.zeros(len(arrays[names[0]]), dtype=torch.int64)
            batch = Batch(
                views={name: torch.from_numpy(arrays[name]) for name in names},
                row=row, key=row,
                start={name: torch.from_numpy(arrays[f"{name}.start"]) for name in names},
                present={name: torch.from_numpy(arrays[f"{name}.present"]) for name in names},
                length={n: torch.from_numpy(arrays[f"{n}.length"]) for n in names if f"{n}.length" in arrays},
            )  # fmt: skip
            for name, values in self._encoded(batch).items():
                first = cut_from(self.model.reads[name][0], self.model.views[self.model.reads[name][0]])
                there = self.model.present(batch, name).cpu() & values.isfinite().all(1) & (values.norm(dim=1) > 0)
                if bool(there.any()):
                    vectors[name] = torch.nn.functional.normalize(values[there], dim=1)
                    starts[name] = arrays[f"{first}.start"][there.numpy()]
        if "still" in arrays:
            picture = torch.from_numpy(arrays["still"]).permute(2, 0, 1)[:, None]
            for name in self.from_files:
                spec = self.model.views.get(name)
                if name not in vectors and spec is not None and spec.stream == "video":
                    film = picture.expand(-1, spec.raw_shape[1], -1, -1)
                    vectors[name] = self.model.encode_video(film, view=name).cpu()
                    starts[name] = np.zeros(1)
        return Made(vectors, starts, about)

    def _encoded(self, batch: Batch) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        reads, views = self.model.reads, self.model.views
        names = [n for n in self.from_files if all(cut_from(one, views[one]) in batch.views for one in reads[n])]
        for first in range(0, len(batch), 32):
            for name, values in self.model.encode(_piece(batch, slice(first, first + 32))).items():
                if name in names:
                    parts.setdefault(name, []).append(values.cpu())
        return {name: torch.cat(found) for name, found in parts.items()}


def _piece(batch: Batch, part: slice) -> Batch:
    def cut(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value[part] for name, value in values.items()}

    return Batch(
        views=cut(batch.views), row=batch.row[part], key=batch.key[part], start=cut(batch.start),
        present=cut(batch.present), length=cut(batch.length),
    )  # fmt: skip


def _plain(recording: Recording) -> dict[str, Any]:
    """Return the fields of a recording as JSON has them, without the files beside its own."""
    return dataclasses.asdict(dataclasses.replace(recording, tracks={}, track_files={}))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CoviewError(f"what was cut of a query cannot be read ({error})") from error
