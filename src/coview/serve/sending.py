"""Sending a file that is already open, whole or one range of it (RFC 9110, 14)."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from io import FileIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_BLOCK = 1 << 18
_LONGEST = 64  # characters of a header that asks for a range; more is an attack on servers that answer many ranges
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def send(request: Request, file: FileIO, kind: str, tag: str) -> Response:
    """Return the answer that sends an open file and closes it.

    Args:
        kind: the media type.
        tag: what the content is known by; a browser that has it is told so.
    """
    size, etag = os.fstat(file.fileno()).st_size, f'"{tag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=86400"}
    if request.headers.get("if-none-match") == etag:
        file.close()
        return Response(None, 304, headers)
    wanted = None
    if request.headers.get("if-range", etag) == etag:
        wanted = asked_range(request.headers.get("range", ""), size)
    if wanted == (0, 0):
        file.close()
        return Response(None, 416, {"Content-Range": f"bytes */{size}"})
    first, end = wanted or (0, size)
    headers["Content-Length"] = str(end - first)
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    if request.method == "HEAD":
        file.close()
        return Response(None, 206 if wanted else 200, headers, kind)
    return StreamingResponse(_blocks(file, first, end), 206 if wanted else 200, headers, kind)


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """Return first byte and end of a range, None where the header asks for none that is understood, (0, 0) beyond."""
    found = _RANGE.fullmatch(header) if len(header) <= _LONGEST else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        return (max(0, size - int(last)), size) if int(last) and size else (0, 0)
    if last and int(last) < int(first):
        return None
    return (int(first), min(int(last) + 1, size) if last else size) if int(first) < size else (0, 0)


async def _blocks(file: FileIO, first: int, end: int) -> AsyncIterator[bytes]:
    try:
        while first < end:
            block = await run_in_threadpool(os.pread, file.fileno(), min(_BLOCK, end - first), first)
            if not block:  # it became shorter meanwhile: the answer ends early, which the browser notices
                return
            first += len(block)
            yield block
    finally:
        file.close()
