"""Sources joined by recording: films with stored features, a table of actions, depth beside a picture."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from bad_media import write
from PIL import Image

from coview.data.augment import PRESETS
from coview.data.collection import Collection, write_tables
from coview.data.features_source import open_features
from coview.data.index import index_source
from coview.data.joined import JoinedSource
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.open import is_decoded, open_source
from coview.data.preprocess import Preprocess
from coview.data.recording import TrackFile
from coview.data.shuffle import ShuffledPairs
from coview.data.source import cropped, narrowed, sample_keys
from coview.data.views import AudioView, Batch, DepthView, FeaturesView, ImageView, SeriesView, VideoView
from coview.errors import InputError, UsageError
from coview.files import sha256_of

VIEWS = {
    "video": VideoView(frames=4, fps=8.0, size=16, margin=1.0),
    "audio": AudioView(seconds=0.5, sample_rate=8000, mels=16),
}
TEACHER = {**VIEWS, "teacher": FeaturesView(dim=3), "words": FeaturesView(dim=2, steps=3)}
ACTIONS = SeriesView(dim=2, steps=4, rate=8.0, with_="video")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Four films of 2 s, and a folder of what lies beside them."""
    folder = tmp_path_factory.mktemp("films")
    lines = []
    for number in range(4):
        write(folder / f"{number}.mp4", seconds=2.0)
        lines.append({"path": f"{number}.mp4", "id": f"r{number}", "label": "ab"[number % 2], "split": "train"})
    (folder / "films.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    index_source(str(folder / "films.jsonl"), folder / "films", workers=0)
    ids, teacher = ["r2", "r0", "r9"], np.arange(9, dtype=np.float32).reshape(3, 3)
    pq.write_table(pa.table({"id": ids, "teacher": teacher.tolist()}), folder / "teacher.parquet")
    words = [[[1.0, 1.0]], [[2.0, 2.0]] * 5, [[3.0, 3.0]] * 2]
    pq.write_table(pa.table({"id": ["r0", "r1", "r2"], "words": words}), folder / "words.parquet")
    return folder


def with_tracks(folder, tracks):
    """Return the collection of films with further files, name -> path by recording."""
    collection, root = Collection.open(folder / "films"), folder
    recordings = []
    for recording in collection:
        paths = tracks.get(recording.id, {})
        files = {}
        for name, path in paths.items():
            about = (root / path).stat()
            files[name] = TrackFile(bytes=about.st_size, modified=about.st_mtime_ns, digest=sha256_of(root / path))
        recordings.append(dataclasses.replace(recording, tracks=paths, track_files=files))
    out = folder / f"tracks-{'-'.join(sorted({name for paths in tracks.values() for name in paths}))}"
    out.mkdir()
    about = {"source": "films", "root": str(root), "ignored": {}, "report": {}}
    write_tables(out, recordings, [], about)
    return Collection.open(out)


def joined(films, views=TEACHER, **how):
    return open_source(f"{films}/films+{films}/teacher.parquet,{films}/words.parquet", views, **how)


def test_films_and_features_meet_in_one_sample(films):
    source = joined(films)
    assert isinstance(source, JoinedSource) and is_decoded(source.name)
    assert (
        source.ids == ["r0", "r1", "r2", "r3"]
        and source.classes == ["a", "b"]
        and source.labels.tolist() == [0, 1, 0, 1]
    )
    assert source.lacking == {"video": 0, "audio": 0, "teacher": 2, "words": 1} or source.lacking["teacher"] == 1
    row, key = torch.tensor([3, 0, 2, 1, 0]), sample_keys(0, 0, torch.arange(5))
    batch, alone = source.read(row, key), MediaSource(Collection.open(films / "films"), VIEWS).read(row, key)
    for name in VIEWS:
        assert batch.views[name].equal(alone.views[name]) and batch.start[name].equal(alone.start[name])
    assert batch.present["teacher"].tolist() == [False, True, True, False, True]
    assert batch.views["teacher"].tolist() == [[0, 0, 0], [3, 4, 5], [0, 1, 2], [0, 0, 0], [3, 4, 5]]
    assert batch.length["words"].tolist() == [0, 1, 2, 3, 1] and batch.present["words"].tolist() == [False, *[True] * 4]
    assert batch.views["words"][3].tolist() == [[2, 2]] * 3  # the first steps of a longer one
    window = source.read_window(row, 1, 3)
    assert window.views["teacher"].equal(batch.views["teacher"]) and window.row.equal(row)
    made = Preprocess(TEACHER, PRESETS["none"])(batch, train=True)
    assert made.views["words"].shape == (5, 3, 2) and made.length["words"].equal(batch.length["words"])


def test_the_loader_reads_joined_sources_in_other_processes(films):
    here, there = (Loader(joined(films), batch_size=2, seed=0, workers=workers).stream() for workers in (0, 1))
    for _ in range(2):
        one, other = next(here), next(there)
        assert one.row.equal(other.row) and one.step == other.step
        assert all(one.views[name].equal(other.views[name]) for name in TEACHER)
        assert one.length["words"].equal(other.length["words"])


def test_the_control_parts_every_view_and_reads_what_it_keeps(films):
    source = joined(films)
    shuffled = ShuffledPairs(source, seed=1)
    rows = torch.arange(4)
    batch = shuffled.read(rows, sample_keys(0, 0, rows))
    partner = shuffled.partner
    whole = source.read(partner, sample_keys(0, 0, rows))
    assert batch.views["audio"].equal(whole.views["audio"]) and batch.start["audio"].equal(whole.start["audio"])
    assert batch.present["teacher"].equal(source.read(partner[partner], rows).present["teacher"])
    sound = narrowed(source, {"audio"}).read(partner, sample_keys(0, 0, rows))
    assert list(sound.views) == ["audio"] and sound.views["audio"].equal(whole.views["audio"])


def test_what_parts_cannot_agree_on_is_said(films):
    name = f"{films}/films"
    with pytest.raises(UsageError, match="no part has the views video"):
        open_source(
            f"{films}/teacher.parquet+{films}/words.parquet", {"video": VIEWS["video"], "words": TEACHER["words"]}
        )
    with pytest.raises(UsageError, match="both cut by views"):
        open_source(f"{name}+{name}", VIEWS)
    with pytest.raises(UsageError, match="3 numbers computed before, but 4 frames"):
        open_source(f"{name}+video={films}/teacher.parquet", VIEWS)
    with pytest.raises(UsageError, match="do not meet"):
        open_source(f"digits-av:A+{films}/teacher.parquet", None)
    assert open_source("objects-av:object+action", None).name == "objects-av:object+action"


def test_what_another_part_cannot_read_is_absent_and_never_another_recording(films):
    class Broken:
        name, ids, classes, fingerprint = "broken", ["r1", "r2"], [], "b" * 16
        labels, views = torch.full((2,), -1), {"extra": FeaturesView(dim=1)}

        def __len__(self):
            return 2

        def read(self, row, key):
            batch = Batch(views={"extra": torch.ones(len(row), 1)}, row=torch.ones_like(row), key=key)
            batch.start["extra"] = torch.zeros(len(row), dtype=torch.float64)
            batch.replaced = [(0, "gone: it is not there")] if (row == 0).any() else []
            return batch

        def windows(self, count):
            return 1

    source = JoinedSource("both", [MediaSource(Collection.open(films / "films"), VIEWS), Broken()])
    rows = torch.arange(4)
    batch = source.read(rows, sample_keys(0, 0, rows))
    assert batch.row.equal(rows) and batch.present["extra"].tolist() == [False, False, True, False]
    assert batch.replaced == [(1, "gone: it is not there")]


def test_actions_start_with_the_film_they_belong_to(films):
    times = np.arange(16) / 8
    for number in range(3):
        rows = [f"{time},{time},{number}" for time in times]
        (films / f"{number}.csv").write_text("\n".join(["time,x,which", *rows]) + "\n", encoding="utf-8")
    np.save(films / "3.npy", np.stack([times, np.full(16, 3)], 1)[:6].astype(np.float32))
    paths = {f"r{number}": {"actions": f"{number}.csv"} for number in range(3)} | {"r3": {"actions": "3.npy"}}
    views = {**VIEWS, "actions": ACTIONS}
    source = MediaSource(with_tracks(films, paths), views)
    rows = torch.arange(4)
    batch = source.read(rows, sample_keys(0, 0, rows))
    there = batch.present["actions"]
    assert there[:3].all() and batch.start["actions"][there].equal(batch.start["video"][there])
    assert batch.views["actions"][:3, :, 1].tolist() == [[number] * 4 for number in range(3)]
    held = torch.floor(batch.start["video"][:3, None] * 8 + torch.arange(4) + 1e-4) / 8
    torch.testing.assert_close(batch.views["actions"][:3, :, 0].double(), held)
    late = source.read_window(rows, 2, 3)  # the last windows start at 1.5 s, where r3's table has ended
    assert late.present["actions"].tolist() == [True, True, True, False] and not late.views["actions"][3].any()
    middle = source.read_window(rows, 1, 3)  # from 0.75 s, which is its last row
    assert middle.length["actions"][3] < 4 and not middle.views["actions"][3, int(middle.length["actions"][3]) :].any()
    (films / "1.csv").write_text("time,x,which\n0,1,nan\n", encoding="utf-8")
    assert source.read_window(rows, 0, 1).replaced == [(1, "changed")]


def test_depth_is_the_same_crop_as_its_picture(films, tmp_path):
    side = np.mgrid[:40, :60]
    metres = (side[0] * 10 + side[1] * 20).astype(np.uint16)
    Image.fromarray(metres).save(films / "depth.png")
    np.save(films / "depth.npy", metres.astype(np.float32) / 1000)
    picture = np.stack([side[0] * 5, side[1] * 4, np.zeros_like(side[0])], 2).astype(np.uint8)
    Image.fromarray(picture).save(films / "still.png")
    views = {
        "image": ImageView(size=24, margin=1.0, normalise="none", area=(0.2, 0.6)),
        "depth": DepthView(size=24, margin=1.0, normalise="none", with_="image"),
    }
    lines = [{"path": "still.png", "id": name} for name in ("a", "b")]
    (films / "stills.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    collection = index_source(str(films / "stills.jsonl"), tmp_path / "stills", workers=0)
    recordings = [
        dataclasses.replace(recording, tracks={"depth": f"depth.{kind}"})
        for recording, kind in zip(collection, ("png", "npy"), strict=True)
    ]
    (tmp_path / "rgbd").mkdir()
    write_tables(tmp_path / "rgbd", recordings, [], {"source": "s", "root": str(films), "ignored": {}, "report": {}})
    source = MediaSource(Collection.open(tmp_path / "rgbd"), views)
    rows = torch.arange(2)
    raw = source.read(rows, sample_keys(0, 0, rows))
    assert raw.present["depth"].all() and raw.views["depth"].shape == (2, 1, 1, 24, 24)
    torch.testing.assert_close(raw.views["depth"].amax((1, 2, 3, 4)), torch.full((2,), 1.4), atol=0.25, rtol=0)
    # Depth and colour are linear in the place, so that an equal crop shows the same line through both.
    augment = dataclasses.replace(PRESETS["none"], crop_area=(0.2, 0.6))
    from_files = cropped(source, views, augment).read(rows, sample_keys(0, 0, rows))
    assert from_files.cropped == {"image", "depth"}
    for batch in (raw, from_files):
        still = Preprocess(views, augment)(batch, train=True)
        red, green = still.views["image"][:, 0], still.views["image"][:, 1]
        expected = red * 255 / 5 * 0.01 + green * 255 / 4 * 0.02
        inner = (slice(None), slice(2, -2), slice(2, -2))
        torch.testing.assert_close(still.views["depth"][:, 0][inner], expected[inner], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"id": ["a"], "x": [[[1.0, 2.0], [3.0]]]}, "vectors of \\[1, 2\\]"),
        ({"id": ["a", "b"], "x": [[[1.0]], [[float("nan")]]]}, "first 'b'"),
        ({"id": ["a", "b"], "x": [[[1.0]], []]}, "rows without numbers, such as 'b'"),
        ({"id": ["a", "b"], "x": [[1.0], None]}, "is empty in 1 rows"),
        ({"id": ["a", "a"], "x": [[1.0], [2.0]]}, "occur twice"),
    ],
)
def test_feature_files_are_refused_by_file_and_row(tmp_path, content, problem):
    pq.write_table(pa.table(content), tmp_path / "x.parquet")
    with pytest.raises((InputError, UsageError), match=problem):
        open_features(str(tmp_path / "x.parquet"))


def test_sequences_in_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(24, dtype=np.float64).reshape(3, 4, 2))
    assert open_features(str(tmp_path / "x.npy")).read(torch.tensor([1]), torch.tensor([0])).length["x"].tolist() == [4]
    np.save(tmp_path / "x.lengths.npy", np.array([1, 4, 2]))
    source = open_features(str(tmp_path / "x.npy"))
    batch = source.read(torch.tensor([2, 0]), torch.zeros(2, dtype=torch.int64))
    assert batch.length["x"].tolist() == [2, 1] and batch.views["x"][1].tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    np.save(tmp_path / "x.lengths.npy", np.array([1, 5, 2]))
    with pytest.raises(UsageError, match="lengths of 'x'"):
        open_features(str(tmp_path / "x.npy"))
    whole = (tmp_path / "x.npy").read_bytes()
    announced = whole.replace(b"(3, 4, 2), }      ", b"(3000000, 4, 2), }")
    assert announced != whole and len(announced) == len(whole)
    (tmp_path / "y.npy").write_bytes(announced)
    with pytest.raises(UsageError, match=r"y\.npy"):
        open_features(str(tmp_path / "y.npy"))
    (tmp_path / "z.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UsageError, match=r"z\.npy"):
        open_features(str(tmp_path / "z.npy"))
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"o\.npy"):
        open_features(str(tmp_path / "o.npy"))


@pytest.mark.parametrize("change", ["id", "label", "values", "lengths", "classes", "view"])
def test_a_fingerprint_of_features_covers_all_that_is_read(tmp_path, change):
    columns = {"id": ["a", "b"], "label": ["x", "y"], "v": [[[1.0]], [[2.0], [3.0]]]}

    def fingerprint(columns):
        pq.write_table(pa.table(columns), tmp_path / "f.parquet")
        return open_features(str(tmp_path / "f.parquet")).fingerprint

    before = fingerprint(columns)
    assert before == fingerprint(columns)
    changed = dict(columns)
    if change == "view":
        changed["w"] = changed.pop("v")
    else:
        value = {
            "id": ["a", "c"],
            "label": ["y", "x"],
            "values": [[[1.0]], [[2.0], [3.5]]],
            "lengths": [[[1.0], [2.0]], [[3.0]]],
            "classes": ["x", "z"],
        }[change]
        changed[{"values": "v", "lengths": "v", "classes": "label"}.get(change, change)] = value
    assert fingerprint(changed) != before


def test_tracks_of_a_manifest_that_cannot_be_read_are_named_and_the_films_stay(films, tmp_path):
    (tmp_path / "depth.png").write_bytes(b"a file")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    names = ("depth.png", "gone.png", "folder.png", "pipe.png")
    lines = [f"{films / f'{k}.mp4'},r{k},{tmp_path / name}" for k, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["path,id,track:depth", *lines]), encoding="utf-8")
    found = index_source(str(tmp_path / "list.csv"), tmp_path / "c", workers=0)
    assert [(each.id, set(each.tracks), "no-depth" in each.flags) for each in found] == [
        ("r0", {"depth"}, False), ("r1", set(), True), ("r2", set(), True), ("r3", set(), True),
    ]  # fmt: skip
    lost = {Path(each.path).name: (each.reason, each.message) for each in found.quarantine()}
    assert set(lost) == set(names[1:]) and all("track 'depth' of r" in message for _, message in lost.values())
    assert lost["gone.png"][0] == "missing"
