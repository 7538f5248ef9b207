"""The routes of search by example: files that are sent, searches, and which second of a recording is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coview.data.recording import Recording
from coview.data.stored import Stored
from coview.errors import UsageError
from coview.evaluation.wording import plain_view
from coview.model import Model
from coview.search.example import Examples, Part
from coview.search.filters import rows_of
from coview.search.query import window_seconds
from coview.serve.library import Library, Opened, open_file
from coview.serve.queries import Made, Queries
from coview.serve.refusal import Refusal, read_body, read_fields
from coview.serve.workers import Workers

MOST_HITS, MOST_PARTS, MOST_JUDGED, LONGEST = 1000, 16, 200, 1000
_SENDING = 4  # files that are received at once
_HEAVIEST, _ENDLESS = 100.0, 1e12


class Searching:
    """Search by example in the embeddings of a library's collection.

    Args:
        stored: the embeddings, of recordings that the collection has.
        most: bytes of a file that is sent.

    Raises:
        UsageError: embeddings of other recordings.
    """

    def __init__(self, library: Library, model: Model, stored: Stored, workers: Workers, most: int) -> None:
        opened = library.now()
        self._library, self._model, self._stored, self.most = library, model, stored, most
        self._fingerprint = opened.fingerprint
        self._rows = rows_of(stored.ids, opened.collection)  # of the collection, by row of the store
        self._places = np.full(len(opened.rows), -1, np.int64)  # and the other way round
        self._places[self._rows] = np.arange(len(self._rows))
        self._examples = Examples(stored, model.method.comparable)
        self._queries = Queries(model, int(stored.card["windows"]), workers)
        self._receiving = asyncio.Semaphore(_SENDING)
        self.close = self._queries.close

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/queries", self.receive, methods=["PUT"]),
            Route("/api/search", self.search, methods=["POST"]),
            Route("/api/curve", self.curve, methods=["POST"]),
        ]

    def about(self) -> dict[str, Any]:
        """Say what can be asked: views by which and for which, pairs that can be compared, words, bytes of a file."""
        words = self._queries.words
        found = self._stored.views
        asked = [name for name in dict.fromkeys([*found, *self._queries.from_files]) if name != words]
        plain = [plain_view(name) for name in {*asked, *found}]

        def named(name: str) -> dict[str, str]:
            title = plain_view(name)
            return {"name": name, "title": title if plain.count(title) == 1 else f"{title} ({name})"}

        return {
            "by": [named(name) for name in asked],
            "find": [named(name) for name in found],
            "words": words or "",
            "pairs": [[a, b] for a in [*asked, *([words] if words else [])] for b in found if self._near(a, b)],
            "files": bool(self._queries.from_files),
            "most": self.most,
            "recordings": len(self._rows),
        }

    def _near(self, one: str, other: str) -> bool:
        return one == other or self._model.method.comparable(one, other)

    async def receive(self, request: Request) -> Response:
        """Take the bytes of a file; return the name it is asked by and what was seen in it."""
        if self._receiving.locked():
            raise Refusal(429, "too many files are being sent", "wait a moment")
        async with self._receiving:
            name, made = await run_in_threadpool(self._queries.add, await read_body(request, self.most))
        return JSONResponse({"query": name, "views": list(made.vectors), **made.about})

    async def search(self, request: Request) -> Response:
        """Return the recordings most like the parts of a query, with what tiles say of them and why they were found."""
        kinds: dict[str, Any] = {"c": str, "parts": list, "by": list, "find": list, "where": list, "k": int}
        asked = await read_fields(request, **kinds, liked=list, disliked=list, own=bool)
        return JSONResponse(await run_in_threadpool(self._search, asked))

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        opened = self._expect(asked["c"])
        k = 24 if asked["k"] is None else asked["k"]
        if not 0 < k <= MOST_HITS:
            raise Refusal(400, f"at most {MOST_HITS} hits at a time")
        parts, itself, remarks = self._parts(opened, asked)
        mask = opened.rows.mask(asked["where"] or [])[self._rows]
        liked, disliked = (self._judged(asked[name]) for name in ("liked", "disliked"))
        if set(liked) & set(disliked):
            raise Refusal(400, "a recording cannot be both more and less of what is looked for")
        found = self._unfailing(
            lambda: self._examples.find(
                parts, dict.fromkeys(self._targets(asked), 1.0), k, rows=mask, liked=liked, disliked=disliked,
                but=() if asked["own"] else itself,
            )
        )  # fmt: skip
        tiles = opened.rows.shown(self._rows[[hit.row for hit in found.hits]] if found.hits else np.zeros(0, np.int64))
        hits = [
            {
                **tile,
                "percentile": hit.percentile,
                "view": hit.view,
                "second": hit.second,
                "cosines": hit.cosines,
                "windows": [[w.start, w.end, w.cosine, w.height] for w in hit.windows],
            }
            for tile, hit in zip(tiles, found.hits, strict=True)
        ]
        return {"hits": hits, "among": found.among, "remarks": [*remarks, *found.remarks]}

    async def curve(self, request: Request) -> Response:
        """Return which second of one recording is most like the parts: cosines of windows a quarter apart."""
        asked = await read_fields(request, c=str, parts=list, by=list, find=list, row=int)
        return JSONResponse(await run_in_threadpool(self._curve, asked))

    def _curve(self, asked: dict[str, Any]) -> dict[str, Any]:
        opened = self._expect(asked["c"])
        row = self._row(asked["row"])
        parts, _, _ = self._parts(opened, asked)
        made = self._queries.densely(*self._file(opened, row))
        curves = []
        for target in self._targets(asked):
            if target in made.vectors and any(self._near(part.view, target) for part in parts):
                vectors, place = made.vectors[target], int(self._places[row])
                cosine, height = self._unfailing(
                    lambda t=target, v=vectors, p=place: self._examples.curve(parts, t, v, p)
                )
                start, seconds = made.starts[target], window_seconds(self._stored, target)
                curves.append({
                    "view": target, "title": plain_view(target), "seconds": seconds, "start": start.tolist(),
                    "cosine": cosine.tolist(), "height": height.tolist(),
                })  # fmt: skip
        if not curves:
            raise Refusal(422, "nothing of this recording can be compared with the query")
        return {"curves": curves}

    def _expect(self, fingerprint: str | None) -> Opened:
        opened = self._library.expect(fingerprint)
        if opened.fingerprint != self._fingerprint:
            hint = "start coview serve again: it embeds what is new"
            raise Refusal(409, "the collection was changed since it was embedded", hint)
        return opened

    def _row(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(self._places):
            raise Refusal(404, "there is no such recording")
        return value

    def _judged(self, rows: list[Any] | None) -> list[int]:
        if rows is not None and len(rows) > MOST_JUDGED:
            raise Refusal(400, f"at most {MOST_JUDGED} recordings are judged")
        return [place for row in rows or () if (place := int(self._places[self._row(row)])) >= 0]

    def _targets(self, asked: dict[str, Any]) -> list[str]:
        wanted = asked["find"] or []
        if not wanted or not all(isinstance(name, str) and name in self._stored.views for name in wanted):
            raise Refusal(400, "what is looked for is not known", f"there are {', '.join(self._stored.views)}")
        return list(dict.fromkeys(wanted))

    def _parts(self, opened: Opened, asked: dict[str, Any]) -> tuple[list[Part], list[int], list[str]]:
        """Return the parts of a query, the rows of the store that it consists of, and remarks."""
        given, by = asked["parts"] or [], asked["by"] or []
        if not 0 < len(given) <= MOST_PARTS or not all(isinstance(name, str) for name in by) or len(by) > MOST_PARTS:
            raise Refusal(400, f"a query has 1 to {MOST_PARTS} parts")
        parts: list[Part] = []
        itself, remarks = list[int](), list[str]()
        for part in given:
            match part:
                case {"row": row, **rest}:
                    row, span = self._row(row), (rest.pop("from", None), rest.pop("to", None))
                    place = int(self._places[row])
                    itself += [place] if place >= 0 else []
                    found = self._vectors(opened, row, span, by)
                    lacking = "this recording has"
                case {"query": str(name), **rest}:
                    made = self._queries.sent(name)
                    found, lacking = _means(made, by), "this file has"
                    remarks += made.about["remarks"]
                case {"text": str(text), **rest} if 0 < len(text) <= LONGEST:
                    found, lacking = {self._queries.words or "": self._queries.of_words(text)}, ""
                case _:
                    raise Refusal(400, "a part of a query that is not known", "row, query or text")
            weight = rest.pop("weight", 1.0)
            if rest or not _is_number(weight) or not 0 < abs(weight) <= _HEAVIEST:
                raise Refusal(400, "a part of a query that is not known", "beside it only a weight, not 0")
            if not found:
                names = " or ".join(plain_view(name) for name in by) or "view"
                raise Refusal(422, f"{lacking} no {names} to ask by", "choose what it is asked by")
            parts += [Part(name, vector, float(weight)) for name, vector in found.items()]
        return parts, itself, remarks

    def _vectors(self, opened: Opened, row: int, span: tuple[object, object], by: Sequence[str]) -> dict[str, Any]:
        if span != (None, None):
            if not all(map(_is_number, span)):
                raise Refusal(400, "a span takes two ends in seconds")
            path, recording = self._file(opened, row)
            return _means(self._queries.span(path, recording, *map(float, span)), by)  # type: ignore[arg-type]
        place = int(self._places[row])
        known = [name for name in by if name in self._stored.views] if place >= 0 else []
        found = {name: self._examples.vector(name, place) for name in known}
        return {name: vector for name, vector in found.items() if vector is not None}

    def _file(self, opened: Opened, row: int) -> tuple[Path, Recording]:
        recording = opened.collection[row]
        path = self._library.locate(opened.collection, recording)
        open_file(path, recording).close()
        return path, recording

    @staticmethod
    def _unfailing(act: Any) -> Any:
        try:
            return act()
        except UsageError as error:  # vectors of zero, views of different spaces: what was asked, not what is there
            raise Refusal(422, str(error)) from error


def _is_number(value: object) -> TypeGuard[float]:
    # Compared, not converted: a whole number of JSON may be larger than any float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _ENDLESS


def _means(made: Made, by: Sequence[str]) -> dict[str, Any]:
    found = {name: made.mean(name) for name in by}
    return {name: vector for name, vector in found.items() if vector is not None}
