"""Giving labels on the page: whom to ask next, what people say, what is known by now, and all of it as a table."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coview.data.stored import Stored
from coview.errors import CoviewError, UsageError
from coview.search.labels import RANDOM, LabelLog, LogError, log_of
from coview.serve.library import Library, Opened
from coview.serve.refusal import Refusal, read_fields

if TYPE_CHECKING:
    from coview.search.asking import Asking
    from coview.search.labelling import Labelling

T = TypeVar("T")
_TABLES = {"labels.csv": "text/csv", "labels.parquet": "application/vnd.apache.parquet"}
_MOST = 1000  # rows that are asked for already


class Desk:
    """The labels of a collection as it is on the disk now, opened when somebody asks for them first."""

    def __init__(self, library: Library, stored: Stored | None) -> None:
        self._library, self._stored, self._lock = library, stored, threading.Lock()
        self._open: tuple[str, Labelling, Asking] | None = None

    def at(self, fingerprint: str | None) -> tuple[Opened, Labelling, Asking]:
        """Return the collection, its labels and its queue.

        Raises:
            Refusal: 409, the collection was changed; 503, labels cannot be kept.
        """
        opened = self._library.expect(fingerprint)
        with self._lock:
            if self._open is None or self._open[0] != opened.fingerprint:
                self._close()
                self._open = (opened.fingerprint, *self._opened(opened))
            return opened, *self._open[1:]

    def _opened(self, opened: Opened) -> tuple[Labelling, Asking]:
        from coview.search.asking import Asking  # torch comes with it: not before somebody labels
        from coview.search.few_labels import Vectors
        from coview.search.labelling import Labelling

        try:
            labelling = Labelling(opened.collection, LabelLog(log_of(opened.fingerprint)))
        except CoviewError as error:
            raise _unkept(error) from error
        vectors = None if self._stored is None else Vectors(self._stored, opened.collection.ids)
        return labelling, Asking(labelling, vectors)

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()

    def close(self) -> None:
        """Close the log."""
        with self._lock:
            self._close()


class Labels:
    """The routes below /api/labels."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/labels", self.say, methods=["POST"]),
            Route("/api/labels/next", self.next, methods=["POST"]),
            Route("/api/labels/undo", self.undo, methods=["POST"]),
            Route("/api/labels/classes", self.classes, methods=["POST"]),
            Route("/api/labels/suggestions", self.suggestions, methods=["POST"]),
            *(Route(f"/api/labels/{name}", self.table) for name in _TABLES),
        ]

    async def _answer(self, c: str | None, act: Callable[[Opened, Labelling, Asking], T]) -> T:
        """Return what comes of an act on the labels, in a thread; what cannot be done as asked is a refusal."""

        def acted() -> T:
            found = self._desk.at(c)
            try:
                return act(*found)
            except CoviewError as error:
                if isinstance(error, UsageError) and not isinstance(error, LogError):
                    raise Refusal(400, str(error)) from error
                self._desk.at(c)  # the log was closed because the collection was changed: that is said
                raise _unkept(error) from error

        return await run_in_threadpool(acted)

    async def next(self, request: Request) -> Response:
        """Return whom to ask next, and how far it is."""
        asked = await read_fields(request, c=str, but=list)
        but = asked["but"] or []
        if len(but) > _MOST or not all(type(row) is int for row in but):
            raise Refusal(400, "rows that cannot be", f"at most {_MOST}")

        def act(opened: Opened, labelling: Labelling, asking: Asking) -> dict[str, Any]:
            items = [{"row": row, "how": how} for row, how in asking.next(but)]
            return {"items": items, "state": asking.state()}

        return JSONResponse(await self._answer(asked["c"], act))

    async def say(self, request: Request) -> Response:
        """Write what a person says of a recording."""
        asked = await read_fields(request, c=str, row=int, label=str, how=str)

        def act(opened: Opened, labelling: Labelling, asking: Asking) -> dict[str, Any]:
            if asked["row"] is None or not 0 <= asked["row"] < len(labelling):
                raise Refusal(404, "there is no such recording")
            how = asked["how"] or ""
            if how == RANDOM and not asking.draws(asked["row"]):
                raise Refusal(400, "this recording was not drawn at random")
            labelling.say(asked["row"], asked["label"], how)
            return labelling.counts()

        return JSONResponse(await self._answer(asked["c"], act))

    async def undo(self, request: Request) -> Response:
        """Take back what was done last."""
        asked = await read_fields(request, c=str)

        def act(opened: Opened, labelling: Labelling, asking: Asking) -> dict[str, Any]:
            return {"undone": labelling.undo(), "counts": labelling.counts()}

        return JSONResponse(await self._answer(asked["c"], act))

    async def classes(self, request: Request) -> Response:
        """Add a class, or take one away."""
        asked = await read_fields(request, c=str, name=str, gone=bool)

        def act(opened: Opened, labelling: Labelling, asking: Asking) -> dict[str, Any]:
            labelling.name(asked["name"] or "", bool(asked["gone"]))
            return labelling.counts()

        return JSONResponse(await self._answer(asked["c"], act))

    async def suggestions(self, request: Request) -> Response:
        """Say how many of the rest would get a label, or give it to them."""
        asked = await read_fields(request, c=str, precision=(int, float), take=int)
        if not 0.5 <= (precision := asked["precision"] or 0) <= 0.99:
            raise Refusal(400, "a precision that cannot be", "from 0.5 to 0.99")
        return JSONResponse(
            await self._answer(asked["c"], lambda opened, labelling, asking: asking.suggest(precision, asked["take"]))
        )

    async def table(self, request: Request) -> Response:
        """Return recordings with the labels that people gave or the collection has; what is broken is left out.

        Those that fulfil the conditions of `where`, a JSON list as `Rows.mask` takes it; all of them without it.
        """
        name, asked = request.scope["path"].rsplit("/", 1)[1], request.query_params.get("where", "[]")
        try:
            where = json.loads(asked)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "the conditions are not JSON") from error
        if not isinstance(where, list) or not all(isinstance(condition, dict) for condition in where):
            raise Refusal(400, "the conditions are no list of objects")

        def act(opened: Opened, labelling: Labelling, asking: Asking) -> bytes:
            from coview.search.label_table import rows_of, write_labels

            labels, broken = labelling.spoken()
            pairs = zip(rows_of(opened.collection, labels, {}), opened.rows.mask(where), strict=True)
            rows = [row for row, wanted in pairs if wanted and row["id"] not in broken]
            with tempfile.TemporaryDirectory() as folder:
                written = Path(folder) / name
                write_labels(rows, written)
                table: bytes = written.read_bytes()
            return table

        body = await self._answer(request.query_params.get("c"), act)
        return Response(
            body, media_type=_TABLES[name], headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )


def _unkept(error: CoviewError) -> Refusal:
    print(f"coview serve: {error}", flush=True)
    return Refusal(503, "labels cannot be kept", "the server's terminal says why")
