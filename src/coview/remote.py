"""Folders in object storage (s3://), read through a copy on this node that fills as files are asked for.

Only an address that the user has written on a command line is ever followed: what a file says is a name, never an
address. Credentials come from the environment alone (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN;
AWS_ENDPOINT_URL and AWS_REGION say where); without them storage is asked as anybody. COVIEW_STORAGE_CACHE is the folder
of the copies, COVIEW_STORAGE_CACHE_GB how much the large files of each may take.

Files are fetched in ranges, each tried again where a request fails, and are there whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from coview.errors import CoviewError, UsageError, shown
from coview.files import is_leftover, read_json, write_aside, written_whole

SCHEME = "s3://"  # `cli.main` knows it too, and imports this only where it stands
_LIST = "objects.json"  # in a copy: the address, and name -> [bytes, time of change] of every object
_ADDRESS = re.compile(r"s3://[A-Za-z0-9][\w.-]*(/[^?#@]*)?", re.ASCII)  # no keys in it, which would be kept and shown
_CARDS = {"shards.json", "memmap.json", "card.json", "config.json", "model/config.json"}  # of what is read from here
_LATE = (".tar",)  # fetched when they are first read
_RANGE = 2**24  # bytes of a request
_TRIES, _WAIT = 6, 0.5  # of a range, and seconds before the second; twice as long before each further one
_GIGABYTES = 50.0
Answer = TypeVar("Answer")


def copy_of(address: str) -> Path:
    """Return the folder on this node that stands for `address`; all but the shards of a prepared copy are fetched.

    What is there and has not changed in storage is kept. Processes of a node that ask at once take turns.

    Raises:
        UsageError: it is no address, nothing lies there, it holds films (which are read from disks alone) or what is
            no prepared copy, set, store or model, or its names are odd.
        CoviewError: the storage does not answer, or refuses; or the copy cannot be written.
    """
    address = address.rstrip("/")
    if not _ADDRESS.fullmatch(address):
        raise UsageError("an address in object storage is s3://bucket/folder; keys come from the environment alone")
    _allowed()
    folder = _copies() / hashlib.sha256(address.encode()).hexdigest()[:24]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _turn(folder / ".listing.lock"):
            objects = _objects(address)
            _check(address, objects)
            known = _listed(folder)
            for name, what in known.items():
                if objects.get(name) != what:
                    (folder / name).unlink(missing_ok=True)
            write_aside(folder / _LIST, json.dumps({"address": address, "objects": objects}))
            for name in sorted(objects):
                if not name.endswith(_LATE):
                    _bring(folder, address, name, objects[name])
    except OSError as error:
        if error.errno in (None, errno.ENOENT):  # what storage says has no number, but that something is not there
            raise CoviewError(f"{shown(address)}: the storage cannot be read: {_why(error)}") from error
        raise CoviewError(
            f"{folder}: the copy of {shown(address)} cannot be written ({_why(error)}); make room, or name another "
            "folder by COVIEW_STORAGE_CACHE"
        ) from error
    return folder


def present(path: Path) -> None:
    """See that a file of a copy is here, and note that it is used; does nothing for any other file.

    Raises:
        OSError: the storage does not give it.
    """
    folder = path.parent
    if folder.parent != _copies():
        return
    if not path.is_file():
        about = read_json(folder / _LIST, "the list of a copy from storage")
        what = about["objects"].get(path.name)
        if what is not None:
            try:
                with _turn(folder / f".{path.name}.lock"):
                    _bring(folder, about["address"], path.name, what)
                _make_room(folder, path)
            except OSError as error:
                raise OSError(_why(error)) from error
    with contextlib.suppress(OSError):
        os.utime(path)


def _copies() -> Path:
    named = os.environ.get("COVIEW_STORAGE_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).absolute() if named else cache / "coview" / "storage"


def _storage() -> Any:
    from pyarrow import fs

    known = os.environ
    how: dict[str, Any] = {"anonymous": True}
    if known.get("AWS_ACCESS_KEY_ID"):
        how = {"access_key": known["AWS_ACCESS_KEY_ID"], "secret_key": known.get("AWS_SECRET_ACCESS_KEY", "")}
        how["session_token"] = known.get("AWS_SESSION_TOKEN")
    how["region"] = known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION") or "us-east-1"
    if endpoint := known.get("AWS_ENDPOINT_URL"):
        how["scheme"], _, how["endpoint_override"] = endpoint.rstrip("/").rpartition("://")
        how["scheme"] = how["scheme"] or "https"
    retry = fs.AwsStandardS3RetryStrategy(max_attempts=3)
    return fs.S3FileSystem(**how, connect_timeout=10, request_timeout=30, retry_strategy=retry)


def _objects(address: str) -> dict[str, list[int]]:
    from pyarrow import fs

    where = address.removeprefix(SCHEME)
    selector = fs.FileSelector(where, recursive=True)
    try:
        found = _again(lambda: _storage().get_file_info(selector))
    except FileNotFoundError:
        return {}
    files = [info for info in found if info.type == fs.FileType.File]
    return {info.path.removeprefix(where + "/"): [info.size, info.mtime_ns or 0] for info in files}


def _check(address: str, objects: dict[str, list[int]]) -> None:
    if not objects:
        raise UsageError(f"{shown(address)}: nothing lies there")
    if any(set(name.split("/")) & {"", ".", ".."} or name == _LIST or "\0" in name for name in objects):
        raise UsageError(f"{shown(address)}: it has objects whose names are no names of files")
    for name in [name for name in objects if any(part.startswith(".") for part in name.split("/"))]:
        del objects[name]  # what a killed process left, and names that locks have here
    if "collection.json" in objects or not _CARDS & set(objects):
        raise UsageError(
            f"{shown(address)}: films are read from disks alone; give storage a prepared copy of the collection "
            "(coview prepare), a memory-mapped set, embeddings or a model, and name its own folder"
        )


def _listed(folder: Path) -> dict[str, Any]:
    if not (folder / _LIST).is_file():
        return {}
    return dict(read_json(folder / _LIST, "the list of a copy from storage").get("objects", {}))


def _bring(folder: Path, address: str, name: str, what: list[int]) -> None:
    """Fetch an object that is not here; whole or not at all."""
    path, size = folder / name, what[0]
    if path.is_file() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    place = f"{address.removeprefix(SCHEME)}/{name}"
    with written_whole(path) as aside, aside.open("wb") as out:
        for first in range(0, size, _RANGE):
            out.write(_again(partial(_range, place, first, size)))
        now = _again(lambda: _storage().get_file_info(place))
        if [now.size, now.mtime_ns or 0] != what:
            raise _ChangedError(f"{place} was changed in storage since it was listed; give the command again")


class _ChangedError(OSError):
    """Half of the old and half of the new would be neither."""


def _range(place: str, first: int, whole: int) -> bytes:
    wanted = min(_RANGE, whole - first)
    with _storage().open_input_file(place) as stream:
        if stream.size() != whole:
            raise _ChangedError(f"{place} was changed in storage since it was listed; give the command again")
        data = bytes(stream.read_at(wanted, first))
    if len(data) != wanted:
        raise OSError(f"{place} gave {len(data)} of {wanted} bytes at {first}")
    return data


def _again(ask: Callable[[], Answer]) -> Answer:
    """Return what a request brings; one that fails is made again, later and later."""
    for attempt in range(_TRIES):
        try:
            return ask()
        except OSError as error:
            if attempt == _TRIES - 1 or isinstance(error, (_ChangedError, FileNotFoundError, PermissionError)):
                raise
            time.sleep(_WAIT * 2**attempt)
    raise AssertionError


def _make_room(folder: Path, kept: Path) -> None:
    """Remove the large files that were not used for longest; who reads one goes on reading it."""
    allowed, found = _allowed(), []
    for path in folder.iterdir():
        if path.name.endswith(_LATE) and path != kept and not is_leftover(path):
            with contextlib.suppress(OSError):  # removed by another process
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = kept.stat().st_size + sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= allowed:
            return
        path.unlink(missing_ok=True)
        total -= size


def _allowed() -> float:
    """Return how many bytes the large files of a copy may take."""
    told = os.environ.get("COVIEW_STORAGE_CACHE_GB") or str(_GIGABYTES)
    with contextlib.suppress(ValueError):
        if float(told) > 0:
            return float(told) * 1e9
    raise UsageError(f"COVIEW_STORAGE_CACHE_GB is {shown(told)!r}; it is a number of gigabytes above 0")


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    with lock.open("a") as handle:
        with contextlib.suppress(OSError):  # a file system without locks: each fetches for itself, whole or not at all
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _why(error: OSError) -> str:
    """Return what storage said, without the keys that a request may repeat."""
    text = shown(error.strerror or error)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if value := os.environ.get(name):
            text = text.replace(value, f"${name}")
    return text
