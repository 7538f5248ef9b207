"""Context discovery: objects whose parts lie where they must are told from those whose parts lie anywhere.

Seeded on the discs of 20 canvases of noise, of which 10 have a bar at a fixed place beside the disc and 10 anywhere
(seeds 0, 1, 2: `python benchmarks/decisive.py context-discovery`, docs/systems.md).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from making import write
from PIL import Image

from coview.data.collection import Collection
from coview.data.executors import Processes, Serial
from coview.data.index import index_source
from coview.errors import UsageError
from coview.files import read_tensors
from coview.methods import load_pipeline
from coview.methods.context_discovery import ContextDiscovery, ContextDiscoverySettings
from coview.methods.parts.patch_context import Neighbours, State, cluster_of, dictionaries, extend
from coview.methods.parts.patch_pictures import Place, Pyramid, picture_file, read_picture
from coview.methods.parts.patch_stages import places_in
from coview.methods.pipeline import discover

SIDE, DISC = 176, 20  # pixels: a canvas, and a disc's radius
BAR = (52, 22, 6)  # pixels from the disc's middle to the bar's, half of its length, of its width
SMALL = dataclasses.replace(
    ContextDiscoverySettings.tiny(), size=96, library=400, parts=2, predictors=2, reach=2, rounds=2, least=2, octave=1
)


def canvases(folder: Path, seed: int, fixed: int = 10, count: int = 20, side: int = SIDE) -> list[tuple[int, int]]:
    """Write canvases of noise with a disc each, a bar beside it at one place in the first `fixed`; return the discs."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    y, x = np.mgrid[:side, :side]
    places = []
    for number in range(count):
        noise = rng.normal(size=(side, side))
        noise = sum(np.roll(noise, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)) / 6
        disc = side // 2 + rng.integers(-8, 9, 2)
        angle, turn = (0.0, 0.0) if number < fixed else rng.uniform(0, [2 * np.pi, np.pi])
        away = np.hypot(y - disc[0], x - disc[1])
        canvas = np.where(away < DISC, np.where(away < DISC / 2, 20, 240), 128 + 60 * noise)
        bar = disc + BAR[0] * np.array([np.sin(angle), np.cos(angle)])
        along = (y - bar[0]) * np.cos(turn) - (x - bar[1]) * np.sin(turn)
        across = (y - bar[0]) * np.sin(turn) + (x - bar[1]) * np.cos(turn)
        canvas = np.where((np.abs(along) < BAR[1]) & (np.abs(across) < BAR[2]), 245, canvas)
        Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        places.append((int(disc[0]), int(disc[1])))
    return places


def member_scores(folder: Path, seed: int, fixed: int = 10) -> torch.Tensor:
    """Return what every canvas's disc scores when all of them are one cluster; the disc is given, the rest is found."""
    discs = canvases(folder / "pictures", seed, fixed)
    collection = index_source(str(folder / "pictures"), folder / "collection", workers=0)
    settings, out = dataclasses.replace(ContextDiscoverySettings.tiny(), size=SIDE), folder / "out"
    out.mkdir()
    pipeline, quiet = ContextDiscovery(settings), lambda what, done, total: None
    rows, problems = pipeline.pictures(collection, out, Serial(), quiet)
    assert rows == list(range(20)) and not problems
    stuff = pipeline.stuff(out, rows, Serial(), seed, quiet)
    half = settings.patch / 2 + 1  # and the ring of cells that is left out
    places = [
        (row, Place(0, round(y / settings.cell - half), round(x / settings.cell - half)))
        for row, (y, x) in enumerate(discs)
    ]
    windows, descriptors = cluster_of(out, places, settings)
    state = State.new(windows)
    extend(state, windows, descriptors, dictionaries(tuple(stuff)), len(rows), settings)
    scores = torch.zeros(len(rows))
    scores[state.verified] = state.scores
    return scores


def separation(scores: torch.Tensor) -> float:
    """Return the share of pairs in which a canvas of the first half scores more than one of the second."""
    half = len(scores) // 2
    return float((scores[:half, None] > scores[half:]).double().mean())


@pytest.mark.slow
def test_a_bar_that_lies_where_it_must_is_told_from_one_that_lies_anywhere(tmp_path):
    scores = member_scores(tmp_path, seed=0)
    assert separation(scores) > 0.9 and float(scores[:10].min()) > 50
    assert float(scores[10:].mean()) < float(scores[:10].mean()) / 3


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Collection:
    folder = tmp_path_factory.mktemp("canvases")
    canvases(folder / "pictures", 0, fixed=5, count=5, side=128)
    return index_source(str(folder / "pictures"), folder / "collection", workers=0)


def test_stages_end_in_ranked_clusters_and_go_on_where_they_were_stopped(collection, tmp_path):
    def stop(what, done, total):
        if what == "context, round 2" and done == 1:
            raise KeyboardInterrupt

    whole = discover("context-discovery", collection, tmp_path / "whole", SMALL, Serial())
    with pytest.raises(KeyboardInterrupt):
        discover("context-discovery", collection, tmp_path / "parts", SMALL, Serial(), progress=stop)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.safetensors")}
    again = discover("context-discovery", collection, tmp_path / "parts", SMALL, Serial())
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert again == whole and whole.pictures == 5 and whole.clusters
    totals = [cluster.score for cluster in whole.clusters]
    assert totals == sorted(totals, reverse=True) and all(
        0 <= member.box[0] < member.box[2] <= 128 and 0 <= member.box[1] < member.box[3] <= 128 and member.score > 0
        for cluster in whole.clusters
        for member in cluster.members
    )
    kept = json.loads((tmp_path / "whole" / "clusters.json").read_text())
    assert kept["pictures"] == 5 and len(kept["clusters"]) == len(whole.clusters)
    with pytest.raises(UsageError, match="begun with another seed and settings"):
        discover(
            "context-discovery", collection, tmp_path / "whole", dataclasses.replace(SMALL, reach=3), Serial(), seed=1
        )


@pytest.mark.slow
def test_processes_find_what_one_finds(collection, tmp_path):
    one = discover("context-discovery", collection, tmp_path / "one", SMALL, Serial())
    two = discover("context-discovery", collection, tmp_path / "two", SMALL, Processes(2))
    for a, b in zip(one.clusters, two.clusters, strict=True):
        assert [member.recording for member in a.members] == [member.recording for member in b.members]
        assert a.score == pytest.approx(b.score, rel=1e-3)


def test_a_folder_that_holds_something_else_is_left_alone(collection, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        discover("context-discovery", collection, tmp_path, SMALL, Serial())
    with pytest.raises(UsageError, match="is no pipeline"):
        load_pipeline("xid")


def test_pictures_of_every_kind_are_read_small_ones_and_copies_counted(tmp_path):
    folder = tmp_path / "pictures"
    canvases(folder, 3, fixed=5, count=5, side=104)
    (folder / "copy.png").write_bytes((folder / "00.png").read_bytes())
    grey = Image.open(folder / "01.png")
    grey.convert("CMYK").save(folder / "01.jpg")
    (folder / "01.png").unlink()
    deep = np.asarray(Image.open(folder / "02.png")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "02.png")
    grey.convert("RGB").resize((40, 60)).save(folder / "small.png")
    Image.new("RGB", (104, 104), (90, 90, 90)).save(folder / "plain.png")
    collection = index_source(str(folder), tmp_path / "collection", workers=0)
    found = discover("context-discovery", collection, tmp_path / "found", SMALL, Serial())
    assert found.pictures == 6 and [name for name, _ in found.problems] == ["small.png"]
    assert "40 x 60 pixels" in found.problems[0][1] and "need 48" in found.problems[0][1]
    scores = [member.score for cluster in found.clusters for member in cluster.members]
    assert all(np.isfinite(scores)) and all(np.isfinite([cluster.score for cluster in found.clusters]))


def test_few_places_are_described_by_few_parts(collection, tmp_path):
    pipeline, quiet = ContextDiscovery(dataclasses.replace(SMALL, cell=4, parts=500)), lambda what, done, total: None
    rows, _ = pipeline.pictures(collection, tmp_path, Serial(), quiet)
    files = pipeline.stuff(tmp_path, rows, Serial(), 0, quiet)
    assert places_in(tmp_path / "library.f16") == 400 and len(files) == 16
    assert {len(read_tensors(path)["shares"]) for path in files} == {4}


def test_films_give_their_middle_frame_and_what_is_gone_is_counted(tmp_path):
    folder = tmp_path / "media"
    canvases(folder, 4, fixed=5, count=5, side=104)
    frames = np.stack([np.full((96, 96, 3), value, np.uint8) for value in (10, 90, 90, 90, 200)])
    write(folder / "film.mp4", picture_times=[0.0, 0.2, 0.4, 0.6, 0.8], pictures=frames)
    collection = index_source(str(folder), tmp_path / "collection", workers=0)
    film = collection[collection.ids.index("film.mp4")]
    assert abs(float(read_picture(collection.path(film), film, 48).mean()) - 90) < 4
    (folder / "00.png").unlink()
    (tmp_path / "out").mkdir()
    rows, problems = ContextDiscovery(SMALL).pictures(collection, tmp_path / "out", Serial(), lambda *_: None)
    assert [collection.ids[row] for row in rows] == ["01.png", "02.png", "03.png", "04.png", "film.mp4"]
    assert [name for name, _ in problems] == ["00.png"] and problems[0][1].startswith("gone: ")


def test_too_few_and_plain_pictures_are_refused(tmp_path):
    for number in range(5):
        Image.new("L", (64, 64), 40 * number).save(tmp_path / f"{number}.png")
    few = index_source(str(tmp_path), tmp_path / "few", workers=0)
    with pytest.raises(UsageError, match="no picture has a patch with any gradient"):
        discover("context-discovery", few, tmp_path / "out", dataclasses.replace(SMALL, cell=4), Serial())
    with pytest.raises(UsageError, match=r"0 different pictures that are large enough.*5 too small"):
        discover("context-discovery", few, tmp_path / "small", dataclasses.replace(SMALL, patch=10), Serial())
    with pytest.raises(UsageError, match="where there are 9 cells each way; use larger pictures"):
        discover("context-discovery", few, tmp_path / "narrow", SMALL, Serial())


def test_boxes_are_pixels_of_the_picture_whichever_way_it_was_looked_at(collection, tmp_path):
    pipeline = ContextDiscovery(dataclasses.replace(SMALL, size=64))
    pipeline.pictures(collection, tmp_path, Serial(), lambda what, done, total: None)
    picture = Pyramid(picture_file(tmp_path, 0), 4, 8)
    columns = picture.cells(0).shape[1]
    box = picture.box(Place(0, 1, 0))
    assert box == (16.0, 32.0, 80.0, 96.0)  # read at half its size: 2 x 8 pixels a cell
    assert picture.box(Place(0, 1, columns - 4, mirrored=True)) == box
    torch.testing.assert_close(
        picture.window(Place(0, 0, 0, True), 2)[0].flip(1)[2:-2, 2:-2, 27:],
        picture.window(Place(0, 0, columns - 4), 2)[0][2:-2, 2:-2, [29, 30, 27, 28]],
    )


def test_the_published_settings_and_wrong_ones():
    published = ContextDiscoverySettings()
    assert (published.parts, published.neighbours, published.rounds, published.least) == (2000, 200, 5, 1000)
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(published, rounds=0)
    with pytest.raises(ValueError, match="need 80"):
        dataclasses.replace(published, size=79)


def test_neighbours_go_round(tmp_path):
    kept = Neighbours(torch.tensor([[3, 1]]), torch.tensor([[[0, 1, 2, 1], [4, 5, 6, 0]]]))
    kept.save(tmp_path)
    assert list(Neighbours.load(tmp_path).of(0)) == [(3, Place(0, 1, 2, True)), (1, Place(4, 5, 6, False))]
