"""Every field of a collection changed in turn: an error that names the file, or the right answer; and identity."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coview.data.collection import Collection, write_tables
from coview.data.recording import LATER, SCHEMA, Recording, TrackFile
from coview.data.tables import fingerprint_of, write_table
from coview.errors import UsageError

ABOUT = {"source": "", "root": ".", "ignored": {}, "report": {}, "notes": []}
VALUES = [None, "", "x", -1, 0, 2**70, 1.5, float("nan"), [], ["b", "a"], [1], {}, {"a": [[]]}, True]


def rows(count=4):
    facts = {"start": 0.0, "end": 2.0, "duration": 2.0, "has_video": True, "has_audio": True}
    words = {"label": "cat", "split": "train", "digest": "00", "content": "11"}
    return [Recording(id=f"r{k}", path=f"r{k}.mp4", bytes=5, **facts, **words) for k in range(count)]


@pytest.fixture
def folder(tmp_path):
    write_tables(tmp_path, rows(), [], ABOUT)
    return tmp_path


def read(folder):
    found = Collection.open(folder)
    return list(found), found.select(split="train").fingerprint, found.quarantine(), found.splits(), found.root


def test_every_entry_of_the_card_changed_is_named_or_right(folder):
    card, right = json.loads((folder / "collection.json").read_text()), read(folder)
    for name in card:
        for value in [*VALUES, "lacking"]:
            other = {**card, name: value} if value != "lacking" else {k: v for k, v in card.items() if k != name}
            (folder / "collection.json").write_text(json.dumps(other))
            try:
                assert read(folder)[:1] == right[:1], (name, value)
            except UsageError as error:
                assert str(folder) in str(error) and "\n" not in str(error), (name, value)


@pytest.mark.parametrize("known", [True, False], ids=["digest", "older card"])
def test_every_column_changed_is_named_or_right(folder, known):
    card = json.loads((folder / "collection.json").read_text())
    if not known:
        del card["digest"]
        (folder / "collection.json").write_text(json.dumps(card))
    table, right = pq.read_table(folder / "recordings.parquet"), read(folder)
    whole = (folder / "recordings.parquet").read_bytes()
    for index, field in enumerate(table.schema):
        changes = [pa.nulls(4), pa.array([b"\xff"] * 4), pa.array([["a"]] * 4), pa.array([2**62] * 4)]
        changes += [pa.array([float("nan")] * 4), pa.array(["\ud7ff"] * 4), pa.array([True] * 4)]
        changed = [table.set_column(index, field.name, change) for change in changes]
        for other in [*changed, table.drop_columns([field.name])]:
            pq.write_table(other, folder / "recordings.parquet")
            if known:
                with pytest.raises(UsageError, match=r"recordings\.parquet"):
                    Collection.open(folder)
                continue
            try:
                found = read(folder)
            except UsageError as error:
                assert str(folder / "recordings.parquet") in str(error) or "no recording belongs" in str(error)
            else:
                assert len(found[0]) == 4, field.name
                assert field.name in LATER or field.name not in other.column_names or field.name != "id"
    (folder / "recordings.parquet").write_bytes(whole)
    assert read(folder)[0] == right[0]


@pytest.mark.parametrize("name", ["recordings.parquet", "quarantine.parquet", "collection.json"])
def test_cut_off_and_flipped_files_are_named(folder, name):
    whole, right = (folder / name).read_bytes(), read(folder)
    generator = np.random.default_rng(0)
    for cut in (0, 3, len(whole) // 2, len(whole) - 5):
        (folder / name).write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=name):
            read(folder)
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        (folder / name).write_bytes(flipped)
        try:
            assert read(folder)[0] == right[0]
        except UsageError as error:
            assert str(folder) in str(error)


def test_a_table_of_more_rows_than_bytes_is_refused_at_once(folder):
    many = 100_000_000
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1, np.int32)), pa.array(["r"]))
    table = pa.table({"id": one})
    with pq.ParquetWriter(folder / "recordings.parquet", table.schema) as out:
        block = pa.DictionaryArray.from_arrays(pa.array(np.zeros(many // 10, np.int32)), pa.array(["r"]))
        for _ in range(10):
            out.write_table(pa.table({"id": block}))
    card = json.loads((folder / "collection.json").read_text())
    del card["digest"]
    (folder / "collection.json").write_text(json.dumps({**card, "counts": {"recordings": many}}))
    begin = time.process_time()
    with pytest.raises(UsageError, match=r"no column|cannot be in its"):
        Collection.open(folder)
    assert time.process_time() - begin < 2


def test_a_collection_of_the_first_format_is_read_with_its_fingerprint(folder):
    table = pq.read_table(folder / "recordings.parquet").drop_columns(sorted(LATER))
    pq.write_table(table, folder / "recordings.parquet")
    card = json.loads((folder / "collection.json").read_text())
    del card["digest"], card["notes"]
    (folder / "collection.json").write_text(json.dumps({**card, "format": 1}))
    found = Collection.open(folder)
    assert found[0].content == "" and found.contents is None and found.digests == ["00"] * 4 and not found[0].tracks
    # Made by the formula of the first format, from ids, digests, spans and labels alone.
    assert fingerprint_of(found.table, found.classes) == "cf7d51b551e8f732"
    assert found.select(split="train").fingerprint == "cf7d51b551e8f732"


OTHER = {
    str: "other", float: 0.25, int: 7, bool: False, tuple: ("other",), type(None): "other", dict: {"depth": "d.mp4"},
}  # fmt: skip


def test_identity_covers_every_column(tmp_path):
    before = _fingerprint(tmp_path, rows())
    for field in dataclasses.fields(Recording):
        value = getattr(rows()[1], field.name)
        other = OTHER[type(value)]
        if field.name == "keyframe_seconds":
            other = (0.5,)
        if field.name == "track_files":
            other = {"depth": TrackFile(bytes=1, modified=1, digest="22")}
        if field.name == "labels":
            other = {"dog": 1}
        other = (not value) if isinstance(value, bool) else other
        if field.name == "id":
            other = "r1b"
        changed = [row if k != 1 else dataclasses.replace(row, **{field.name: other}) for k, row in enumerate(rows())]
        same = _fingerprint(tmp_path, changed) == before
        assert same == (field.name in ("path", "modified")), field.name
    assert _fingerprint(tmp_path, rows()) == before


def _fingerprint(folder, recordings):
    write_tables(folder, recordings, [], ABOUT)
    return json.loads((folder / "collection.json").read_text())["fingerprint"]


def test_tracks_and_their_files_are_kept(tmp_path):
    known = TrackFile(bytes=3, modified=4, digest="55")
    row = dataclasses.replace(rows()[0], tracks={"depth": "d/0.mkv"}, track_files={"depth": known})
    write_tables(tmp_path, [row, rows()[1]], [], ABOUT)
    assert list(Collection.open(tmp_path)) == [row, rows()[1]]


def _million(folder, count):
    generator = np.random.default_rng(0)
    text = [f"film-{k:07d}.mp4" for k in range(count)]
    columns = {"id": text, "path": text, "caption": [f"a caption of {k}" for k in range(count)], "label": ["a"] * count}
    columns |= {name: [generator.bytes(32).hex() for _ in range(count)] for name in ("digest", "content")}
    arrays = []
    for field in SCHEMA:
        if field.name in columns:
            arrays.append(pa.array(columns[field.name], field.type))
        elif field.name in ("end", "duration", "video_end", "audio_end"):
            arrays.append(pa.array(generator.uniform(5, 20, count)))
        elif field.name in ("identity", "bytes", "modified"):
            arrays.append(pa.array(generator.integers(0, 2**40, count)))
        elif pa.types.is_list(field.type) or pa.types.is_map(field.type):
            arrays.append(pa.array([[]] * count, field.type))
        elif field.nullable:
            arrays.append(pa.nulls(count, field.type))
        else:
            zero = {"double": 0.0, "int64": 25, "bool": True, "string": "h264"}[str(field.type)]
            arrays.append(pa.array([zero] * count, field.type))
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    write_table(table, folder / "recordings.parquet")
    card = {**ABOUT, "format": 2, "counts": {"recordings": count}, "flags": {}, "reasons": {}, "classes": ["a"]}
    (folder / "collection.json").write_text(json.dumps({**card, "fingerprint": fingerprint_of(table, ["a"])}))


OPEN = """
import pathlib, sys, time
import torch
import coview.data.collection as collection
from coview.data.media_source import MediaSource
from coview.data.views import VideoView
def peak():  # not ru_maxrss, which begins with the memory of the process that started this one
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before, began = peak(), time.process_time()
found = collection.Collection.open(sys.argv[1])
source = MediaSource(found, {"video": VideoView()})
print(len(source), time.process_time() - began, (peak() - before) / 1024)
"""


@pytest.mark.slow
def test_a_million_recordings_are_opened_in_little_time_and_memory(tmp_path):
    _million(tmp_path, 1_000_000)
    # What an allocator keeps for itself, and for each thread, differs by machine: the system's own, one thread.
    one = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=one)
    count, seconds, megabytes = map(float, done.stdout.split())
    assert count == 1_000_000 and seconds < 3 and megabytes < 330
