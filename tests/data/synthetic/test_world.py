"""Worlds as sources: clips that are functions of the index alone, views cut from them, names, errors."""

import pickle

import pytest
import torch
from closeness import same_clips

from coview.data.synthetic import parse_world
from coview.data.views import AudioView, VideoView
from coview.errors import UsageError

NAMES = ("digits-av:A", "objects-av:object+action")


@pytest.fixture(scope="module", params=NAMES)
def known(request):
    world = parse_world(request.param, count=64)
    return world, world.render(torch.arange(64))


@pytest.mark.parametrize("index", [[5], [7, 3], [0, 1, 2], list(range(20, 33)), [9] * 8, list(range(63, -1, -1))])
def test_a_clip_is_the_same_in_any_batch(known, index):
    world, clips = known
    again = world.render(torch.tensor(index))
    for name, values in again.items():
        assert same_clips(values, clips[name][index]), name


@pytest.mark.parametrize("threads", [1, 2])
def test_a_clip_is_the_same_on_any_number_of_threads(known, threads):
    world, clips = known
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = world.render(torch.arange(40))
    finally:
        torch.set_num_threads(before)
    for name, values in again.items():
        assert same_clips(values, clips[name][:40]), name


def test_a_copy_in_another_process_makes_the_same_clips(known):
    world, clips = known
    copy = pickle.loads(pickle.dumps(world))
    assert torch.equal(copy.render(torch.arange(64))["audio"], clips["audio"])
    assert copy.fingerprint == world.fingerprint


def test_reading_gives_the_whole_clip_whatever_the_key(known):
    world, clips = known
    row = torch.tensor([4, 1])
    batch = world.read(row, torch.tensor([11, 12]))
    assert same_clips(batch.views["video"], clips["video"][row])
    assert same_clips(batch.views["audio"], clips["audio"][row])
    assert torch.equal(batch.label, world.labels[row]) and batch.replaced == []
    assert all(bool(present.all()) for present in batch.present.values())
    assert len(world.ids) == len(world) == 64 and len(set(world.ids)) == 64


def test_half_the_frames_start_at_a_phase_drawn_from_the_key():
    views = {"video": VideoView(frames=4, fps=8.0, size=32, margin=1.0, normalise="clip")}
    world = parse_world("digits-av", count=32, views=views)
    whole = world.render(torch.arange(32))["video"]
    row = torch.arange(32)
    first = world.read_window(row, 0, 1)
    assert torch.equal(first.views["video"], whole[:, :, ::2]) and (first.start["video"] == 0).all()
    batch = world.read(row, torch.arange(32) * 7919)
    phase = (batch.start["video"] * 16).long()
    assert set(phase.tolist()) == {0, 1}
    for i in range(32):
        assert same_clips(batch.views["video"][i], whole[i, :, int(phase[i]) :: 2])


def test_short_sounds_and_other_sizes_are_cut():
    views = {"video": VideoView(frames=3, fps=16.0, size=16, margin=1.0), "audio": AudioView(seconds=0.25)}
    world = parse_world("digits-av", count=8, views=views)
    batch = world.read(torch.arange(8), torch.arange(8))
    whole = world.render(torch.arange(8))["audio"]
    assert batch.views["video"].shape == (8, 3, 3, 16, 16) and batch.views["video"].dtype == torch.uint8
    first = int(batch.start["audio"][3] * 16000 + 0.5)
    assert torch.equal(batch.views["audio"][3], whole[3, first : first + 4000])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("letters-av", {}),
        ("digits-av:Z", {}),
        ("objects-av:object+mass", {}),
        ("digits-av", {"split": "dev"}),
        ("digits-av", {"count": 0}),
        ("digits-av", {"views": {"video": VideoView(frames=9, fps=16.0)}}),
        ("digits-av", {"views": {"video": VideoView(frames=4, fps=16.0, after=(2.0, 8.0))}}),
        ("digits-av", {"views": {"audio": AudioView(seconds=2.0)}}),
        ("digits-av", {"views": {"audio": AudioView(seconds=1.0, sample_rate=24000)}}),
    ],
)
def test_impossible_worlds_are_refused(name, arguments):
    with pytest.raises(UsageError):
        parse_world(name, **arguments)


def test_names_choose_worlds_and_usual_counts():
    assert parse_world("digits-av").name == "digits-av:A" and len(parse_world("digits-av:D", "test")) == 1500
    assert parse_world("objects-av", "validation").name == "objects-av:object"
    assert len(parse_world("objects-av")) == 6000
