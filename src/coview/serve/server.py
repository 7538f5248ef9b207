"""Listening on a port until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket

import uvicorn

from coview.errors import UsageError
from coview.serve.guard import Guard


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free.

    Raises:
        UsageError: the address is taken, or none of this computer's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        found.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "another program listens there; choose another --port (0 takes a free one)" if taken else str(error)
        raise UsageError(f"{host}:{port}: {why}") from error
    return found


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this computer alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(app: Guard, listening: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=2, ws="none"
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    uvicorn.Server(config).run(sockets=[listening])


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line of uvicorn's is more than an answer that our own stop cut off."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.CancelledError) or str(record.msg).startswith("Cancel "))
