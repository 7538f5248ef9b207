"""`coview prepare --flow`: films get their flow beside them, once, and views of flow are cut with those of the film."""

import json

import numpy as np
import pytest
import torch

from coview.cli.main import main
from coview.data.augment import PRESETS, AugmentSettings
from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.flow_making import FlowTask, film_flow, make_flow
from coview.data.media_source import MediaSource
from coview.data.views import FlowView, VideoView
from coview.errors import UsageError
from coview.media.encode import write_clip
from coview.media.flow import RANGE, FlowSettings, flow_pictures

pytest.importorskip("cv2", reason="needs the extra tracking")
SETTINGS = FlowSettings(fps=25.0, side=64)
FLOW = FlowView(frames=4, fps=25.0, size=64, margin=1.0, with_="video")
VIEWS = {"video": VideoView(frames=4, fps=25.0, size=64, margin=1.0), "flow": FLOW}


def grain(height, width, seed):
    made = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.kron(made, np.ones((4, 4, 1), np.uint8))


def panned(seed, right, down, frames=20):
    """Return pictures (T, 64, 80, 3) of a ground that goes right and down by so many pixels in a frame."""
    ground = grain(160, 200, seed)
    return np.stack([ground[48 - down * k :, 60 - right * k :][:64, :80] for k in range(frames)])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    (folder / "films").mkdir()
    for name, way in {"right": (2, 0), "down": (0, 1), "gone": (0, 0)}.items():
        write_clip(
            folder / "films" / f"{name}.mp4", torch.from_numpy(panned(1, *way)).permute(3, 0, 1, 2), 25.0, None, None
        )
    assert main(["index", str(folder / "films"), "-o", str(folder / "c"), "--workers", "0"]) == 0
    (folder / "films" / "gone.mp4").unlink()
    return folder / "c"


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-1, 1)])
def test_flow_is_the_way_of_what_moves_in_short_sides_per_second(right, down):
    pictures = [(k / 25, picture) for k, picture in enumerate(panned(0, right, down))]
    found = list(flow_pictures(pictures, SETTINGS))
    assert [second for second, _ in found] == [second for second, _ in pictures]
    assert all(picture.dtype == np.uint8 and picture.shape == (64, 80, 3) for _, picture in found)
    seen = (np.stack([picture for _, picture in found])[:, 8:-8, 8:-8, :2].astype(float) - 128) / 127 * RANGE
    assert np.median(seen[..., 0]) == pytest.approx(right * 25 / 64, abs=0.05)
    assert np.median(seen[..., 1]) == pytest.approx(down * 25 / 64, abs=0.05)


def test_flow_of_one_picture_is_none_and_of_none_nothing():
    ((second, picture),) = flow_pictures([(0.5, grain(64, 80, 0))], SETTINGS)
    assert second == 0.5 and (picture == 128).all()
    assert not list(flow_pictures([], SETTINGS))
    sparse = flow_pictures(((k / 25, grain(64, 80, 0)) for k in range(20)), FlowSettings(fps=5.0, side=64))
    assert [second for second, _ in sparse] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_a_collection_with_flow_can_be_cut_into_aligned_views(films, capsys):
    out = films.parent / "flown"
    words = ["prepare", str(films), "--flow", "-o", str(out), "--fps", "25", "--size", "64", "--margin", "1", "--json"]
    capsys.readouterr()
    assert main([*words, "--workers", "0"]) == 3  # one film is gone
    said = json.loads(capsys.readouterr().out)
    assert said["films"] == 3 and said["flow"] == 2
    assert main([*words, "--workers", "0"]) == 3  # nothing is done again
    source = MediaSource(Collection.open(out), VIEWS)
    batch = source.read(torch.arange(2), torch.arange(2))
    assert batch.present["flow"].all() and torch.equal(batch.start["flow"], batch.start["video"])
    made = {one: FLOW.prepare(batch.views["flow"], None, torch.ones(2, dtype=torch.bool), AugmentSettings(), None)[row]
            for row, one in enumerate(source.ids)}  # fmt: skip
    assert made["right.mp4"].shape == FLOW.shape == (2, 4, 64, 64)
    right, down = (2 * 25 / 64 / RANGE, 25 / 64 / RANGE)
    assert float(made["right.mp4"][0].median()) == pytest.approx(right, abs=0.05)
    assert float(made["down.mp4"][1].median()) == pytest.approx(down, abs=0.05)
    assert abs(float(made["down.mp4"][0].median())) < 0.05


def test_a_mirrored_clip_goes_the_other_way_and_so_does_one_that_runs_backward():
    raw = torch.full((1, 3, 4, 64, 64), 128, dtype=torch.uint8)
    raw[:, 0], raw[:, 1] = 191, 160
    key, may = torch.tensor([5]), torch.ones(1, dtype=torch.bool)
    none = PRESETS["none"]
    for changes, sign in (
        ({"flip": 1.0}, (-1, 1)),
        ({"reverse": 1.0}, (-1, -1)),
        ({"flip": 1.0, "reverse": 1.0}, (1, -1)),
    ):
        made = FLOW.prepare(raw, key, may, AugmentSettings(**{**vars(none), **changes}), None)
        for channel, level in ((0, 63 / 127), (1, 32 / 127)):
            torch.testing.assert_close(made[0, channel], torch.full((4, 64, 64), sign[channel] * level))


def test_a_stopped_call_goes_on_and_other_settings_are_refused(films, monkeypatch):
    out, done = films.parent / "stopped", []

    def once(task):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(task.row)
        return film_flow(task)

    monkeypatch.setattr("coview.data.flow_making.film_flow", once)
    with pytest.raises(KeyboardInterrupt):
        make_flow(Collection.open(films), out, SETTINGS, Serial(), 0)
    monkeypatch.undo()
    kept = next(out.with_name("stopped.partial").glob("media/*.mp4")).stat().st_mtime_ns
    made = make_flow(Collection.open(films), out, SETTINGS, Serial(), 0)
    assert min(path.stat().st_mtime_ns for path in out.glob("media/*.mp4")) == kept
    assert [sorted(one.tracks) for one in made] == [["flow"], ["flow"]]
    with pytest.raises(UsageError, match="choose another folder"):
        make_flow(Collection.open(films), out, FlowSettings(fps=5.0, side=64), Serial(), 0)
    with pytest.raises(UsageError, match="even side"):
        FlowSettings(side=33)


def test_a_film_that_is_another_since_it_was_indexed_has_no_flow(films, tmp_path):
    film = films.parent / "films" / "down.mp4"
    whole, row = film.read_bytes(), Collection.open(films).ids.index("down.mp4")
    film.write_bytes(b"RIFF" + bytes(100))
    try:
        film_flow(FlowTask(films, tmp_path, row, SETTINGS))
    finally:
        film.write_bytes(whole)
    [note] = tmp_path.iterdir()
    assert json.loads(note.read_text())["problem"].startswith("changed")
