"""Context as supervisory signal: a cluster of patches shows an object if what surrounds one follows from the others.

Doersch, Gupta & Efros, "Context as supervisory signal: discovering objects with predictable context", ECCV 2014. No
network and no gradient: cells of histograms, Gaussians, and an aligner. In stages:

    pictures   pyramids of cells; one seed patch a picture, where there is much gradient
    whitening  mean and covariance of patches; a whitened patch is a detector of patches like it
    library    cells about a place, and 16 mixtures of what texture continues as: the stuff model
    neighbours each seed's best patch in every picture, mirrored ones too
    context    member by member: what surrounds it is predicted from the others', cell by cell, by a thing model;
               its score is how much better that is than the stuff model (`objectives.context_growth`)
    selection  five rounds: the clusters that cover the pictures best stay, half of them, and twice as many members

Defaults are the released code's; few pictures get a smaller stuff model. Where it differs from the paper or errs: 2,000
parts a mixture (the paper says 5,000); the moments of a mixture and the doubt in a predictor are computed as meant.
Reconstruction: how correspondence is optimised, and usage. Growing is bounded by `reach` in place of 120 seconds, and
copies are told by boxes, not masks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.errors import UsageError
from coview.files import read_json, read_tensors, write_aside, write_tensors, written_whole
from coview.methods.contract import About
from coview.methods.parts.patch_context import ClusterTask, Neighbours, members_of, scores_of, verify
from coview.methods.parts.patch_pictures import PictureTask, Place, Pyramid, different, make_pyramid, picture_file
from coview.methods.parts.patch_stages import (
    DetectTask,
    DictionaryTask,
    detect,
    make_dictionary,
    places_in,
    some_patches,
    surroundings,
)
from coview.methods.pipeline import Cluster, Found, Member, Pipeline, Progress
from coview.objectives.cluster_selection import select, total, without_copies
from coview.objectives.patch_descriptors import Whitening, draw_seeds, patch_descriptors
from coview.objectives.stuff_model import SIDE, half_diamonds
from coview.randomness import make_key

_LEAST = 4  # pictures
_PLACES = 100  # that a part of the stuff model needs


@dataclass(frozen=True, kw_only=True)
class ContextDiscoverySettings:
    """Settings; the defaults are the released code's for PASCAL VOC 2011, which took about 2,000 CPU hours."""

    size: int = 375  # short side that pictures are read at; smaller ones stay as they are
    cell: int = 8  # pixels along a side of a cell
    patch: int = 8  # cells along a side of a patch
    octave: int = 8  # sizes of a picture until it is half as large
    seeds: int = 1  # patches of each picture that clusters begin with
    whitened: int = 1500  # pictures that patches are whitened by, at most
    library: int = 1_000_000  # places that the stuff model learns from
    places: int = 1000  # of them in one picture, at most: few pictures say no more by being asked more often
    parts: int = 2000  # of each of its 16 mixtures; fewer where there are not 100 places for each
    neighbours: int = 200  # patches like a seed that are kept, one a picture
    predictors: int = 20  # patches that a member's surroundings are predicted from
    reach: int = 12  # cells to every side of a patch that are predicted
    stiffness: float = 0.1  # how much neighbouring cells hold each other (lambda)
    smoothness: float = 0.5  # of the field that they are held in (lambda')
    rounds: int = 5  # of verification: one member, then twice as many each time
    least: int = 1000  # clusters that a round leaves, if there are as many
    overlap: float = 0.2  # of two boxes that show the same, intersection over union
    overlaps: int = 12  # members that may show what a better cluster shows

    def __post_init__(self) -> None:
        counts = (self.size, self.cell, self.patch, self.octave, self.seeds, self.whitened, self.library, self.places)
        if min(*counts, self.parts, self.neighbours, self.predictors, self.reach, self.rounds, self.least) < 1:
            raise ValueError("context discovery's counts are at least 1")
        if self.size < self.cell * (self.patch + 2):
            raise ValueError(f"size {self.size}: a patch and the cells around it need {self.cell * (self.patch + 2)}")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and some dozens of small pictures."""
        return cls(
            size=160, patch=4, octave=2, library=4000, parts=16, neighbours=20, predictors=10, reach=6, rounds=3,
            least=4, overlaps=2,
        )  # fmt: skip


class ContextDiscovery(Pipeline):
    """The stages, each of which leaves files."""

    about = About(
        slug="context-discovery",
        title="Context as supervisory signal: objects found by predictable surroundings",
        paper="Doersch, Gupta & Efros, ECCV 2014",
        family="discovery",
        state="verified: golden context-discovery (cells, Gaussians, beliefs, scores); the aligner is a reconstruction",
    )
    Settings = ContextDiscoverySettings
    settings: ContextDiscoverySettings

    def run(
        self, collection: Collection, out: Path, executor: Executor, *, seed: int, progress: Progress
    ) -> Found:  # fmt: skip
        """See `Pipeline.run`."""
        pictures, problems = self.pictures(collection, out, executor, progress)
        stuff = self.stuff(out, pictures, executor, seed, progress)
        seeds = self._seeds(out, pictures, seed)
        self._neighbours(out, pictures, seeds, executor, progress)
        chosen, last = list(range(len(seeds))), out / "rounds" / "0"
        for number in range(self.settings.rounds):
            folder = out / "rounds" / str(number + 1)
            folder.mkdir(parents=True, exist_ok=True)
            tasks = [ClusterTask(cluster, 2**number, out, last, folder, stuff, self.settings) for cluster in chosen]
            _all(executor, verify, tasks, f"context, round {number + 1}", progress)
            last = folder
            if number + 1 < self.settings.rounds:
                left = min(len(chosen), max(self.settings.least, len(chosen) // 2))
                kept = select([scores_of(folder, cluster) for cluster in chosen], left)
                chosen = sorted(chosen[place] for place in kept)
        return Found(self._ranked(collection, out, last, chosen), len(pictures), problems)

    def pictures(
        self, collection: Collection, out: Path, executor: Executor, progress: Progress
    ) -> tuple[list[int], list[tuple[str, str]]]:
        """Make the pyramids; return the rows that have one, and what has none, as they were found the first time."""
        path, s = out / "pictures.json", self.settings
        if path.is_file():
            known = read_json(path, "the list of pictures")
            return known["rows"], [(name, why) for name, why in known["problems"]]
        rows, copies = different(collection)
        folder = out / "pictures"
        folder.mkdir(exist_ok=True)
        tasks = []
        for row in rows:
            about = collection[row]
            tasks.append(
                PictureTask(about, collection.path(about), picture_file(out, row), s.size, s.patch, s.cell, s.octave)
            )
        reasons = dict(_all(executor, _make, list(zip(rows, tasks, strict=True)), "pictures", progress))
        ids = collection.ids
        problems = [(ids[row], why) for row, why in sorted(reasons.items()) if why is not None]
        good = [row for row in rows if reasons[row] is None]
        if len(good) < _LEAST:
            raise UsageError(
                f"{collection.folder}: {len(good)} different pictures that are large enough, and at least {_LEAST} are "
                f"needed ({copies} copies, {len(problems)} too small or unreadable); index more, or ask for a smaller "
                "--method.patch"
            )
        write_aside(path, json.dumps({"rows": good, "problems": problems}))
        return good, problems

    def stuff(
        self, out: Path, pictures: Sequence[int], executor: Executor, seed: int, progress: Progress
    ) -> list[Path]:  # fmt: skip
        """Draw the library, whiten, and fit the dictionaries; return the dictionaries' files."""
        if not (out / "whitening.safetensors").is_file():
            self._draw(out, pictures, seed, progress)
        folder = out / "stuff"
        folder.mkdir(exist_ok=True)
        if not (count := places_in(out / "library.f16")):
            raise UsageError(f"{out}: texture is learnt where there are {SIDE} cells each way; use larger pictures")
        parts = min(self.settings.parts, max(1, count // _PLACES))
        tasks = [
            DictionaryTask(out / "library.f16", folder / f"{number:02d}.safetensors", number, parts, seed)
            for number in range(half_diamonds().shape[-1])
        ]
        _all(executor, make_dictionary, tasks, "stuff", progress)
        return [task.out for task in tasks]

    def _draw(self, out: Path, pictures: Sequence[int], seed: int, progress: Progress) -> None:
        """Write the library of cells about places, and then the whitening of patches of some of the pictures."""
        s = self.settings
        each = min(s.places, math.ceil(s.library / len(pictures)))
        count, total_, outer = 0, torch.zeros(1), torch.zeros(1)
        with written_whole(out / "library.f16") as aside, aside.open("wb") as stream:
            for number, row in enumerate(pictures):
                found, key = self._open(out, row), make_key(seed, row)
                stream.write(surroundings(found, each, key).half().numpy().tobytes())
                if number < s.whitened:
                    patches = some_patches(found, s.patch, 4 * s.patch**2, key)
                    count, total_, outer = count + len(patches), total_ + patches.sum(0), outer + patches.T @ patches
                progress("library", number + 1, len(pictures))
        whitening = Whitening.of(count, total_, outer)
        write_tensors({"mean": whitening.mean, "root": whitening.root}, out / "whitening.safetensors")

    def _seeds(self, out: Path, pictures: Sequence[int], seed: int) -> list[tuple[int, Place]]:
        """Return (row, place) of the patches that clusters begin with."""
        path, s = out / "seeds.json", self.settings
        if not path.is_file():
            found: list[list[int]] = []
            for row in pictures:
                picture = self._open(out, row)
                levels = range(0, len(picture.scales), max(1, s.octave // 2))
                places = draw_seeds(
                    [picture.energy(level) for level in levels], [picture.scales[level] for level in levels],
                    s.patch, s.seeds, make_key(seed, row),
                )  # fmt: skip
                found += [[row, levels[level], top, left] for level, top, left in places]
            write_aside(path, json.dumps({"seeds": found}))
        seeds = [(row, Place(*place)) for row, *place in read_json(path, "the seeds of clusters")["seeds"]]
        if not seeds:
            raise UsageError(f"{out}: no picture has a patch with any gradient; all of them are plain")
        return seeds

    def _neighbours(
        self, out: Path, pictures: Sequence[int], seeds: Sequence[tuple[int, Place]], executor: Executor,
        progress: Progress,
    ) -> None:  # fmt: skip
        """Find each seed's best patch in every picture, and keep the best pictures."""
        if (out / "neighbours.safetensors").is_file():
            return
        folder, s = out / "detections", self.settings
        folder.mkdir(exist_ok=True)
        whitening = Whitening(**read_tensors(out / "whitening.safetensors"))
        patches = []
        for row, place in seeds:
            cells = self._open(out, row).cells(place.level)
            patches.append(patch_descriptors(cells, s.patch)[place.row, place.column])
        write_tensors({"detectors": whitening.detectors(torch.stack(patches))}, out / "detectors.safetensors")
        _all(executor, detect, [DetectTask(out, row, s.patch, s.cell) for row in pictures], "neighbours", progress)
        found = [read_tensors(folder / f"{row:07d}.safetensors") for row in pictures]
        scores = torch.stack([each["score"] for each in found], 1)
        places = torch.stack([each["place"] for each in found], 1)
        number_of = {row: number for number, row in enumerate(pictures)}
        for cluster, (row, place) in enumerate(seeds):  # the seed itself comes first, whatever rounding says
            scores[cluster, number_of[row]] = torch.inf
            there = [place.level, place.row, place.column, 0]
            places[cluster, number_of[row]] = torch.tensor(there, dtype=places.dtype)
        best = scores.argsort(dim=1, descending=True, stable=True)[:, : s.neighbours]
        Neighbours(torch.tensor(pictures)[best], places.gather(1, best[..., None].expand(-1, -1, 4))).save(out)

    def _ranked(self, collection: Collection, out: Path, last: Path, chosen: Sequence[int]) -> list[Cluster]:
        """Return the clusters whose members confirmed each other, best first, without those that show the same."""
        ids, found = collection.ids, list[list[tuple[int, Member]]]()
        for cluster in chosen:
            members = []
            for row, place, score in members_of(out, last, cluster):
                if score > 0:
                    box = self._open(out, row).box(place)
                    members.append((row, Member(ids[row], box, place.mirrored, score)))
            members.sort(key=lambda member: -member[1].score)
            if members:
                found.append(members)
        found.sort(key=lambda members: -total({row: member.score for row, member in members}))
        boxes = [([row for row, _ in each], torch.tensor([member.box for _, member in each])) for each in found]
        kept = without_copies(boxes, self.settings.overlap, self.settings.overlaps)
        ranked = [[member for _, member in found[number]] for number in kept]
        return [Cluster(sum(member.score for member in members), members) for members in ranked]

    def _open(self, out: Path, row: int) -> Pyramid:
        return Pyramid(picture_file(out, row), self.settings.patch, self.settings.cell)


def _all(
    executor: Executor, work: Callable[[Any], Any], tasks: Sequence[Any], what: str, progress: Progress
) -> list[Any]:  # fmt: skip
    """Return what all tasks of a stage gave, in the order in which they were done."""
    found = []
    progress(what, 0, len(tasks))
    for result in executor.run(work, tasks):
        found.append(result)
        progress(what, len(found), len(tasks))
    return found


def _make(task: tuple[int, PictureTask]) -> tuple[int, str | None]:
    return task[0], make_pyramid(task[1])
