"""No recording gets another's clip, whatever happens to tables, tars and files; a rerun mends what can be mended."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from coview.data.executors import Processes, Serial
from coview.data.index import index_source
from coview.data.shards import write
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.read import ShardSource
from coview.data.shards.write import prepare
from coview.data.source import sample_keys
from coview.data.views import AudioView, VideoView
from coview.errors import DataProblemsError, MediaError, UsageError
from coview.files import locked
from coview.media.encode import write_clip

SETTINGS = PrepareSettings(fps=5, size=32, sample_rate=8000, recordings_per_shard=2)
VIEWS = {"video": VideoView(frames=2, fps=5, size=32, margin=1.0), "audio": AudioView(seconds=0.5, sample_rate=8000)}
COUNT = 5


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Recording k is a picture of grey 40 k with a tone."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "in").mkdir()
    time = torch.arange(8000) / 8000
    for k in range(COUNT):
        frames = torch.full((3, 5, 32, 32), 40 * k, dtype=torch.uint8)
        write_clip(folder / "in" / f"{k}.mp4", frames, 5, 0.5 * torch.sin(6.28 * 100 * (k + 1) * time), 8000)
    return index_source(str(folder / "in"), folder / "c", workers=0)


@pytest.fixture(scope="module")
def original(collection, tmp_path_factory):
    out = tmp_path_factory.mktemp("identity-shards") / "s"
    prepare(collection, out, SETTINGS, Serial())
    return out


@pytest.fixture
def shards(original, tmp_path):
    return shutil.copytree(original, tmp_path / "s")


def greys(source):
    rows = torch.arange(len(source))
    batch = source.read_window(rows, 0, 1)
    return batch, (batch.views["video"].float().mean((1, 2, 3, 4)) / 40).round().int().tolist()


def change(path, **columns):
    table = pq.read_table(path)
    for name, values in columns.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    pq.write_table(table, path)


def test_right_rows(shards):
    batch, found = greys(ShardSource(shards, VIEWS))
    assert found == list(range(COUNT)) and not batch.replaced


def test_rotated_offsets_give_nobody_another_s_clip(shards):
    table = pq.read_table(shards / "clips.parquet")
    names = ("shard", "offset", "bytes", "json_bytes")
    change(shards / "clips.parquet", **{name: np.roll(table.column(name).to_numpy(), 1) for name in names})
    source = ShardSource(shards, VIEWS)
    batch = source.read_window(torch.arange(COUNT), 0, 1)
    assert batch.replaced == [(row, "changed") for row in range(COUNT)] and not batch.present["video"].any()
    with pytest.raises(DataProblemsError, match="lies where"):
        source.read(torch.arange(COUNT), sample_keys(0, 0, torch.arange(COUNT)))


def test_an_exchanged_tar_is_noticed(shards):
    (shards / "shard-00000.tar").write_bytes((shards / "shard-00001.tar").read_bytes())
    batch, found = greys(ShardSource(shards, VIEWS))
    assert [row for row, _ in batch.replaced] == [0, 1] and found[2:] == [2, 3, 4]


@pytest.mark.parametrize("table", ["recordings.parquet", "clips.parquet"])
@pytest.mark.parametrize("column", ["id", "start"])
def test_rotated_columns_are_refused_and_mended(collection, shards, table, column):
    values = pq.read_table(shards / table).column(column).to_pylist()
    values = values[1:] + values[:1] if column == "id" else [None, *values[1:]]
    field = pa.field(column, pa.string() if column == "id" else pa.float64())
    found = pq.read_table(shards / table)
    pq.write_table(
        found.set_column(found.schema.get_field_index(column), field, pa.array(values, field.type)), shards / table
    )
    with pytest.raises(UsageError, match=table):
        ShardSource(shards, VIEWS)
    card = prepare(collection, shards, SETTINGS, Serial())
    assert card["complete"] and greys(ShardSource(shards, VIEWS))[1] == list(range(COUNT))


@pytest.mark.parametrize("damage", ["lacking", "short", "no table"])
def test_a_rerun_mends_shards(collection, shards, damage):
    tar = shards / "shard-00001.tar"
    before = tar.read_bytes()
    if damage == "lacking":
        tar.unlink()
    elif damage == "short":
        tar.write_bytes(before[:2000])
    else:
        tar.with_suffix(".parquet").unlink()
    assert prepare(collection, shards, SETTINGS, Serial())["complete"]
    assert tar.read_bytes() == before and greys(ShardSource(shards, VIEWS))[1] == list(range(COUNT))


def test_a_rerun_takes_in_files_that_came_back(collection, tmp_path):
    film = collection.root / "3.mp4"
    film.rename(tmp_path / "3.mp4")
    try:
        card = prepare(collection, tmp_path / "s", SETTINGS, Serial())
        assert card["complete"] and "gone" in card["problems"]["3.mp4"][0] and card["recordings"] == COUNT - 1
    finally:
        (tmp_path / "3.mp4").rename(film)
    card = prepare(collection, tmp_path / "s", SETTINGS, Serial())
    assert not card["problems"] and greys(ShardSource(tmp_path / "s", VIEWS))[1] == list(range(COUNT))


def test_two_at_once(collection, shards):
    with locked(shards, "prepare"), pytest.raises(UsageError, match=r"another process works on it \(process \d+"):
        prepare(collection, shards, SETTINGS, Serial())
    assert prepare(collection, shards, SETTINGS, Serial())["complete"]


def test_a_decoder_that_crashes_costs_one_recording(collection, tmp_path):
    task = write.ShardTask(collection.folder, tmp_path, 1, 2, 4, SETTINGS).without(2, "crash")
    assert list(Processes(1).run(write.write_shard, [task], write.ShardTask.without)) == [1]
    problems = pq.read_table(tmp_path / "shard-00001.parquet").column("problem").to_pylist()
    assert problems[0].startswith("crash: ") and problems[1] is None


KINDS = [None, "", "x", -1, 0, 1, 2**70, 1.5, float("nan"), [], [-1], [2**62], {}, [[]], True]


@pytest.mark.slow
def test_every_field_of_a_description_changed_is_named_or_right(shards):
    clips = pq.read_table(shards / "clips.parquet").to_pylist()
    tar, clip = shards / "shard-00000.tar", clips[0]
    whole, begin = tar.read_bytes(), clip["offset"] + 512
    about = json.loads(whole[begin : begin + clip["json_bytes"]])
    right = greys(ShardSource(shards, VIEWS))[0].views["video"][0]
    tried = 0
    for name in about:
        for value in [*KINDS, "lacking"]:
            other = {**about, name: value} if value != "lacking" else {k: v for k, v in about.items() if k != name}
            text = json.dumps(other).encode()
            room = -(-clip["json_bytes"] // 512) * 512
            if len(text) > room:
                continue
            tar.write_bytes(whole[:begin] + text.ljust(room, b" ") + whole[begin + room :])
            change(shards / "clips.parquet", json_bytes=[room, *(row["json_bytes"] for row in clips[1:])])
            batch = ShardSource(shards, VIEWS).read_window(torch.tensor([0]), 0, 1)
            tried += 1
            same = batch.views["video"][0].equal(right) or not batch.present["video"][0]
            assert batch.replaced or same, (name, value)
    assert tried > 150


def test_a_media_error_names_the_tar(shards):
    (shards / "shard-00000.tar").unlink()
    source = ShardSource(shards, VIEWS)
    with pytest.raises(MediaError, match=r"shard-00000\.tar: missing: .* prepare again"):
        source._tars.members(source._clips, 0, "0.mp4")
