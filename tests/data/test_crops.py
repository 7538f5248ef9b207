"""Pictures as views, and many crops of one: cut once, each with a look of its own; grey and blur."""

import dataclasses

import pytest
import torch

from coview.data.augment import PRESETS, video
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import ImageView, VideoView, raw_views, read_view
from coview.settings import to_dict

WIDE, NARROW = (0.5, 1.0), (0.1, 0.3)
VIEWS = {
    "image": ImageView(size=32, margin=1.0, area=WIDE),
    "image_2": ImageView(size=32, margin=1.0, area=WIDE, of="image"),
    "small": ImageView(size=16, margin=1.0, area=NARROW, of="image"),
}


def read(views, rows=4):
    source = open_source("digits-av:A", views)
    row = torch.arange(rows)
    return source, source.read(row, sample_keys(0, 0, row))


def test_a_source_cuts_what_is_not_a_crop_of_another_view():
    assert list(raw_views(VIEWS)) == ["image"]
    source, raw = read(VIEWS)
    assert list(source.views) == ["image"]
    assert raw.views["image"].shape == (4, 3, 1, 32, 32)
    batch = Preprocess(VIEWS, PRESETS["none"])(raw, train=True)
    shapes = {name: tuple(view.shape) for name, view in batch.views.items()}
    assert shapes == {"image": (4, 3, 32, 32), "image_2": (4, 3, 32, 32), "small": (4, 3, 16, 16)}
    assert all(tuple(view.shape[1:]) == VIEWS[name].shape for name, view in batch.views.items())
    assert not torch.equal(batch.views["image"], batch.views["image_2"])
    assert torch.equal(batch.start["small"], raw.start["image"])


def test_absent_pictures_have_no_crops():
    _, raw = read(VIEWS)
    raw.present["image"][1] = False
    batch = Preprocess(VIEWS, PRESETS["swav"])(raw, train=True)
    for name in VIEWS:
        assert batch.present[name].tolist() == [True, False, True, True]
        assert not batch.views[name][1].any()


def test_clips_have_crops_too():
    clip = VideoView(frames=4, fps=16, size=32, margin=1.0, area=WIDE)
    views = {"video": clip, "small": dataclasses.replace(clip, size=16, area=NARROW, of="video")}
    batch = Preprocess(views, PRESETS["swav"])(read(views)[1], train=True)
    assert batch.views["small"].shape == (4, 3, 4, 16, 16)


def test_evaluation_sees_the_whole_picture():
    _, raw = read(VIEWS)
    made = Preprocess({"image": VIEWS["image"]}, PRESETS["swav"])(raw, train=False).views["image"]
    plain = video.normalise(raw.views["image"].float() / 255, "imagenet")[:, :, 0]
    torch.testing.assert_close(made, plain)


def test_written_and_read_again():
    for view in VIEWS.values():
        assert read_view(to_dict(view)) == view
    with pytest.raises(ValueError, match="one frame"):
        ImageView(frames=2)
    with pytest.raises(ValueError, match="share"):
        ImageView(area=(0.5, 1.2))


def test_grey_and_blur_are_drawn_for_each_clip():
    clips = torch.rand(64, 3, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    key = sample_keys(0, 0, torch.arange(64))
    augment = dataclasses.replace(PRESETS["none"], grey=0.5, blur=0.5, blur_radius=(1.0, 1.0))
    grey = video.grey(clips, key, augment)
    colourless = (grey.std(1).amax((1, 2, 3)) < 1e-6).sum().item()
    assert 16 < colourless < 48
    blurred = video.blur(clips, key, augment)
    changed = (blurred != clips).flatten(1).any(1)
    assert 16 < changed.sum() < 48
    torch.testing.assert_close(blurred[:32], video.blur(clips[:32], key[:32], augment))
    # A blur keeps what is flat, and spreads a point as a Gaussian of its deviation.
    always = dataclasses.replace(augment, blur=1.0)
    torch.testing.assert_close(video.blur(torch.full_like(clips, 0.3), key, always), torch.full_like(clips, 0.3))
    point = torch.zeros(1, 3, 1, 15, 15)
    point[..., 7, 7] = 1
    spread = video.blur(point, key[:1], always)[0, 0, 0]
    place = torch.arange(15) - 7.0
    assert (spread.sum(0) * place.square()).sum() == pytest.approx(1.0, abs=0.05)
    assert spread.sum() == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(video.jitter_colours(clips, key, dataclasses.replace(PRESETS["swav"], jitter=0.0)), clips)
