"""What a pipeline is: a system that finds clusters of patches in pictures by stages of its own, without a model.

`coview discover` runs one and shows what it found; nothing else asks about pipelines, and no method is one.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.errors import UsageError
from coview.files import is_leftover, locked, read_json, write_aside
from coview.methods import load_pipeline
from coview.methods.contract import About
from coview.settings import to_dict

_CARD, _CLUSTERS = "discovery.json", "clusters.json"
Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


@dataclass(frozen=True)
class Member:
    """A patch of a picture: `box` is left, top, right, bottom in pixels of the picture as shown."""

    recording: str
    box: tuple[float, float, float, float]
    mirrored: bool
    score: float


@dataclass(frozen=True)
class Cluster:
    """Patches that show one thing, best first; `score` is what clusters are ranked by."""

    score: float
    members: list[Member]


@dataclass(frozen=True)
class Found:
    """Clusters, best first; how many pictures were looked at; and (recording, reason) of what could not be."""

    clusters: list[Cluster]
    pictures: int
    problems: list[tuple[str, str]] = field(default_factory=list)


class Pipeline(ABC):
    """A system of stages. Every stage leaves files, so that the same call goes on where a stopped one was.

    Attributes:
        about: who the system is.
        Settings: its keyword-only dataclass; `tiny()` returns settings for small collections and tests.
        views: what it looks at.
    """

    about: ClassVar[About]
    Settings: ClassVar[type[Any]]
    views: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def run(
        self, collection: Collection, out: Path, executor: Executor, *, seed: int, progress: Progress
    ) -> Found:  # fmt: skip
        """Go through the stages that `out` has not yet, and return what was found.

        Args:
            out: an existing folder of this call alone; the files of the stages stay in it.
            executor: does the tasks of a stage; all of them are this process's to see.
            seed: of every draw.
            progress: called as stages go on.

        Raises:
            UsageError: the collection has too little to look at.
        """


def discover(
    slug: str, collection: Collection, out: Path, settings: Any, executor: Executor, *, seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Found:  # fmt: skip
    """Run a pipeline in the folder `out`, write what it found to clusters.json there, and return it.

    A stopped call goes on where it was when the same call is made again; a finished one is read again.

    Raises:
        UsageError: no such pipeline, `out` holds something else or another call of one, or there is too little to look
            at.
    """
    kind = load_pipeline(slug)
    about = {"pipeline": slug, "seed": seed, "collection": collection.fingerprint, "settings": to_dict(settings)}
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "discover"):
        _check_same(out, json.loads(json.dumps(about)))
        found = kind(settings).run(collection, out, executor, seed=seed, progress=progress)
        write_aside(out / _CLUSTERS, json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False) + "\n")
    return found


def _check_same(out: Path, about: dict[str, Any]) -> None:
    """Note what is asked for in a new folder; in one that has been begun it must be the same."""
    if not (out / _CARD).is_file():
        if any(not is_leftover(path) for path in out.iterdir()):
            raise UsageError(f"{out}: the folder is not empty; choose another one or remove it")
        write_aside(out / _CARD, json.dumps(about, indent=1) + "\n")
        return
    before = read_json(out / _CARD, "the card of a discovery", remedy="remove the folder and start anew")
    if other := [name for name, value in about.items() if before.get(name) != value]:
        raise UsageError(
            f"{out}: it was begun with another {' and '.join(other)} ({_CARD} says which); ask for the same to go on, "
            "or choose another folder"
        )
