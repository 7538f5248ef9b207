"""Prepared shards: what is written is whole and readable by others, and samples are those of the media files."""

import dataclasses
import json
import pickle
import tarfile

import av
import making
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.open import open_source
from coview.data.shards.layout import PrepareSettings, spans
from coview.data.shards.read import ShardSource
from coview.data.shards.write import prepare
from coview.data.source import sample_keys
from coview.data.views import AudioView, VideoView
from coview.errors import UsageError

VIEWS = {
    "video": VideoView(frames=4, fps=16, size=32, margin=1.0),
    "audio": AudioView(seconds=0.5, sample_rate=8000, mels=16),
}
SETTINGS = PrepareSettings(fps=16, size=32, quality=95, sample_rate=8000, recordings_per_shard=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Five films whose grey says the frame, at 16 frames a second and with sound of 8 kHz: nothing is resampled."""
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(0)
    for n in range(5):
        sound = generator.normal(0, 0.2, (1, 16000)).clip(-1, 1).astype(np.float32)
        making.write(
            folder / f"{n}.mp4", picture_times=[k / 16 for k in range(32)], pictures=making.steps(32, 48)[:, :32],
            sound=sound, rate=8000, options={"g": "8"},
        )  # fmt: skip
    return index_source(str(folder), tmp_path_factory.mktemp("index") / "films", workers=0)


@pytest.fixture(scope="module")
def shards(collection, tmp_path_factory):
    out = tmp_path_factory.mktemp("copies") / "shards"
    assert prepare(collection, out, SETTINGS, Serial())["complete"]
    return out


def test_batches_are_those_of_the_media(collection, shards):
    media, stored = MediaSource(collection, VIEWS), ShardSource(shards, VIEWS)
    assert stored.ids == media.ids and stored.fingerprint == media.fingerprint and stored.classes == media.classes
    loaders = [Loader(source, batch_size=4, seed=3, clips_per_recording=5) for source in (media, stored)]
    for _, one, other in zip(range(10), *(loader.stream() for loader in loaders), strict=False):
        assert one.row.equal(other.row) and one.key.equal(other.key) and one.label.equal(other.label)
        for name in VIEWS:
            assert one.start[name].equal(other.start[name]) and one.present[name].equal(other.present[name])
        for here, there in zip(one.views["video"], other.views["video"], strict=True):
            assert making.numbers(here) == making.numbers(there)
            assert (here.int() - there.int()).abs().max() <= 2
        assert (one.views["audio"] - other.views["audio"]).abs().max() <= 0.6 / 32767 + 1e-6


def test_windows_are_those_of_the_media(collection, shards):
    media, stored, row = MediaSource(collection, VIEWS), ShardSource(shards, VIEWS), torch.arange(5)
    for window in range(3):
        one, other = media.read_window(row, window, 3), stored.read_window(row, window, 3)
        assert one.start["video"].equal(other.start["video"])
        assert (one.views["video"].int() - other.views["video"].int()).abs().max() <= 2
        assert (one.views["audio"] - other.views["audio"]).abs().max() < 1e-4
    slower = {"video": dataclasses.replace(VIEWS["video"], fps=8)}
    numbers = making.numbers(ShardSource(shards, slower).read_window(row[:1], 0, 2).views["video"][0])
    assert numbers == [0, 2, 4, 6]


def test_a_worker_reads_the_same_and_takes_little_with_it(shards):
    source, row = ShardSource(shards, VIEWS), torch.arange(5)
    before = source.read(row, sample_keys(0, 0, row))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read(row, sample_keys(0, 0, row)).views["video"].equal(before.views["video"])
    loader = Loader(source, batch_size=5, seed=0, workers=1)
    first = next(iter(loader.stream()))
    assert first.views["audio"].equal(next(iter(Loader(source, batch_size=5, seed=0).stream())).views["audio"])


def test_webdataset_s_own_reader_reads_them(shards):
    webdataset = pytest.importorskip("webdataset", reason="a reader of others, to compare with, is not installed")
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == [f"{row:08d}-00" for row in range(5)]
    for row, sample in enumerate(samples):
        assert sample["json"]["id"] == f"{row}.mp4"
        # FFmpeg 8 gives the last block of AAC whole, FFmpeg 9 what the file says of it.
        assert sample["json"]["samples"] == (16384 if av.library_versions["libavformat"][0] < 63 else 16000)
        pictures = [sample[f"{k:04d}.jpg"] for k in range(32)]
        assert [round((picture.mean() - 20) / 7) for picture in pictures] == list(range(32))
        assert sample["flac"][:4] == b"fLaC"


def test_the_offset_table_says_where_things_are(shards):
    table = pq.read_table(shards / "clips.parquet").to_pylist()
    assert [row["row"] for row in table] == [0, 1, 2, 3, 4] and [row["shard"] for row in table] == [0, 0, 1, 1, 2]
    for row in table:
        with tarfile.open(shards / f"shard-{row['shard']:05d}.tar") as tar:
            member = tar.getmember(f"{row['row']:08d}-00.json")
            assert (member.offset, member.size) == (row["offset"], row["json_bytes"])


def test_a_second_call_makes_nothing_and_a_stopped_one_goes_on(collection, shards, tmp_path):
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    prepare(collection, shards, SETTINGS, Serial())
    assert {path.name: path.stat().st_mtime_ns for path in shards.iterdir()} == before
    out = tmp_path / "copy"

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(collection, out, SETTINGS, Serial(), stop)
    with pytest.raises(UsageError, match="goes on from there"):
        ShardSource(out, VIEWS)
    (out / "shard-00001.tar").write_bytes(b"a tar that was renamed, whose table was not yet written")
    seen = []
    prepare(collection, out, SETTINGS, Serial(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for path in shards.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="another settings"):
        prepare(collection, out, dataclasses.replace(SETTINGS, quality=50), Serial())
    with pytest.raises(UsageError, match="is not empty"):
        prepare(collection, collection.folder, SETTINGS, Serial())


def test_long_recordings_become_several_clips(collection, tmp_path):
    settings = dataclasses.replace(SETTINGS, seconds=0.7)
    assert prepare(collection, tmp_path / "s", settings, Serial())["clips"] == 15
    source = ShardSource(tmp_path / "s", VIEWS)
    length = collection[0].end / 3
    begins = [0, length, 2 * length]
    row = torch.zeros(200, dtype=torch.int64)
    batch = source.read(row, sample_keys(0, 0, torch.arange(200)))
    clip = (batch.start["video"][:, None] >= torch.tensor(begins)).sum(1) - 1
    assert clip.bincount().min() > 40
    for index, number in enumerate(clip.tolist()):  # the sound lies in the clip of the picture
        assert begins[number] - 1e-6 <= batch.start["audio"][index] <= begins[number] + length - 0.5 + 1e-6
        first = making.numbers(batch.views["video"][index])[0]
        assert first == int(float(batch.start["video"][index]) * 16 + 1e-4)
    starts = [float(source.read_window(row[:1], w, 6).start["video"]) for w in range(6)]
    assert starts == sorted(starts) and starts[0] == 0 and starts[-1] > 1.6
    one = spans(collection[0], dataclasses.replace(settings, clips=1))
    assert one == [pytest.approx((length, 2 * length))]
    assert [s[0] for s in spans(collection[0], dataclasses.replace(settings, clips=2))] == pytest.approx(
        [0, 2 * length]
    )


def test_what_cannot_be_read_is_left_out_and_listed(bad_folder, bad_collection, tmp_path):
    index = tmp_path / "index"
    (tmp_path / "in").mkdir()
    for name in ("good.mp4", "fast.mp4", "silent.mp4", "rotated.mp4", "no-picture.wav"):
        (tmp_path / "in" / name).write_bytes((bad_folder[0] / name).read_bytes())
    collection = index_source(str(tmp_path / "in"), index, workers=0)
    (tmp_path / "in" / "fast.mp4").write_bytes(b"gone" * 100)
    card = prepare(collection, tmp_path / "s", SETTINGS, Serial())
    assert list(card["problems"]) == ["fast.mp4"] and "changed" in card["problems"]["fast.mp4"][0]
    source = ShardSource(tmp_path / "s", VIEWS)
    assert source.ids == ["good.mp4", "no-picture.wav", "rotated.mp4", "silent.mp4"]
    assert source.fingerprint != collection.fingerprint
    batch = source.read(torch.arange(4), sample_keys(0, 0, torch.arange(4)))
    assert batch.present["audio"].tolist() == [True, True, True, False]
    assert batch.present["video"].tolist() == [True, False, True, True]


def test_a_damaged_tar_costs_its_samples_and_says_so(collection, shards, tmp_path):
    out = tmp_path / "copy"
    out.mkdir()
    for path in shards.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    tar = out / "shard-00001.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    batch = ShardSource(out, VIEWS).read(torch.arange(5), sample_keys(0, 0, torch.arange(5)))
    assert {row for row, _ in batch.replaced} >= {2, 3} and "prepare again" in batch.replaced[0][1]
    tar.unlink()
    problem = ShardSource(out, VIEWS).read_window(torch.tensor([2]), 0, 1)
    assert problem.replaced == [(2, "missing")]


def test_open_source_knows_it_and_refuses_what_it_does_not_hold(collection, shards):
    name = str(shards)
    assert isinstance(open_source(name, VIEWS), ShardSource)
    parts = [open_source(name, VIEWS, split=split).ids for split in ("train",)]
    assert parts == [MediaSource(collection.select(split="train"), VIEWS).ids]
    with pytest.raises(UsageError, match="8000 Hz, 16000 is wanted"):
        open_source(name, {"audio": AudioView()})
    with pytest.raises(UsageError) as caught:
        open_source(name, {"video": VideoView(fps=25, size=112)})
    assert "16 per second, 25" in str(caught.value) and "32, 128 is wanted" in str(caught.value)
    assert json.loads((shards / "shards.json").read_text())["source"] == collection.folder.name
    assert isinstance(Collection.open(collection.folder), Collection)
