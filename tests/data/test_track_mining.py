"""`coview prepare --tracks`: films become a collection of tracks, once, wherever a call was stopped."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from coview.cli.main import main
from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.media_source import MediaSource
from coview.data.track_mining import mine_film, mine_tracks, read_tracks
from coview.errors import UsageError
from coview.media.encode import write_clip
from coview.media.track_finding import TrackSettings
from coview.methods import build, load_method
from coview.methods.contract import Facts

pytest.importorskip("cv2", reason="needs the extra tracking")
SETTINGS = TrackSettings(seconds=0.5)


def grain(height, width, cell, seed):
    made = np.random.default_rng(seed).integers(0, 256, (height // cell, width // cell, 3), dtype=np.uint8)
    return np.kron(made, np.ones((cell, cell, 1), np.uint8))


def moving(path, seed, frames=24, pan=0):
    """Write a film of a square of 90 pixels that goes right by 2 in a frame, over a ground that may be panned."""
    ground, thing = grain(180, 450, 15, seed), grain(90, 90, 9, seed + 100)
    film = np.stack([ground[:, pan * k : pan * k + 260] for k in range(frames)])
    if not pan:
        for k in range(frames):
            film[k, 40:130, 20 + 2 * k : 110 + 2 * k] = thing
    write_clip(path, torch.from_numpy(film).permute(3, 0, 1, 2), 25.0, None, None)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    (folder / "films").mkdir()
    for name, told in {"a": {}, "b": {}, "one": {"frames": 1}, "pan": {"pan": 3}, "gone": {}}.items():
        moving(folder / "films" / f"{name}.mp4", len(name), **told)
    assert main(["index", str(folder / "films"), "-o", str(folder / "c"), "--workers", "0"]) == 0
    (folder / "films" / "gone.mp4").unlink()
    return folder / "c"


def test_tracks_are_a_collection_that_can_be_learnt_from(films, capsys):
    out = films.parent / "tracks"
    command = ["prepare", str(films), "--tracks", "-o", str(out), "--track-seconds", "0.5", "--workers", "0", "--json"]
    capsys.readouterr()
    assert main(command) == 3  # one film is gone
    said = json.loads(capsys.readouterr().out)
    assert said["films"] == 5 and said["tracks"] == 2 and said["skipped"]["short"] == 1
    assert said["skipped"]["camera"] >= 1 and [one["recording"] for one in said["problems"]] == ["gone.mp4"]
    table = read_tracks(out).to_pylist()
    assert [row["film"] for row in table] == ["a.mp4", "b.mp4"]
    for row in table:
        moved = 50 * (row["end"] - row["start"])
        assert abs(row["end"] - row["start"] - 0.5) < 0.05 and abs(row["last"][0] - row["first"][0] - moved) <= 6
    made = Collection.open(out)
    assert [one.group for one in made] == ["a.mp4", "b.mp4"] and Image.open(out / "media" / "tracks.jpg").width == 464
    films_parts = dict(zip(Collection.open(films).ids, Collection.open(films).splits().to_pylist(), strict=True))
    assert all(one.split == films_parts[one.group] for one in made)
    settings = load_method("video-triplet").Settings.tiny()
    source = MediaSource(made, settings.specs())
    method = build("video-triplet", settings, Facts(rows=len(source)))
    assert method.study(source) == "2 tracks of 2 films" and method.film.tolist() == [0, 1]
    views = source.read_window(torch.arange(2), 0, 1).views
    assert (views["image"].float() - views["image_last"].float()).abs().mean() < 40  # the same thing
    plain = MediaSource(Collection.open(films), settings.specs())
    with pytest.raises(UsageError, match="its recordings are no tracks"):
        method.study(plain)
    with pytest.raises(UsageError, match="no collection of tracks"):
        read_tracks(films)


def test_what_is_found_is_not_found_again(films, monkeypatch):
    class Stopped(Serial):
        def run(self, work, tasks, without=None):
            yield work(tasks[0])
            raise KeyboardInterrupt

    out, collection = films.parent / "again", Collection.open(films)
    with pytest.raises(KeyboardInterrupt):
        mine_tracks(collection, out, SETTINGS, Stopped(), 0)
    [note] = (films.parent / "again.partial" / "media").glob("0*.json")
    before = note.stat().st_mtime_ns
    with pytest.raises(UsageError, match="no tracks of this collection with these settings"):
        mine_tracks(collection, out, TrackSettings(seconds=0.4), Serial(), 0)
    first = mine_tracks(collection, out, SETTINGS, Serial(), 0)
    assert (out / "media" / note.name).stat().st_mtime_ns == before
    monkeypatch.setattr("coview.data.track_mining.mine_film", lambda task: pytest.fail("once is enough"))
    assert mine_tracks(collection, out, SETTINGS, Serial(), 0).fingerprint == first.fingerprint
    with pytest.raises(UsageError, match="no tracks of this collection with these settings"):
        mine_tracks(collection, out, TrackSettings(seconds=0.4), Serial(), 0)


def test_a_film_that_kills_its_reader_is_a_problem(films, tmp_path):
    from coview.data.track_mining import FilmTask

    mine_film(FilmTask(films, tmp_path, 0, SETTINGS).without(0, "crash"))
    assert json.loads((tmp_path / "00000000.json").read_text())["problem"].startswith("crash: its decoder")


def test_no_tracks_at_all_are_told(films, capsys):
    command = ["prepare", str(films), "--tracks", "-o", str(films.parent / "none"), "--track-seconds", "5"]
    assert main([*command, "--workers", "0"]) == 2
    assert "no tracks were found in its 5 films (moments left out: 5 short)" in capsys.readouterr().err
    assert main([*command, "--memmap"]) == 2 and "leave out --memmap" in capsys.readouterr().err
