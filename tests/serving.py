"""A small collection of real files, and a client of the page that serves it; shared by the tests of `coview serve`."""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from starlette.testclient import TestClient

from coview.data.index import index_source
from coview.media.encode import write_clip
from coview.serve import child
from coview.serve.app import build
from coview.serve.cache import Cache
from coview.serve.library import Library
from coview.serve.workers import Workers

PORT = 8765
HERE = f"http://127.0.0.1:{PORT}"
PAGE = {"x-coview": "1", "origin": HERE}  # what the page's own requests carry


class Directly(Workers):
    """Does in this process what a process of its own does."""

    def __init__(self):
        super().__init__()
        for worker in self._all:
            worker.ask = child.answer


def make_media(folder: Path) -> None:
    """Write a film that browsers play, one that they do not, a sound, a still, and a file that is none."""
    folder.mkdir(parents=True)
    seconds = torch.arange(32000) / 16000
    tone = 0.5 * torch.sin(2 * math.pi * 440 * seconds) * (seconds < 1)
    frames = torch.zeros(3, 16, 48, 64, dtype=torch.uint8)
    frames[0, :, :, 32:] = 255
    write_clip(folder / "a-film.mp4", frames, 8.0, tone, 16000)
    with av.open(str(folder / "b-old.avi"), "w") as made:
        stream = made.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in frames.permute(1, 2, 3, 0).numpy():
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        made.mux(stream.encode(None))
    with av.open(str(folder / "c-tone.wav"), "w") as made:
        sound = made.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone * 32767).short().numpy()[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        made.mux(sound.encode(frame))
        made.mux(sound.encode(None))
    Image.fromarray(np.full((40, 60, 3), (10, 200, 30), np.uint8)).save(folder / "d-photo.png")
    (folder / "e-broken.mp4").write_bytes(b"no film at all")


def make_collection(folder: Path) -> Path:
    """Index such files; returns the collection's folder."""
    make_media(folder / "media")
    index_source(str(folder / "media"), folder / "collection", workers=0)
    return folder / "collection"


@contextmanager
def client_of(
    folder: Path, cache: Path, *, known: bool = True, searching=None, stored=None, **options
) -> Iterator[TestClient]:
    """Yield a client of a collection's page, with the cookie where it is `known`; `.guard` is the application.

    `searching` makes search by example of a library and workers.
    """
    library = Library(folder, **options)
    search = searching and functools.partial(searching, library)
    made = Cache(cache, 1 << 26)
    app = build(library, made, port=PORT, workers=Directly(), searching=search, stored=stored)
    with TestClient(app, base_url=HERE) as client:
        client.guard = app
        if known:
            assert client.post("/api/session", json={"token": app.token}, headers=PAGE).status_code == 200
            client.c = client.get("/api/about").json()["fingerprint"]
        yield client
