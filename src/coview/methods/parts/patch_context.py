"""Verification of a cluster of patches: member by member, what surrounds it is predicted from the others'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.files import read_tensors, write_tensors
from coview.methods.parts.patch_pictures import Place, Pyramid, picture_file
from coview.objectives.context_growth import UNKNOWN, Windows, grow
from coview.objectives.patch_descriptors import Whitening
from coview.objectives.stuff_model import Stuff

_NAME = "neighbours.safetensors"


@dataclass(frozen=True)
class Neighbours:
    """Of each cluster the pictures, best first: rows (S, N) and the places in them (S, N, 4)."""

    rows: Tensor
    places: Tensor

    def save(self, out: Path) -> None:
        """Write them into a folder."""
        write_tensors({"rows": self.rows, "places": self.places}, out / _NAME)

    @classmethod
    def load(cls, out: Path) -> Neighbours:
        """Read them again."""
        return cls(**read_tensors(out / _NAME))

    def of(self, cluster: int) -> Iterator[tuple[int, Place]]:
        """Yield (row, place) of a cluster's patches."""
        for row, (level, top, left, mirror) in zip(
            self.rows[cluster].tolist(), self.places[cluster].tolist(), strict=True
        ):
            yield row, Place(level, top, left, bool(mirror))


@dataclass(frozen=True)
class ClusterTask:
    """A cluster to be verified until `members` of its patches are; what is known so far lies in `last`."""

    cluster: int
    members: int
    out: Path
    last: Path
    folder: Path
    stuff: Sequence[Path]
    settings: Any


@dataclass
class State:
    """What is known of a cluster of N patches.

    Attributes:
        verified: int64 (n,), which of them, in the order in which they were.
        scores: (n,), how far the surroundings of each follow.
        usage: (N,), what each gave to right predictions.
        thing: (N, side, side), how far the cells about each are of the thing.
    """

    verified: Tensor
    scores: Tensor
    usage: Tensor
    thing: Tensor

    @classmethod
    def new(cls, windows: Windows) -> State:
        """Return the state of a cluster of which nothing is verified."""
        count = len(windows.cells)
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(count), windows.thing.clone())


def _path(folder: Path, cluster: int) -> Path:
    return folder / f"{cluster:07d}.safetensors"


def scores_of(folder: Path, cluster: int) -> dict[int, float]:
    """Return picture -> score of a cluster's verified members."""
    found = read_tensors(_path(folder, cluster))
    return dict(zip(found["rows"].tolist(), found["scores"].tolist(), strict=True))


def members_of(out: Path, folder: Path, cluster: int) -> list[tuple[int, Place, float]]:
    """Return (row, place, score) of a cluster's verified members."""
    found, patches = read_tensors(_path(folder, cluster)), list(Neighbours.load(out).of(cluster))
    chosen = zip(found["verified"].tolist(), found["scores"].tolist(), strict=True)
    return [(*patches[number], score) for number, score in chosen]


def verify(task: ClusterTask) -> None:
    """Verify members of a cluster until there are as many as asked for, and write what is known then."""
    path = _path(task.folder, task.cluster)
    if path.is_file():
        return
    settings = task.settings
    patches = list(Neighbours.load(task.out).of(task.cluster))
    windows, descriptors = cluster_of(task.out, patches, settings)
    before = _path(task.last, task.cluster)
    if before.is_file():
        known = read_tensors(before)
        state = State(*(known[name] for name in ("verified", "scores", "usage", "thing")))
    else:
        state = State.new(windows)
    extend(state, windows, descriptors, dictionaries(tuple(task.stuff)), task.members, settings)
    rows = torch.tensor([row for row, _ in patches])[state.verified]
    write_tensors({**vars(state), "rows": rows}, path)


def extend(
    state: State, windows: Windows, descriptors: Tensor, stuff: Stuff, members: int, settings: Any
) -> None:  # fmt: skip
    """Verify patches of a cluster, the first of them the seed, until `members` are, or all.

    Next comes the patch that gave most to right predictions so far. It is predicted from the best ten of those verified
    and, up to `settings.predictors`, those most like the mean of the verified.

    Args:
        state: changed in place.
        windows: N windows about the patches.
        descriptors: unit whitened descriptors (N, K).
        settings: predictors, patch, stiffness, smoothness.
    """
    count = len(descriptors)
    while len(state.verified) < min(members, count):
        free = torch.ones(count, dtype=torch.bool)
        free[state.verified] = False
        query = int(torch.where(free, state.usage, -torch.inf).argmax()) if len(state.verified) else 0
        good = state.verified[state.scores > 0]
        best = state.verified[state.scores.argsort(descending=True, stable=True)][: settings.predictors // 2]
        best = best[torch.isin(best, good)]
        template = normalize(descriptors[good if len(good) else torch.tensor([query])].mean(0), dim=0)
        like = (descriptors @ template).argsort(descending=True, stable=True)
        rest = like[~torch.isin(like, torch.cat([best, torch.tensor([query])]))]
        others = torch.cat([best, rest])[: settings.predictors]
        known = Windows(windows.cells, windows.energy, windows.inside, state.thing)
        found = grow(
            known[query : query + 1], known[others], stuff.log_likelihood, settings.patch,
            stiffness=settings.stiffness, smoothness=settings.smoothness,
        )  # fmt: skip
        state.verified = torch.cat([state.verified, torch.tensor([query])])
        state.scores = torch.cat([state.scores, torch.tensor([found.score])])
        state.usage[others] += found.usage
        state.thing[query] = found.belief


def cluster_of(out: Path, patches: Sequence[tuple[int, Place]], settings: Any) -> tuple[Windows, Tensor]:
    """Return the windows about patches (row, place), and the patches' unit whitened descriptors (N, K)."""
    parts = [
        Pyramid(picture_file(out, row), settings.patch, settings.cell).window(place, settings.reach)
        for row, place in patches
    ]
    cells, energy, inside = (torch.stack(part) for part in zip(*parts, strict=True))
    middle = slice(settings.reach, settings.reach + settings.patch)
    raw = normalize(cells[:, middle, middle].flatten(1), dim=1)
    whitening = Whitening(**read_tensors(out / "whitening.safetensors"))
    return Windows(cells, energy, inside, torch.full(inside.shape, UNKNOWN)), whitening(raw)


@lru_cache(maxsize=1)
def dictionaries(paths: tuple[Path, ...]) -> Stuff:
    """Return the stuff model from its files; a process reads them once."""
    return Stuff({path.stem: read_tensors(path) for path in paths})
