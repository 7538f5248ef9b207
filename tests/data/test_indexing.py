import contextlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coview.data import index as indexing
from coview.data import probed
from coview.data.adapters import Made, Options, Refused, load_adapter
from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.manifest import make_manifest
from coview.errors import UsageError


def test_every_bad_file_is_named_and_every_good_one_kept(bad_folder, bad_collection):
    expected = bad_folder[1]
    quarantined = {row.path: row.reason for row in bad_collection.quarantine()}
    assert quarantined == {name: word[1:] for name, word in expected.items() if word.startswith("!")}
    kept = {recording.id: recording.flags for recording in bad_collection}
    assert set(kept) == {name for name, word in expected.items() if not word.startswith(("!", "-"))}
    for name, flags in kept.items():
        assert expected[name] in flags if expected[name] else not set(flags) - {"copy"}, name
    assert sum(bad_collection.about["ignored"].values()) == sum(word == "-" for word in expected.values())
    assert len(quarantined) >= 10 and len(expected) >= 25


def test_messages_say_what_was_seen(bad_collection):
    messages = {row.path: row.message for row in bad_collection.quarantine()}
    assert "promises 4.00 s" in messages["half.mp4"] and "0 bytes" in messages["empty.mp4"]


def test_the_table_says_what_the_files_hold(bad_collection):
    rows = {recording.id: recording for recording in bad_collection}
    good = rows["good.mp4"]
    assert (good.width, good.height, good.channels, good.sample_rate) == (64, 48, 2, 44100)
    assert good.fps == pytest.approx(25) and good.duration == pytest.approx(2.0, abs=0.05) and good.constant_rate
    assert len(good.digest) == 64 and good.bytes > 1000 and good.keyframe_seconds[0] == pytest.approx(0, abs=0.05)
    assert (rows["rotated.mp4"].width, rows["rotated.mp4"].height) == (48, 64) and rows["rotated.mp4"].rotation % 180
    assert rows["silent.mp4"].silent and rows["five-one.mkv"].channels == 6 and rows["late.mp4"].audio_start > 0.6
    assert not rows["uneven.mp4"].constant_rate and rows["five-kilohertz.wav"].sample_rate == 5000
    assert rows["deep/er/good.mkv"].path == "deep/er/good.mkv"
    assert bad_collection.ids == sorted(bad_collection.ids)
    assert bad_collection.path(good).is_file()


@pytest.mark.parametrize("executor", [None, Serial()])
def test_processes_find_the_same(bad_folder, bad_collection, tmp_path, executor):
    again = index_source(str(bad_folder[0]), tmp_path / "again", workers=2, executor=executor)
    assert again.table.equals(bad_collection.table) and again.fingerprint == bad_collection.fingerprint
    assert again.quarantine() == bad_collection.quarantine()


def test_a_stopped_index_goes_on_and_notices_changed_files(bad_folder, bad_collection, tmp_path, monkeypatch):
    seen = []

    def watch(limit):
        def probe_files(paths, workers, executor):
            for path, outcome in original(paths, 0):
                if len(seen) == limit:
                    raise KeyboardInterrupt
                seen.append(path)
                yield path, outcome

        monkeypatch.setattr(probed, "probe_files", probe_files)

    original = probed.probe_files
    watch(limit=10)
    with pytest.raises(KeyboardInterrupt):
        index_source(str(bad_folder[0]), tmp_path / "c")
    assert not (tmp_path / "c").exists()
    side = tmp_path / "c.partial" / "probed.jsonl"
    with side.open("a") as stream:
        stream.write('{"path": "half a li')  # as a kill leaves it
    changed = json.loads(side.read_text().splitlines()[0])
    lines = side.read_text().replace(json.dumps(changed["stamp"]), "[1, 2]", 1)
    side.write_text(lines)
    seen.clear()
    watch(limit=10**6)
    resumed = index_source(str(bad_folder[0]), tmp_path / "c")
    assert len(seen) == len(bad_collection) + len(bad_collection.quarantine()) - 10 + 1
    assert resumed.table.equals(bad_collection.table)
    assert not (tmp_path / "c.partial").exists()


def test_an_existing_collection_is_not_overwritten_unasked(bad_collection, bad_folder, tmp_path):
    with pytest.raises(UsageError, match="--overwrite"):
        index_source(str(bad_folder[0]), bad_collection.folder)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="not a collection"):
        index_source(str(bad_folder[0]), tmp_path / "mine", overwrite=True)


@pytest.fixture
def rows(bad_folder):
    path = str(bad_folder[0] / "good.mp4")
    return [
        {"path": path, "id": "a", "label": "cat", "split": "train", "group": "g", "start": 0.5, "end": 1.5, "x": 1},
        {"path": path, "id": "b", "label": "", "split": "test", "group": "h", "start": None, "end": None, "x": 2},
        {"path": "nowhere.mp4", "id": "c", "label": "dog", "split": "test", "group": "h", "start": 0, "end": 1, "x": 3},
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_manifests(rows, kind, tmp_path):
    manifest = tmp_path / f"clips.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), manifest)
    elif kind == "jsonl":
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        manifest.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    collection = index_source(str(manifest), tmp_path / "c", workers=0)
    one, other = collection.recordings
    assert (one.id, one.label, one.split, one.group, one.start, one.end) == ("a", "cat", "train", "g", 0.5, 1.5)
    assert other.label is None and other.end == pytest.approx(2.0, abs=0.05)
    assert [row.reason for row in collection.quarantine()] == ["missing"]
    assert collection.about["report"] == {"unused_columns": ["x"]}
    assert collection.select(split="test").ids == ["b"]
    assert collection.classes == ["cat"]


def test_wrong_manifests_list_their_problems(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,split,start,end\na.mp4,training,0,1\n,train,0,1\nb.mp4,,x,1\nc.mp4,,3,2\n")
    with pytest.raises(UsageError) as caught:
        make_manifest(manifest)
    for word in (
        "row 1: split 'training'",
        "row 2: no path",
        "row 3: start 'x'",
        "row 4: the span from 3.0 s to 2.0 s",
    ):
        assert word in str(caught.value)
    manifest.write_text("file\na.mp4\n")
    with pytest.raises(UsageError, match="no column 'path'; found file"):
        make_manifest(manifest)


def test_two_recordings_of_one_id_are_an_error_that_names_both(bad_folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,id\n" + "".join(f"{bad_folder[0] / name},same\n" for name in ("good.mp4", "late.mp4")))
    with pytest.raises(UsageError, match=r"'same'.*good\.mp4.*late\.mp4"):
        index_source(str(manifest), tmp_path / "c", workers=0)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'digits-av'"):
        index_source("digit-av", tmp_path / "c")
    with pytest.raises(UsageError, match="no such folder"):
        index_source("some/where", tmp_path / "c")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    with pytest.raises(UsageError, match=r"no media files.*1 \.txt"):
        index_source(str(tmp_path / "notes"), tmp_path / "c")


def test_labels_from_folders(bad_folder, tmp_path):
    collection = index_source(str(bad_folder[0]), tmp_path / "c", workers=0, labels_from_folders=True)
    labels = dict(zip(collection.ids, collection.column("label"), strict=True))
    assert labels["deep/er/good.mkv"] == "er" and labels["good.mp4"] is None


def test_a_world_becomes_files_that_carry_label_and_split(tmp_path):
    made = load_adapter("digits-av")(tmp_path, Options(variant="A", count=10))
    splits = {item.split for item in made.items}
    assert isinstance(made, Made) and len(made.items) == 10 and splits == {"train", "validation", "test"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    load_adapter("digits-av")(tmp_path, Options(variant="A", count=10))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(before) == 10


def test_what_a_stopped_call_made_of_another_file_is_made_anew(bad_folder, tmp_path):
    data, out = tmp_path / "data", tmp_path / "c"
    data.mkdir()

    def make(media, options):
        kept = media / "film.txt"
        if not kept.exists():
            kept.write_text((data / "source").read_text())
        told.append(kept.read_text())
        if len(told) < 4:
            raise KeyboardInterrupt
        return Made(items=[], root=media)

    told: list[str] = []
    for text in ("one", "one", "another", "another"):
        if not told or told[-1] != text:
            (data / "source").write_text(text)
        with pytest.raises(KeyboardInterrupt) if len(told) < 3 else contextlib.nullcontext():
            index_source("mine", out, make=make, options=Options(folder=data), workers=0)
    assert told == ["one", "one", "another", "another"]
    assert not (out / "made-of.json").exists()


def test_what_an_adapter_refuses_is_in_quarantine(bad_folder, tmp_path, monkeypatch):
    refused = Refused(path="x.svg", reason="unsafe", message="declares entities")
    monkeypatch.setattr(indexing, "make_folder", lambda path, *how: Made(items=[], root=path, refused=[refused]))
    assert index_source(str(bad_folder[0]), tmp_path / "c").quarantine() == [refused]


def test_splits_without_a_column_are_stable_and_keep_groups_together():
    from coview.data.recording import split_of

    splits = [split_of(f"recording-{i}") for i in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.8, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(0.1, abs=0.02)


def test_a_folder_that_is_no_collection(tmp_path):
    with pytest.raises(UsageError, match="not a collection"):
        Collection.open(tmp_path)
