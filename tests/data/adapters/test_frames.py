"""Folders of frames: films and tables as they were, and what is wrong with one is said of it by name."""

import numpy as np
import pytest
from PIL import Image

from coview.data.adapters import Options
from coview.data.adapters.frames import _numbered, make
from coview.data.tracks import read_series
from coview.errors import MediaError, UsageError
from coview.media.decode import read_video


def episode(folder, count=12, size=(24, 16), rows=None, times=None):
    folder.mkdir(parents=True)
    for number in range(count):
        picture = np.full((size[1], size[0], 3), 20 * number, np.uint8)
        Image.fromarray(picture).save(folder / f"frame{number}.png")
    actions = np.arange(2 * (rows or count), dtype=np.float32).reshape(-1, 2)
    if times is None:
        np.save(folder / "actions.npy", actions)
    else:
        lines = ["time,y,x", *(f"{time},{y},{x}" for time, (y, x) in zip(times, actions.tolist(), strict=True))]
        (folder / "actions.csv").write_text("\n".join(lines) + "\n")


def test_pictures_in_the_order_of_their_numbers_become_a_film(tmp_path):
    episode(tmp_path / "log" / "train" / "push-1")
    episode(tmp_path / "log" / "test" / "push-2", size=(25, 17))
    made = make(tmp_path / "out", Options(folder=tmp_path / "log"))
    assert [(item.id, item.split) for item in made.items] == [("test/push-2", "test"), ("train/push-1", "train")]
    film = read_video(made.root / made.items[1].path, 0.0, 12, 10.0, 16).float().mean((0, 2, 3))
    assert np.abs(film.numpy() - 20 * np.arange(12)).max() < 6
    table = read_series(made.root / made.items[1].tracks["actions"])
    assert table.times.tolist() == pytest.approx([k / 10 for k in range(12)])
    assert table.values[:, 1].tolist() == [2 * k + 1 for k in range(12)]
    before = (made.root / made.items[0].path).stat().st_mtime_ns
    again = make(tmp_path / "out", Options(folder=tmp_path / "log"))
    assert again.items == made.items and (made.root / made.items[0].path).stat().st_mtime_ns == before


def test_a_rate_and_times_of_a_table(tmp_path):
    episode(tmp_path / "log" / "a", count=4)
    episode(tmp_path / "log" / "b", count=4, times=[5.0, 5.25, 5.5, 6.0])
    made = make(tmp_path / "out", Options(folder=tmp_path / "log", variant="4"))
    times = [read_series(made.root / item.tracks["actions"]).times.tolist() for item in made.items]
    assert times == [[0, 0.25, 0.5, 0.75], [0, 0.25, 0.5, 1.0]]


def test_what_is_wrong_with_a_folder_is_said_of_it(tmp_path):
    root = tmp_path / "log"
    episode(root / "good", count=4)
    episode(root / "long", count=4, rows=5)
    episode(root / "mixed", count=4)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "mixed" / "frame9.png")
    np.save(root / "mixed" / "actions.npy", np.zeros((5, 2), np.float32))
    episode(root / "nan", count=4)
    np.save(root / "nan" / "actions.npy", np.full((4, 2), np.nan, np.float32))
    episode(root / "twice", count=4)
    (root / "twice" / "actions.csv").write_text("y\n1\n2\n3\n4\n")
    made = make(tmp_path / "out", Options(folder=root))
    assert [item.id for item in made.items] == ["good"]
    found = {refused.path: (refused.reason, refused.message) for refused in made.refused}
    assert found["long/actions.npy"] == (
        "other-length", "it has 5 rows, and there are 4 pictures beside it; give every picture a row"
    )  # fmt: skip
    assert found["mixed/frame9.png"][0] == "other-size" and "8 x 8" in found["mixed/frame9.png"][1]
    assert found["nan/actions.npy"][0] == "damaged" and found["twice/actions.npy"][0] == "twice"


def test_what_cannot_be_asked(tmp_path):
    (tmp_path / "empty").mkdir()
    for options, what in (
        (Options(), "--folder"),
        (Options(folder=tmp_path / "empty"), "holds no pictures"),
        (Options(folder=tmp_path / "empty", variant="fast"), "pictures there are in a second"),
    ):
        with pytest.raises(UsageError, match=what):
            make(tmp_path / "out", options)


def test_signs_that_are_no_numbers_have_an_order_too(tmp_path):
    names = ["²1.png", "10.png", "9.png"]
    assert sorted(names, key=lambda name: _numbered(tmp_path / name)) == ["9.png", "10.png", "²1.png"]


def test_pictures_in_the_folder_itself_are_a_film_beside_those_below(tmp_path):
    episode(tmp_path / "log", count=2)
    episode(tmp_path / "log" / "film", count=2)
    made = make(tmp_path / "out", Options(folder=tmp_path / "log"))
    assert [item.id for item in made.items] == ["film-2", "film"] and not made.refused
    assert all((made.root / item.path).is_file() and item.tracks["actions"] for item in made.items)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]


def test_pictures_of_one_pixel_are_refused(tmp_path):
    episode(tmp_path / "log" / "a", count=2)
    episode(tmp_path / "log" / "b", count=2, size=(1, 16))
    made = make(tmp_path / "out", Options(folder=tmp_path / "log"))
    assert [item.id for item in made.items] == ["a"] and [each.reason for each in made.refused] == ["too-small"]


def test_tables_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "Actions.CSV"
    path.write_bytes(b"\xef\xbb\xbftime, x\r\n0,1\r\n0.5,2\r\n\r\n")
    values, times = read_series(path)
    assert values.tolist() == [[1], [2]] and times.tolist() == [0, 0.5]


@pytest.mark.parametrize("number", ["1e39", "nan"])
def test_numbers_that_are_infinite_in_float32_are_refused(tmp_path, number):
    (tmp_path / "a.csv").write_text(f"time,x\n0,1\n1,{number}\n")
    with pytest.raises(MediaError, match="row 1 holds NaN or infinity"):
        read_series(tmp_path / "a.csv")
