"""Robot pushing: TFRecord files written here by their description, films and tables of them, and what is damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest

from coview.data.adapters import Options
from coview.data.adapters.pushing import make
from coview.data.adapters.tfrecords import checksum, features_of, read_records
from coview.data.tracks import read_series
from coview.errors import MediaError, UsageError
from coview.media.decode import read_video
from coview.media.jpeg import encode


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, bytes | list[float] | list[int]]) -> bytes:
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif isinstance(value[0], float):
            feature = field(2, field(1, struct.pack(f"<{len(value)}f", *value)))
        else:
            feature = field(3, b"".join(b"\x08" + varint(each % (1 << 64)) for each in value))  # not packed
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def framed(*records: bytes) -> bytes:
    whole = b""
    for record in records:
        head = struct.pack("<Q", len(record))
        whole += head + struct.pack("<I", checksum(head)) + record + struct.pack("<I", checksum(record[:9]))
    return whole


def push(steps: int, lacking: str = "") -> bytes:
    features: dict[str, bytes | list[float] | list[int]] = {}
    for k in range(steps):
        features[f"move/{k}/image/encoded"] = encode(np.full((16, 20, 3), 20 * k, np.uint8), 90)
        features[f"move/{k}/commanded_pose/vec_pitch_yaw"] = [0.5 * k, 1.0, 2.0, 3.0, 4.0]
        features[f"move/{k}/endeffector/vec_pitch_yaw"] = [0.25 * k, 0.0, 0.0, 0.0, 1.0]
    features.pop(lacking, None)
    return example(features)


def test_the_checksum_is_crc_32c() -> None:
    crc = 0xE3069283  # of "123456789", RFC 3720's check value
    assert checksum(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_features_of_every_kind() -> None:
    found = features_of(example({"b": b"xyz", "f": [1.5, -2.0], "i": [3, -1]}))
    assert found["b"] == [b"xyz"]
    assert np.asarray(found["f"]).tolist() == [1.5, -2.0] and np.asarray(found["i"]).tolist() == [3, -1]
    for damaged in (b"\x0a\xff", b"\x0b", b"\x0a\x05abc"):
        with pytest.raises(ValueError, match=r"field|number"):
            features_of(damaged)


def test_pushes_become_films_with_tables(tmp_path: Path) -> None:
    root = tmp_path / "push"
    for part, records in {"train": [push(6), push(4)], "testnovel": [push(5)]}.items():
        folder = root / f"push_{part}"
        folder.mkdir(parents=True)
        (folder / f"push_{part}.tfrecord-00001-of-00003").write_bytes(framed(*records))
    made = make(tmp_path / "out", Options(folder=root))
    assert [(item.id, item.split) for item in made.items] == [
        ("testnovel/00001-of-00003-0000", "test"),
        ("train/00001-of-00003-0000", "train"),
        ("train/00001-of-00003-0001", "train"),
    ]
    film = read_video(made.root / made.items[1].path, 0.0, 6, 10.0, 16).float().mean((0, 2, 3))
    assert np.abs(film.numpy() - 20 * np.arange(6)).max() < 6
    actions = read_series(made.root / made.items[1].tracks["actions"])
    assert actions.values[:, 0].tolist() == [0.5 * k for k in range(6)] and actions.values.shape == (6, 5)
    assert actions.times is not None and actions.times.tolist() == pytest.approx([k / 10 for k in range(6)])
    assert read_series(made.root / made.items[1].tracks["states"]).values[3, 0] == 0.75
    assert "push_testseen: none of its files is there" in made.notes
    assert "push_train: 2 of 3 files are not there, such as number 0" in made.notes
    before = (made.root / made.items[0].path).stat().st_mtime_ns
    assert make(tmp_path / "out", Options(folder=root, count=2)).items == made.items[:2]
    assert (made.root / made.items[0].path).stat().st_mtime_ns == before


def test_what_is_damaged_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "push"
    root.mkdir()
    good = root / "push_train.tfrecord-00000-of-00002"
    lacking = push(4, "move/2/endeffector/vec_pitch_yaw")
    good.write_bytes(framed(push(4), b"\x0a\xff", lacking, push(1), push(4))[:-9])
    (root / "push_train.tfrecord-00001-of-00002").write_bytes(b"no records at all")
    made = make(tmp_path / "out", Options(folder=root))
    assert [item.id for item in made.items] == ["train/00000-of-00002-0000"]
    said = [(lost.path.removeprefix(f"{good.name}/"), lost.reason) for lost in made.refused]
    assert said[:3] == [("1", "damaged"), ("2", "other-length"), ("3", "damaged")]
    assert "ends inside of record 4" in made.refused[3].message and "no TFRecord file" in made.refused[4].message
    with pytest.raises(MediaError, match="no TFRecord file"):
        list(read_records(root / "push_train.tfrecord-00001-of-00002"))
    good.unlink()
    (root / "push_train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(UsageError, match="holds no push_train"):
        make(tmp_path / "out", Options(folder=root))
