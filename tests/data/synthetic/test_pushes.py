"""`pushes`: actions say where the arm goes, it pushes what it runs into, and tables are cut beside the pictures."""

import dataclasses

import pytest
import torch
from closeness import same_clips
from torch.testing import assert_close

from coview.cli.main import main as cli
from coview.data.adapters import Options
from coview.data.adapters.worlds import make_pushes
from coview.data.collection import Collection
from coview.data.media_source import MediaSource
from coview.data.synthetic import parse_world
from coview.data.synthetic.pushes import default_views
from coview.data.synthetic.pushes_scene import BLOCKS, SIZE, simulate
from coview.data.tracks import read_series
from coview.data.views import AudioView, SeriesView, VideoView
from coview.errors import UsageError
from coview.randomness import make_key

ROWS = torch.arange(64)


@pytest.fixture(scope="module")
def world():
    return parse_world("pushes", count=64)


@pytest.fixture(scope="module")
def clips(world):
    return world.render(ROWS)


def test_actions_lead_from_state_to_state(clips):
    moved = clips["states"].diff(dim=1) * SIZE / 2
    assert_close(moved, 2 * clips["actions"][:, :-1], rtol=0, atol=1e-4)
    assert clips["actions"].norm(dim=2).max() <= 1.0001
    assert clips["states"].abs().max() <= 1


def test_the_brightest_spot_is_where_the_arm_is_said_to_be(clips):
    light = (clips["video"].amin(1) > 200).float()  # (B, T, S, S): white alone
    pixel = torch.arange(SIZE) - (SIZE - 1) / 2
    weight = light / light.sum((2, 3), keepdim=True)
    found = torch.stack([(weight.sum(3) * pixel).sum(2), (weight.sum(2) * pixel).sum(2)], -1)
    inside = (clips["states"].abs() < 0.85).all(2)
    assert (found - clips["states"] * SIZE / 2)[inside].abs().max() < 0.8


def test_the_named_block_is_what_moves_most(world):
    scene = simulate(make_key(world.keys(ROWS), 1), world.labels)
    far = (scene.blocks[:, -1] - scene.blocks[:, 0]).norm(dim=2)
    assert far.gather(1, world.labels[:, None])[:, 0].mean() > 3
    assert (far.argmax(1) == world.labels).float().mean() > 0.9
    gap = (scene.arm[:, :, None] - scene.blocks).abs() - scene.half[:, None, :, None]
    assert gap.clamp_min(0).norm(dim=3).amin() > 1.2  # the tip is round, of 2 pixels; corners slide
    assert sorted(set(world.labels.tolist())) == list(range(len(BLOCKS)))


def test_clips_and_tables_are_the_same_in_any_batch(world, clips):
    index = [9, 2, 40]
    for name, values in world.render(torch.tensor(index)).items():
        if values.is_floating_point():
            assert_close(values, clips[name][index], rtol=0, atol=1e-5)
        else:
            assert same_clips(values, clips[name][index]), name


def test_tables_are_cut_at_the_pictures_moment(world, clips):
    views = {
        name: dataclasses.replace(view, **{"frames" if name == "video" else "steps": 4})
        for name, view in default_views().items()
    }
    batch = parse_world("pushes", count=64, views=views).read(ROWS, ROWS * 7919)
    first = (batch.start["video"] * 10).round().long()
    assert set(first.tolist()) == set(range(7))
    for row in range(8):
        here = slice(int(first[row]), int(first[row]) + 4)
        assert_close(batch.views["actions"][row], clips["actions"][row, here])
        assert_close(batch.views["states"][row], clips["states"][row, here])
    assert torch.equal(batch.start["actions"], batch.start["video"])


@pytest.mark.parametrize(
    ("views", "what"),
    [
        ({"audio": AudioView()}, "no sound"),
        ({"forces": SeriesView(dim=2, track="forces")}, "forces"),
        ({"actions": SeriesView(dim=3, steps=2, rate=10.0)}, "2 numbers"),
        ({"actions": SeriesView(dim=2, steps=11, rate=10.0)}, "11 steps"),
        (
            {
                "video": VideoView(frames=4, fps=10.0, size=32, margin=1.0),
                "actions": SeriesView(dim=2, steps=5, rate=10.0, with_="video"),
            },
            "length",
        ),
    ],
)
def test_views_that_do_not_fit_are_refused(views, what):
    with pytest.raises(UsageError, match=what):
        parse_world("pushes", views=views)


def test_tables_lie_beside_the_files(tmp_path):
    made = make_pushes(tmp_path, Options(count=3))
    assert [set(item.tracks) for item in made.items] == [{"actions", "states"}] * 3
    values, times = read_series(made.root / made.items[0].tracks["actions"])
    assert_close(torch.from_numpy(values), parse_world("pushes", count=1).render(torch.arange(1))["actions"][0])
    assert times.tolist() == pytest.approx([k / 10 for k in range(10)])


@pytest.mark.slow
def test_files_hold_clips_and_tables(tmp_path):
    assert cli(["index", "pushes", "-o", str(tmp_path / "made"), "--count", "6"]) == 0
    collection = Collection.open(tmp_path / "made").select(split="train")
    assert all(set(recording.tracks) == {"actions", "states"} for recording in collection)
    views = default_views()
    source, world = MediaSource(collection, views), parse_world("pushes", count=4)
    batch, known = source.read_window(torch.arange(4), 0, 1), world.render(torch.arange(4))
    assert all(batch.present[name].all() for name in views)
    for name in ("actions", "states"):
        assert_close(batch.views[name], known[name], rtol=0, atol=1e-5)
    assert (batch.views["video"].float() - known["video"].float()).abs().mean() < 6


def test_there_are_no_variants():
    with pytest.raises(UsageError, match="no variants"):
        parse_world("pushes:hard")


def test_a_clip_is_shown_to_people_without_sound(world):
    piece = world.excerpt(3, 10.0, 64)
    assert piece.frames is not None and torch.equal(piece.frames, world.render(torch.tensor([3]))["video"][0])
    assert (piece.fps, piece.waveform, piece.rate, piece.seconds, piece.whole) == (10.0, None, None, 1.0, 1.0)
