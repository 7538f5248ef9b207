"""Files that are there whole or not at all, that belong to one process at a time, and that are read within limits.

Nothing is ever unpickled. Nothing heavy is imported before tensors are asked for: every verb reads this file first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.errors import UsageError, shown

if TYPE_CHECKING:
    import yaml
    from torch import Tensor

_LOCK = ".lock"
_DEPTH = 100  # levels of a JSON or YAML document; ours have five
_NODES = 100_000  # values of a YAML document, every alias counted as often as it is used
_MAKE_ANEW = "restore it from a copy, or make it anew"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield another name to write a file under; at the end it takes its own, also as seen after a power cut.

    The other name is nobody else's: processes that write the same file at the same time do not meet. When writing
    fails, nothing is left.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield aside
        synced(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    synced(path.parent)


def synced(path: Path) -> None:
    """Return when a file's contents, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders cannot be asked
            raise
    finally:
        os.close(handle)


def write_aside(path: Path, text: str) -> None:
    """Write a text file that even a power cut leaves as it was or as it should be (`written_whole`)."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def is_leftover(path: Path) -> bool:
    """Tell whether a file is only what a killed process left: something half written, or its lock."""
    return path.name == _LOCK or (path.name.startswith(".") and path.name.endswith(".partial"))


def _refuse_irregular(path: Path) -> None:
    """Raise OSError for a pipe, a device or a folder: opening a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits; raises OSError where it cannot be read."""
    _refuse_irregular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold an existing folder: while this lasts, no other process can.

    The lock dies with its holder, however that ends, and goes with the folder when it is renamed. Where the file
    system knows no locks, there is none.

    Args:
        what: what is being done, such as "index", for the message that the others get.

    Raises:
        UsageError: another process holds it; the message names it, what it does and since when.
        OSError: the folder is not there, or nothing can be written to it.
    """
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        handle = _taken(folder, inside)
        try:
            about = {"pid": os.getpid(), "host": socket.gethostname(), "what": what}
            about |= {"since": time.strftime("%Y-%m-%d %H:%M:%S")}
            os.truncate(handle, 0)
            os.pwrite(handle, json.dumps(about).encode(), 0)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # removed with the folder, perhaps
                    os.unlink(_LOCK, dir_fd=inside)
        finally:
            os.close(handle)
    finally:
        os.close(inside)


def _taken(folder: Path, inside: int) -> int:
    while True:
        handle = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644, dir_fd=inside)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 1000, 0)
            os.close(handle)
            raise UsageError(f"{folder}: {_holder(holder)}; wait for it to end, or stop it first") from None
        except OSError:  # a file system without locks
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(_LOCK, dir_fd=inside, follow_symlinks=False)):
                return handle
        os.close(handle)  # the holder before us removed it between our opening and our locking it


def _holder(text: bytes) -> str:
    try:
        about = json.loads(text)
        name = f"process {about['pid']} on {about['host']}: {about['what']}, since {about['since']}"
    except (ValueError, TypeError, KeyError):  # it has only just begun
        name = "it has just begun"
    return f"another process works on it ({shown(name)})"


def read_text(path: Path, kind: str, *, remedy: str = _MAKE_ANEW, limit: int = 1 << 26) -> str:
    """Return a small text file in UTF-8; see `read_json`."""
    try:
        if not path.is_file():
            why = "it is no regular file" if path.exists() else "it is not there"
        elif path.stat().st_size > limit:
            why = f"it has {path.stat().st_size} bytes, and at most {limit} are read"
        else:
            with path.open("rb") as stream:
                return stream.read(limit).decode("utf-8")
    except OSError as error:
        why = error.strerror or str(error)
    except UnicodeDecodeError as error:
        why = f"it is no text in UTF-8 (byte {error.start})"
    raise UsageError(f"{path}: cannot be read as {kind}: {why}; {remedy}")


def read_json(path: Path, kind: str, *, remedy: str = _MAKE_ANEW, limit: int = 1 << 26) -> dict[str, Any]:
    """Return the JSON object in a file, which may be anybody's.

    Args:
        kind: what the file should be, such as "the card of a collection".
        remedy: what to do when it is not.
        limit: bytes that are read at most; a longer file is refused before it is read.

    Raises:
        UsageError: no regular file, too long, not UTF-8, not JSON, too deep, or no object; names the file.
    """
    text = read_text(path, kind, remedy=remedy, limit=limit)
    try:
        found = json.loads(text)
        _check_depth(found)
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as {kind}: {_why(error)}; {remedy}") from error
    return found


def read_yaml(path: Path, kind: str, *, remedy: str = _MAKE_ANEW, limit: int = 1 << 18) -> dict[str, Any]:
    """Return the YAML mapping in a file, which may be anybody's; an empty file is an empty mapping. See `read_json`.

    Aliases count as often as they are used: ten levels of them can stand for more values than fit into any memory.

    Raises:
        UsageError: as `read_json`.
    """
    import yaml

    text = read_text(path, kind, remedy=remedy, limit=limit)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        if _count(node, {}, set()) > _NODES:
            raise ValueError(f"its aliases stand for more than {_NODES} values")
        found = loader.construct_document(node)
        _check_depth(found)
        if not isinstance(found, dict):
            raise ValueError("it is no mapping of names to values")
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as {kind}: {_why(error)}; {remedy}") from error
    return found


def _why(error: Exception) -> str:
    return f"it is deeper than {_DEPTH} levels" if isinstance(error, RecursionError) else " ".join(str(error).split())


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > _DEPTH:
            raise RecursionError
        lists = [part for part in level if isinstance(part, (dict, list))]
        level = [child for part in lists for child in (part.values() if isinstance(part, dict) else part)]
        depth += 1


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Return how many values a node stands for, written out in full."""
    if id(node) in above:
        raise ValueError("it contains itself")
    if id(node) not in known:
        above.add(id(node))
        children: list[yaml.Node] = []
        if isinstance(node.value, list):  # of nodes, or of pairs of them
            children = [child for part in node.value for child in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_count(child, known, above) for child in children)
        above.discard(id(node))
    return known[id(node)]


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors (`written_whole`); one with several names (an encoder of two views) only once.

    Raises:
        OSError, SafetensorError: the disk is full or closed to us.
    """
    from safetensors.torch import save_file

    kept: dict[str, Tensor] = {}
    first: dict[tuple[Any, ...], str] = {}
    aliases = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        if identity in first:
            aliases[name] = first[identity]
            continue
        first[identity] = name
        kept[name] = tensor.detach().contiguous().cpu()
    with written_whole(path) as aside:
        save_file(kept, aside, metadata={"aliases": json.dumps(aliases)})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote, or any safetensors file, on the CPU.

    Raises:
        OSError, SafetensorError, ValueError: there is no such file, or it is damaged.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    _refuse_irregular(path)
    tensors: dict[str, Tensor] = load_file(path)
    with safe_open(path, framework="pt") as file:
        aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    return tensors | {name: tensors[first] for name, first in aliases.items()}
