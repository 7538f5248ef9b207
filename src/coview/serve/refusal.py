"""What the page's server refuses, as people read it: a status, what is wrong and what to do; never a path."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

MOST_JSON = 1 << 20  # bytes of a request


class Refusal(Exception):  # noqa: N818
    """Raised wherever a request cannot be answered as asked."""

    def __init__(self, status: int, error: str, hint: str = "") -> None:
        super().__init__(status, error, hint)
        self.status, self.error, self.hint = status, error, hint

    def response(self) -> JSONResponse:
        """Return the answer that says so."""
        return JSONResponse({"error": self.error, "hint": self.hint}, self.status)


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Answer a `Refusal` that a route raised."""
    assert isinstance(error, Refusal)
    return error.response()


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body, counted while it is read.

    Raises:
        Refusal: 411 without a length, 413 for more than `most` bytes, 400 where the sender left before the end.
    """
    said = request.headers.get("content-length", "")
    if not (said.isascii() and said.isdigit()):
        raise Refusal(411, "the request does not say how long it is", "send Content-Length")
    too_large = Refusal(413, f"more than {most} bytes", "send less")
    if len(said) > 12 or int(said) > most:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
    except ClientDisconnect as error:
        raise Refusal(400, "the request ended before its end") from error
    return b"".join(parts)


async def read_fields(request: Request, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the fields of a JSON object, each None where it is not given.

    Args:
        kinds: name of a field -> what its value may be; any other field is refused.

    Raises:
        Refusal: 400, 411 or 413.
    """
    try:
        found = json.loads(await read_body(request, MOST_JSON))
        json.dumps(found, ensure_ascii=False).encode()  # JSON can spell halves of characters, which are no text
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the request is not JSON") from error
    if not isinstance(found, dict):
        raise Refusal(400, "the request is no JSON object")
    if unknown := sorted(found.keys() - kinds.keys()):
        raise Refusal(400, f"unknown fields: {', '.join(unknown)[:200]}", f"there are {', '.join(kinds)}")
    for name, value in found.items():
        unfit = isinstance(value, bool) and kinds[name] is int
        if value is not None and (unfit or not isinstance(value, kinds[name])):
            raise Refusal(400, f"{name} is not of the expected kind")
    return {name: found.get(name) for name in kinds}
