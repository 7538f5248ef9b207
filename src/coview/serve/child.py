"""The process in which strangers' files are decoded: little memory, little time, and it answers in JSON alone.

A decoder that a file leads astray can end or hang this process; the server starts another.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from coview.errors import MediaError
from coview.serve import cuts, looks, proxies

MEMORY = 4 << 30  # bytes of address space; torch, which stills are read with, maps much of that and uses little
OUTPUT = 1 << 30  # bytes of a file that is made
SECONDS = {"proxy": 600, "cut": 120}  # of computing; everything else:
USUAL_SECONDS = 30


def run(connection: Connection) -> None:
    """Answer jobs until the other side has gone."""
    for ignored in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C is for the server, which then ends this process
        signal.signal(ignored, signal.SIG_IGN)
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = json.loads(connection.recv_bytes())
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            limit = int(used) + 1 + SECONDS.get(job["kind"], USUAL_SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
            connection.send_bytes(json.dumps(answer(job)).encode())


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; return `{"made": ...}`, or `{"error": why}`."""
    try:
        return {"made": _made(job)}
    except MediaError as error:
        return {"error": error.message}
    except MemoryError:
        return {"error": "decoding it takes too much memory"}
    except Exception as error:  # whatever a decoder raises: the server says that it could not be shown
        return {"error": f"it cannot be shown ({type(error).__name__})"}


def _made(job: dict[str, Any]) -> Any:
    path, out = Path(job["path"]), Path(job["out"])
    match job["kind"]:
        case "poster":
            return looks.poster(path, out, job["second"], job["flags"])
        case "picture":
            return looks.picture(path, out)
        case "peaks":
            return looks.peaks(path, out)
        case "proxy":
            return proxies.proxy(path, out, job["flags"])
        case "cut":
            return cuts.cut(path, out, job["views"], job["windows"], job["recording"])
        case "facts":
            out.write_text(json.dumps(looks.facts(path)), encoding="utf-8")
            return None
    raise ValueError(job["kind"])
