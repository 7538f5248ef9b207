"""The server's routes: the page, the collection's rows, their recordings, what could not be read."""

from __future__ import annotations

import contextlib
import mimetypes
from collections.abc import AsyncIterator, Callable, Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coview.data.stored import Stored
from coview.errors import CoviewError
from coview.search.filters import ConditionError, finite
from coview.serve.cache import Cache
from coview.serve.guard import Guard
from coview.serve.labels import Desk, Labels
from coview.serve.library import Library, Opened
from coview.serve.media import Media, row_of
from coview.serve.refusal import Refusal, read_fields, refused
from coview.serve.workers import Workers

if TYPE_CHECKING:  # it imports torch, which a page without a model does not need
    from coview.serve.searching import Searching

MOST_ROWS = 500


def build(
    library: Library,
    cache: Cache,
    *,
    port: int,
    hosts: Iterable[str] = (),
    workers: Workers | None = None,
    searching: Callable[[Workers], Searching] | None = None,
    stored: Stored | None = None,
) -> Guard:
    """Return the guarded application; its `token` opens the page.

    Args:
        searching: makes search by example, which decodes in the same processes; off where there is none.
        stored: embeddings that a classifier learns from while labels are given; None: nothing is learnt.
    """
    workers = workers or Workers()
    search = searching(workers) if searching else None
    media, pages, desk = Media(library, cache, workers), Pages(library, search), Desk(library, stored)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            workers.close()
            desk.close()
            if search:
                search.close()

    app = Starlette(
        routes=[*pages.routes(), *media.routes(), *Labels(desk).routes(), *(search.routes() if search else ())],
        exception_handlers={
            Refusal: refused,
            ConditionError: _unmet,
            CoviewError: _failed,
            OSError: _lost,
            HTTPException: _unknown,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # no address is made of what was asked
    return Guard(app, port=port, hosts=hosts)


async def _unmet(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error), "hint": ""}, 400)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    hint = "the server's terminal says what failed"
    print(f"coview serve: {error}", flush=True)
    return JSONResponse({"error": "the collection cannot be read as it is now", "hint": hint}, 503)


async def _lost(request: Request, error: Exception) -> JSONResponse:
    print(f"coview serve: {error}", flush=True)
    hint = "the server's terminal says which; is the disk full?"
    return JSONResponse({"error": "a file of the page's cache cannot be read or written", "hint": hint}, 503)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "hint": ""}, error.status_code, error.headers)


class Pages:
    """Everything but media."""

    def __init__(self, library: Library, search: Searching | None = None) -> None:
        self._library, self._search = library, search
        # Read once, into a table of names: no path is made of an address.
        folder = resources.files("coview.serve") / "static"
        self._files = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.static),
            Route("/static/{name}", self.static),
            Route("/api/session", self.session, methods=["POST"]),
            Route("/api/about", self.about),
            Route("/api/rows", self.rows, methods=["POST"]),
            Route("/api/facets", self.facets, methods=["POST"]),
            Route("/api/recordings/{row}", self.recording),
            Route("/api/quarantine", self.quarantine),
        ]

    async def static(self, request: Request) -> Response:
        """Send a file of the page."""
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise Refusal(404, "there is no such page")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(self._files[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    async def session(self, request: Request) -> Response:
        """Exchange the token for the cookie."""
        guard: Guard = request.scope["guard"]
        token = (await read_fields(request, token=str))["token"]
        if token is None or not guard.admits(token):
            raise Refusal(401, "this token is not known", "open the whole address that coview printed last")
        answer = JSONResponse({})
        answer.set_cookie(guard.cookie, guard.secret, httponly=True, samesite="strict", path="/")
        return answer

    async def about(self, request: Request) -> Response:
        """Say what is shown."""
        opened = await run_in_threadpool(self._library.now)
        about = opened.collection.about
        return JSONResponse({
            "name": self._library.folder.resolve().name,
            "fingerprint": opened.fingerprint,
            "counts": finite(about["counts"]),
            "ignored": about["ignored"],
            "search": await run_in_threadpool(self._search.about) if self._search else None,
        })  # fmt: skip

    async def rows(self, request: Request) -> Response:
        """Return some of the rows that fulfil conditions, in order, and how many there are."""
        kinds: dict[str, Any] = {"c": str, "where": list, "sort": str, "down": bool, "offset": int, "limit": int}
        asked = await read_fields(request, **kinds)
        offset, limit = asked["offset"] or 0, asked["limit"] or 60
        if offset < 0 or not 0 < limit <= MOST_ROWS:
            raise Refusal(400, "an offset or a limit that cannot be", f"at most {MOST_ROWS} rows at a time")

        def answer() -> dict[str, Any]:
            rows = self._library.expect(asked["c"]).rows
            order = rows.order(rows.mask(asked["where"] or []), asked["sort"] or "id", bool(asked["down"]))
            return {"total": len(order), "of": len(rows), "rows": rows.shown(order[offset : offset + limit])}

        return JSONResponse(await run_in_threadpool(answer))

    async def facets(self, request: Request) -> Response:
        """Return how many rows every value would show."""
        asked = await read_fields(request, c=str, where=list)
        opened = await run_in_threadpool(self._library.expect, asked["c"])
        return JSONResponse(await run_in_threadpool(opened.rows.facets, asked["where"] or []))

    async def recording(self, request: Request) -> Response:
        """Return all that is known of one recording."""

        def answer() -> dict[str, Any]:
            opened = self._library.expect(request.query_params.get("c"))
            row = row_of(request.path_params["row"], len(opened.rows))
            return {**opened.rows.shown(np.array([row]))[0], **finite(_told(opened, row))}

        return JSONResponse(await run_in_threadpool(answer))

    async def quarantine(self, request: Request) -> Response:
        """Return the files that could not be read, and why."""
        collection = (await run_in_threadpool(self._library.now)).collection
        refused = await run_in_threadpool(collection.quarantine)
        return JSONResponse([{"path": row.path, "reason": row.reason, "message": row.message} for row in refused])


def _told(opened: Opened, row: int) -> dict[str, Any]:
    found = opened.collection[row]
    names = ("path", "caption", "start", "end", "width", "height", "fps", "frames", "sample_rate", "channels", "peak")
    more = ("silent", "video_codec", "audio_codec", "bytes", "group", "video_start", "audio_start")
    return {name: getattr(found, name) for name in (*names, *more)}
