"""The files of a collection by row, and what is made of them: as they are where browsers play them, else copies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coview.data.recording import Recording
from coview.serve.cache import Cache
from coview.serve.library import Library, Opened, open_file
from coview.serve.playable import media_type
from coview.serve.proxies import MOST_SECONDS
from coview.serve.refusal import Refusal
from coview.serve.sending import send
from coview.serve.workers import COUNT, Workers

_TYPES = {"poster": "image/jpeg", "picture": "image/jpeg", "peaks": "application/octet-stream"}
_WAITING = 64  # requests for things to be made


class Media:
    """Everything of a recording that is seen or heard."""

    def __init__(self, library: Library, cache: Cache, workers: Workers) -> None:
        self._library, self._cache, self._workers = library, cache, workers
        self._slots = asyncio.Semaphore(COUNT)
        self._copying = asyncio.Semaphore(COUNT - 1)  # copies take minutes: posters do not wait for them
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()

    def routes(self) -> list[Route]:
        """Return the routes below /media/ROW."""
        made = [Route(f"/media/{{row}}/{kind}", self.made(kind)) for kind in _TYPES]
        return [
            Route("/media/{row}", self.original),
            Route("/media/{row}/play", self.play),
            Route("/media/{row}/proxy", self.proxy),
            *made,
        ]

    def find(self, request: Request) -> tuple[Opened, Recording]:
        """Return the recording that a request names by its row.

        Raises:
            Refusal: 404 no such row, 409 the collection was changed.
        """
        opened = self._library.expect(request.query_params.get("c"))
        return opened, opened.collection[row_of(request.path_params["row"], len(opened.rows))]

    async def original(self, request: Request) -> Response:
        """Send the file itself, where browsers play it."""
        opened, recording = await run_in_threadpool(self.find, request)
        kind, why = media_type(await self._facts(request, opened, recording), recording.flags)
        if not kind:
            raise Refusal(415, why, "ask for its copy")
        file = await run_in_threadpool(self._open, opened, recording)
        return send(request, file, kind, recording.digest or str(recording.modified))

    async def play(self, request: Request) -> Response:
        """Say how a recording is played: as it is or by a copy, and why."""
        opened, recording = await run_in_threadpool(self.find, request)
        kind, why = media_type(await self._facts(request, opened, recording), recording.flags)
        seconds = recording.end if kind else min(recording.end, MOST_SECONDS)
        return JSONResponse({"direct": bool(kind), "why": why, "seconds": seconds})

    async def proxy(self, request: Request) -> Response:
        """Send a copy that every browser plays."""
        opened, recording = await run_in_threadpool(self.find, request)
        path = await self._make(request, opened, recording, "proxy", {"flags": recording.flags})
        kind = "video/mp4" if recording.has_video else "audio/mp4"
        return send(request, FileIO(path), kind, f"{path.name}-proxy")

    def made(self, kind: str) -> Any:
        """Return the route that sends a poster, a whole still or the peaks."""

        async def answer(request: Request) -> Response:
            opened, recording = await run_in_threadpool(self.find, request)
            more: dict[str, Any] = {"flags": recording.flags}
            if kind == "poster":  # the middle: films begin with black pictures and titles
                more["second"] = (recording.start + recording.end) / 2
            path = await self._make(request, opened, recording, kind, more)
            points = request.query_params.get("points", "")
            if kind == "peaks" and points.isascii() and points.isdigit() and 0 < len(points) < 5:
                return Response(await run_in_threadpool(fewer, path, int(points)), media_type=_TYPES[kind])
            return send(request, FileIO(path), _TYPES[kind], f"{path.name}-{kind}")

        return answer

    async def _facts(self, request: Request, opened: Opened, recording: Recording) -> dict[str, Any]:
        path = await self._make(request, opened, recording, "facts", {})
        found: dict[str, Any] = json.loads(await run_in_threadpool(path.read_text, "utf-8"))
        return found

    def _open(self, opened: Opened, recording: Recording) -> FileIO:
        return open_file(self._library.locate(opened.collection, recording), recording)

    async def _make(
        self, request: Request, opened: Opened, recording: Recording, kind: str, more: dict[str, Any]
    ) -> Path:
        """Return the file that was made of a recording, made now if it has to be; whoever asks for the same waits."""
        source = await run_in_threadpool(self._library.locate, opened.collection, recording)
        # Also where all is made already: what the file is now is what the page speaks of.
        (await run_in_threadpool(open_file, source, recording)).close()
        digest = recording.digest or f"{source}/{recording.bytes}/{recording.modified}"
        if "second" in more:  # recordings may be spans of one file
            digest += f"@{more['second']:.3f}"
        key = (digest, kind)
        if found := self._cache.find(*key):
            return found
        if self._waiting.total() >= _WAITING:
            raise Refusal(503, "too much is being made already", "wait a moment")
        self._waiting[key] += 1
        try:
            copying = self._copying if kind == "proxy" else contextlib.nullcontext()
            async with self._locks.setdefault(key, asyncio.Lock()), copying, self._slots:
                if found := self._cache.find(*key):
                    return found
                if await request.is_disconnected():
                    raise Refusal(503, "nobody waits for it any more")
                return await run_in_threadpool(self._work, key, {"kind": kind, "path": str(source), **more})
        finally:
            self._waiting[key] -= 1
            if self._waiting[key] <= 0:
                del self._waiting[key], self._locks[key]

    def _work(self, key: tuple[str, str], job: dict[str, Any]) -> Path:
        with self._cache.adding(*key) as aside:
            self._workers.do({**job, "out": str(aside)})
        found = self._cache.find(*key)
        if found is None:
            raise Refusal(503, "what was made is gone already", "make the cache larger: --cache-gb")
        return found


def row_of(text: str, rows: int) -> int:
    """Return the row that a part of an address names.

    Raises:
        Refusal: 404, it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < rows):
        raise Refusal(404, "there is no such recording")
    return int(text)


def fewer(path: Path, points: int) -> bytes:
    """Return peaks as `points` pairs at most: of each stretch the least and the greatest."""
    pairs = np.fromfile(path, np.int8).reshape(-1, 2)
    if len(pairs) <= points:
        return pairs.tobytes()
    firsts = np.linspace(0, len(pairs), points, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(pairs[:, 0], firsts), np.maximum.reduceat(pairs[:, 1], firsts)
    return np.stack([low, high], 1).tobytes()
