"""Films read through the cache: batches are those of a prepared copy, whoever fills it and whatever happens."""

import dataclasses
import errno
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import making
import numpy as np
import pytest
import torch

from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.shards import films as kept
from coview.data.shards.cached import CachedSource
from coview.data.shards.encode import encode
from coview.data.shards.films import Films
from coview.data.shards.layout import PrepareSettings, spans
from coview.data.shards.read import ShardSource
from coview.data.shards.write import add_clip, prepare
from coview.data.views import AudioView, VideoView
from coview.errors import UsageError

VIEWS = {
    "video": VideoView(frames=4, fps=12.5, size=32, margin=1.2),
    "audio": AudioView(seconds=0.5, sample_rate=11025, mels=16),
}
SETTINGS = PrepareSettings(fps=12.5, size=38, sample_rate=11025, seconds=1.0)
COUNT, STEPS = 5, 6


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Films of two to three stored clips each, one film without sound; rates and sizes are changed."""
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(0)
    for n in range(COUNT):
        sound = generator.normal(0, 0.2, (1, 16000 + 4000 * n)).clip(-1, 1).astype(np.float32)
        making.write(
            folder / f"{n}.mp4", picture_times=[k / 16 for k in range(32 + 4 * n)],
            pictures=making.steps(32 + 4 * n, 48), sound=None if n == 3 else sound, rate=8000, options={"g": "250"},
        )  # fmt: skip
    return index_source(str(folder), tmp_path_factory.mktemp("index") / "films", workers=0)


@pytest.fixture(scope="module")
def expected(collection, tmp_path_factory):
    out = tmp_path_factory.mktemp("copies") / "shards"
    assert prepare(collection, out, SETTINGS, Serial())["complete"]
    source = ShardSource(out, VIEWS)
    return source, batches(source)


@pytest.fixture
def films(tmp_path):
    made = Films(tmp_path / "cache", SETTINGS, 10**9)
    made.open()
    return made


def batches(source, **changes):
    stream = Loader(source, batch_size=4, seed=3, clips_per_recording=3, **changes).stream()
    return [next(stream) for _ in range(STEPS)]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.row.equal(other.row) and one.key.equal(other.key) and one.replaced == other.replaced
        for name in VIEWS:
            assert one.start[name].equal(other.start[name]) and one.present[name].equal(other.present[name])
            assert one.views[name].equal(other.views[name])


def stored(films):
    return sorted(films.folder.glob("??/*.tar"))


def test_from_the_first_batch_on_those_of_a_prepared_copy_to_the_bit(collection, expected, films):
    source = CachedSource(MediaSource(collection, VIEWS), films)
    assert source.fingerprint == expected[0].fingerprint and source.ids == expected[0].ids
    same(batches(source), expected[1])
    files = {path: path.stat().st_mtime_ns for path in stored(films)}
    assert len(files) > COUNT and not list(films.folder.glob("??/.*"))
    same(batches(source), expected[1])
    same(batches(CachedSource(MediaSource(collection, VIEWS), films)), expected[1])
    assert {path: path.stat().st_mtime_ns for path in stored(films)} == files
    row = torch.arange(COUNT)
    for window in range(3):
        same([source.read_window(row, window, 3)], [expected[0].read_window(row, window, 3)])


def test_clips_are_those_of_the_layout(collection, films):
    clips = CachedSource(MediaSource(collection, VIEWS), films)._clips
    found = list(zip(clips.start.tolist(), clips.end.tolist(), strict=True))
    assert found == [span for recording in collection for span in spans(recording, SETTINGS)]


def told(source):
    said = []
    return batches(source, say=said.append), said


@pytest.mark.parametrize("full", ["reserve", "limit", "in the middle", "closed"])
def test_without_room_the_same_bits_come_from_the_films_and_it_is_said_once(
    collection, expected, films, monkeypatch, full
):
    if full == "reserve":
        monkeypatch.setattr(kept, "RESERVE", 1 << 60)
    elif full == "limit":
        films.limit = 1
    elif full == "closed":
        (films.folder.parent / "file").write_text("")
        films.root = films.root / "file"
        films.open()
    else:
        monkeypatch.setattr(kept, "add_clip", full_after(4))
    found, said = told(CachedSource(MediaSource(collection, VIEWS), films))
    same(found, expected[1])
    assert len(said) == 1 and "no more films are stored" in said[0]
    if full != "closed":
        assert len(stored(films)) == {"in the middle": 4, "limit": 1, "reserve": 0}[full]
        assert not list(films.folder.glob("??/.*"))


def full_after(count):
    """Return what writes some clips, and then finds the disk full in the middle of one."""
    written = []

    def write(tar, *rest):
        written.append(rest)
        if len(written) > count:
            tar.fileobj.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return add_clip(tar, *rest)

    return write


def damage(path, how):
    data = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "short":
        path.write_bytes(data[: len(data) // 2])
    elif how == "zeros":
        path.write_bytes(bytes(len(data)))
    else:
        path.write_bytes(data.replace(path.stem.encode(), path.stem[::-1].encode()))


@pytest.mark.parametrize("how", ["removed", "empty", "short", "zeros", "another's"])
def test_what_is_damaged_is_made_again(collection, expected, films, how):
    source = CachedSource(MediaSource(collection, VIEWS), films)
    same(batches(source), expected[1])
    before = {path: path.read_bytes() for path in stored(films)}
    for path in before:
        damage(path, how)
    found, said = told(CachedSource(MediaSource(collection, VIEWS), films))
    same(found, expected[1])
    assert not said and {path: path.read_bytes() for path in stored(films)} == before
    for path in before:
        damage(path, how)
    same(batches(source), expected[1])  # which knew them all


def test_many_readers_fill_it_together_and_none_does_work_twice(collection, expected, films, monkeypatch):
    made = []

    def slowly(path, recording, clip, *rest):
        made.append(recording.id)
        time.sleep(0.02)
        return encode(path, recording, clip, *rest)

    monkeypatch.setattr("coview.data.shards.cached.encode", slowly)
    sources = [CachedSource(MediaSource(collection, VIEWS), dataclasses.replace(films)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(batches, sources):
            same(found, expected[1])
    assert len(made) == len(set(made)) == len(stored(films))


def test_a_film_that_is_gone_or_changed_is_a_problem_be_it_stored_or_not(collection, films):
    source, film = CachedSource(MediaSource(collection, VIEWS), films), collection.root / "1.mp4"
    row, key = torch.tensor([1]), torch.tensor([5])
    assert not source.read(row, key).replaced
    film.rename(film.with_suffix(".away"))
    try:
        [(index, reason)] = source.read(row, key).replaced
        assert index == 1 and reason.startswith("gone")
    finally:
        film.with_suffix(".away").rename(film)
    os.utime(film)  # touched, and the same
    assert not source.read(row, key).replaced
    whole, facts = film.read_bytes(), film.stat()
    film.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # another one, as long
    try:
        for one in (source, MediaSource(collection, VIEWS)):
            [(index, reason)] = one.read(row, key).replaced
            assert index == 1 and reason.startswith("changed")
    finally:
        film.write_bytes(whole)
        os.utime(film, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_film_that_cannot_be_read_is_replaced_and_leaves_nothing(bad_collection, films):
    views = {"video": VIEWS["video"], "audio": VIEWS["audio"]}
    direct, source = MediaSource(bad_collection, views), CachedSource(MediaSource(bad_collection, views), films)
    row, key = torch.arange(len(direct)), torch.arange(len(direct))
    assert [index for index, _ in source.read(row, key).replaced] == [
        index for index, _ in direct.read(row, key).replaced
    ]
    assert not list(films.folder.glob("??/.*"))


def test_of_a_film_that_is_damaged_in_the_middle_the_same_is_read_with_room_and_without(collection, films, monkeypatch):
    film = MediaSource(collection, VIEWS)._rows.path(1)
    whole, row, key = film.read_bytes(), torch.ones(40, dtype=torch.int64), torch.arange(40)
    hurt = bytearray(whole)
    hurt[len(hurt) // 2 : len(hurt) // 2 + 200] = bytes(200)
    facts = film.stat()
    try:
        film.write_bytes(hurt)  # as if it had been so when it was indexed
        os.utime(film, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        one = CachedSource(MediaSource(collection, VIEWS), films)
        found, again = one.read(row, key), one.read(row, key)
        monkeypatch.setattr(kept, "RESERVE", 1 << 60)
        full = Films(films.root.with_name("full"), SETTINGS, 10**9)
        full.open()
        same([found, again], [CachedSource(MediaSource(collection, VIEWS), full).read(row, key)] * 2)
        assert 0 < len(found.replaced) < 40 and 0 < len(stored(films)) < 3 + len(set(found.row.tolist())) * 3
    finally:
        film.write_bytes(whole)
        os.utime(film, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_film_that_changes_while_it_is_stored_is_not_stored(collection, films, monkeypatch):
    source = CachedSource(MediaSource(collection, VIEWS), films)
    film = source._rows.path(2)
    whole, facts = film.read_bytes(), film.stat()

    def changing(path, *rest):
        made = encode(path, *rest)
        if path == film:
            film.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        return made

    monkeypatch.setattr("coview.data.shards.cached.encode", changing)
    try:
        [(index, reason)] = source.read(torch.tensor([2]), torch.tensor([5])).replaced
        assert index == 2 and reason.startswith("changed") and len(stored(films)) == 1  # of what is read in its place
    finally:
        film.write_bytes(whole)
        os.utime(film, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_what_is_written_after_a_removal_is_listed_counted_and_removed(collection, expected, films):
    source = CachedSource(MediaSource(collection, VIEWS), films)
    same(batches(source), expected[1])
    kept.remove(films.root, "all")
    assert not list(films.root.iterdir())
    same(batches(source), expected[1])
    [cut] = kept.cuts(films.root)
    assert cut.clips == len(stored(films)) > 0 and films.room() <= films.limit - cut.bytes
    (films.folder / "cut.json").write_text("damaged")
    assert [one.folder for one in kept.remove(films.root, "all")] == [films.folder]
    shutil.rmtree(films.root)
    source.films._left = 0
    found, said = told(source)
    same(found, expected[1])
    assert not said and stored(films)


def test_it_travels_to_other_processes_and_is_listed_and_removed(collection, expected, films):
    source = pickle.loads(pickle.dumps(CachedSource(MediaSource(collection, VIEWS), films)))
    same(batches(source), expected[1])
    other = Films(films.root, dataclasses.replace(SETTINGS, quality=80), 10**9)
    other.open()
    assert {cut.folder: cut.clips for cut in kept.cuts(films.root)} == {
        films.folder: len(stored(films)),
        other.folder: 0,
    }
    assert films.there() == sum(path.stat().st_size for path in stored(films))
    with pytest.raises(UsageError, match=films.folder.name):
        kept.remove(films.root, "../x")
    assert [cut.folder for cut in kept.remove(films.root, films.folder.name)] == [films.folder]
    assert not films.folder.exists() and other.folder.exists()
    same(batches(source), expected[1])
    assert kept.remove(films.root, "all") and not list(kept.cuts(films.root))
