"""Views own themselves: kinds of a stranger, aligned views, own augmentation; batches keep all their fields."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from own_view import TickView

from coview.data.augment import PRESETS
from coview.data.memmap import MemmapSource, fill
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import (
    AudioView,
    Batch,
    DepthView,
    FeaturesView,
    ImageView,
    SeriesView,
    TextView,
    VideoView,
    ViewSpec,
    raw_views,
    read_view,
    register_view,
)
from coview.errors import SettingsError, UsageError
from coview.media.waveform import to_int16
from coview.objectives.colour import join
from coview.settings import from_dict, to_dict
from coview.training.first_batch import write_samples

PICTURE = ImageView(size=24, margin=1.25, normalise="none")
ALIGNED = {
    "lightness": dataclasses.replace(PICTURE, space="lightness", area=(0.3, 0.8)),
    "colour": dataclasses.replace(PICTURE, space="colour", with_="lightness"),
}
KINDS = [
    VideoView(augment={"jitter": 0}, space="lightness"),
    ImageView(with_="video"),
    AudioView(track="second"),
    TextView(),
    FeaturesView(dim=3, steps=2),
    SeriesView(dim=2),
    DepthView(),
    TickView(),
]


def read(views, rows=6, train=True, augment=PRESETS["swav"]):
    source = open_source("objects-av", views)
    row = torch.arange(rows)
    raw = source.read(row, sample_keys(0, 0, row))
    return raw, Preprocess(views, augment)(raw, train=train)


@pytest.mark.parametrize("view", KINDS, ids=lambda view: view.stream)
def test_every_kind_is_written_and_read_again(view):
    assert read_view(json.loads(json.dumps(to_dict(view)))) == view
    assert hash(view) == hash(dataclasses.replace(view))
    assert view.nothing.shape == (0, *view.shape) and view.room(2).shape == (2, *view.raw_shape)
    made = view.made_up(sample_keys(0, 0, torch.arange(3)), 1)
    assert made.shape == (3, *view.shape) and made.dtype == view.nothing.dtype
    stored = view.pack(view.room(2).zero_())
    assert view.unpack(stored).equal(view.room(2).zero_())
    assert torch.from_numpy(np.empty(0, view.stored_dtype)).dtype == stored.dtype


def test_views_from_before_are_read():
    old = {"stream": "image", "frames": 1, "fps": 16.0, "size": 64, "margin": 1.0, "after": None, "normalise": "clip",
           "area": [0.5, 1.0], "of": "image"}  # fmt: skip
    assert read_view(old) == ImageView(size=64, margin=1.0, normalise="clip", area=(0.5, 1.0), of="image")


def test_settings_that_take_any_view_say_which_kinds_there_are():
    @dataclass(frozen=True, kw_only=True)
    class Settings:
        views: dict[str, ViewSpec]

    given = {"views": {"left": to_dict(PICTURE), "right": to_dict(TickView(count=3))}}
    assert from_dict(Settings, given).views == {"left": PICTURE, "right": TickView(count=3)}
    with pytest.raises(SettingsError, match=r"views.left.stream: expected one of .*audio.*video, found 'smell'"):
        from_dict(Settings, {"views": {"left": {"stream": "smell"}}})
    with pytest.raises(SettingsError, match="no number is called colour"):
        from_dict(Settings, {"views": {"left": {"stream": "image", "augment": {"colour": 0.0}}}})


def test_two_kinds_have_two_names():
    with pytest.raises(ValueError, match="two kinds of view are called 'image'"):

        @register_view
        @dataclass(frozen=True, kw_only=True)
        class Other(TickView):
            stream: Literal["image"] = "image"


def test_a_kind_of_a_strangers_goes_all_the_way(tmp_path):
    class Clock:
        name, classes, fingerprint = "clock", ["even", "odd"], "f" * 16

        def __init__(self):
            self.views = {"tick": TickView(count=4), "features": FeaturesView(dim=2)}
            self.ids, self.labels = [f"{row}" for row in range(10)], torch.arange(10) % 2

        def __len__(self):
            return 10

        def read(self, row, key):
            ticks = row[:, None] * 10 + torch.arange(4)
            present = {"tick": row % 3 > 0, "features": row >= 0}
            start = {name: torch.zeros(len(row), dtype=torch.float64) for name in self.views}
            views = {"tick": ticks * present["tick"][:, None], "features": row[:, None].float().expand(-1, 2)}
            return Batch(views=views, row=row, key=key, start=start, present=present, label=self.labels[row])

        def windows(self, count):
            return 1

        def read_window(self, row, window, count):
            return self.read(row, torch.zeros_like(row))

    source, rows = Clock(), torch.arange(4)
    made = Preprocess(source.views, PRESETS["none"])(source.read(rows, rows), train=True)
    seen = torch.tensor([[0.0] * 4, [1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.2, 2.3], [0.0] * 4])
    torch.testing.assert_close(made.views["tick"], seen)
    stored = MemmapSource(fill(source, tmp_path / "set"))
    assert stored.views == source.views and stored.read(rows, rows).views["tick"].equal(
        source.read(rows, rows).views["tick"]
    )
    write_samples(tmp_path / "samples", source.views, source.read(rows, rows), made)
    assert (tmp_path / "samples" / "tick.txt").read_text(encoding="utf-8").splitlines()[1] == "10 11 12 13"


@pytest.mark.parametrize("train", [True, False])
def test_lightness_and_colour_are_one_crop(train):
    whole = dataclasses.replace(PICTURE, area=(0.3, 0.8))
    raw, made = read(ALIGNED, train=train)
    assert list(raw.views) == ["lightness"]
    assert made.views["lightness"].shape == (6, 1, 24, 24) and made.views["colour"].shape == (6, 2, 24, 24)
    one = Preprocess({"lightness": whole}, PRESETS["swav"])(raw, train=train).views["lightness"]
    torch.testing.assert_close(join(made.views["lightness"], made.views["colour"]), one, atol=1e-4, rtol=0)


def test_two_crops_in_two_parts_of_their_colour():
    again = {
        "lightness_2": dataclasses.replace(ALIGNED["lightness"], of="lightness"),
        "colour_2": dataclasses.replace(ALIGNED["colour"], of="lightness", with_="lightness_2"),
    }
    raw, made = read({**ALIGNED, **again})
    assert list(raw.views) == ["lightness"]
    first, second = (
        join(made.views["lightness"], made.views["colour"]),
        join(made.views["lightness_2"], made.views["colour_2"]),
    )
    assert not torch.allclose(first, second, atol=0.05)


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ({"colour": ALIGNED["colour"]}, "not there"),
        ({**ALIGNED, "third": dataclasses.replace(PICTURE, with_="colour")}, "aligned itself"),
        ({**ALIGNED, "third": dataclasses.replace(PICTURE, size=32, with_="lightness")}, "not of its size"),
        ({**ALIGNED, "third": dataclasses.replace(PICTURE, of="colour")}, "a crop itself"),
    ],
)
def test_views_that_depend_on_others_need_them(views, problem):
    with pytest.raises(UsageError, match=problem):
        raw_views(views)


def test_a_view_changes_the_augmentation_for_itself():
    calm = {"jitter": 0, "grey": 0, "blur": 0, "flip": 0}
    views = {
        "image": dataclasses.replace(PICTURE, area=(1.0, 1.0), augment=calm),
        "other": dataclasses.replace(PICTURE, of="image"),
    }
    raw, made = read(views)
    still = Preprocess({"image": views["image"]}, PRESETS["none"])(raw, train=True).views["image"]
    torch.testing.assert_close(made.views["image"], still)
    assert not torch.allclose(made.views["other"], still, atol=0.05)
    sound = {"audio": AudioView(seconds=1.0, augment={"sound_noise": 0, "sound_shift": 0, "tilt": 0}),
             "loud": AudioView(seconds=1.0)}  # fmt: skip
    raw, made = read(sound, augment=dataclasses.replace(PRESETS["none"], sound_noise=1.0, sound_shift=3))
    torch.testing.assert_close(made.views["audio"], Preprocess(sound, PRESETS["none"])(raw, train=True).views["audio"])
    assert not torch.allclose(made.views["loud"], made.views["audio"], atol=0.05)


def test_the_sheet_shows_one_and_two_channels(tmp_path):
    raw, made = read(ALIGNED)
    write_samples(tmp_path, ALIGNED, raw, made)
    assert {path.name for path in tmp_path.iterdir()} == {"lightness.png", "colour.png"}


def full():
    """A batch with every field filled."""
    return Batch(
        views={"a": torch.arange(12.0).view(4, 3, 1), "b": torch.arange(4)},
        row=torch.arange(4),
        key=torch.arange(4) + 10,
        start={"a": torch.arange(4.0)},
        present={"a": torch.tensor([True, True, False, True]), "b": torch.ones(4, dtype=torch.bool)},
        label=torch.arange(4) + 20,
        mirrorable=torch.tensor([True, False, True, False]),
        length={"a": torch.tensor([3, 2, 0, 1])},
        epoch=1,
        epochs=2,
        step=3,
        steps=4,
        replaced=[(1, "gone")],
        whole=frozenset({"b"}),
    )


def test_no_field_of_a_batch_is_lost():
    batch, keep = full(), torch.tensor([3, 1])
    for name, value in vars(batch).items():
        changed = getattr(batch.select(keep), name)
        if isinstance(value, torch.Tensor):
            assert changed.equal(value[keep]), name
        elif isinstance(value, dict):
            assert all(changed[view].equal(tensor[keep]) for view, tensor in value.items()), name
        else:
            assert changed == value, name
    twice = batch.map(lambda mine, theirs: torch.cat([mine, theirs]), batch)
    assert len(twice) == 8 and twice.length["a"].tolist() == [3, 2, 0, 1] * 2 and twice.step == 3
    assert batch.to("cpu").length["a"].equal(batch.length["a"])


def test_a_mask_says_which_steps_are_valid():
    assert full().mask("a").int().tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert dataclasses.replace(full(), length={}).mask("a").all()


def test_sequences_are_zero_after_their_end_and_leave_no_trace_in_statistics():
    view = FeaturesView(dim=1, steps=3, normalise="statistics")
    batch = dataclasses.replace(full(), views={"a": full().views["a"]})
    preprocess = Preprocess({"a": view}, PRESETS["none"])

    class Fixed:
        views = {"a": view}

        def __len__(self):
            return 4

        def read_window(self, row, window, count):
            return batch.select(row)

    preprocess.fit_features(Fixed())
    valid = torch.tensor([0.0, 1, 2, 3, 4, 9])
    assert preprocess.statistics["a"]["mean"] == [valid.mean().item()]
    made = preprocess(batch, train=False)
    assert made.views["a"][~batch.mask("a")].eq(0).all() and made.length["a"].equal(batch.length["a"])


def test_waveforms_are_stored_in_16_bits():
    assert AudioView().pack(torch.tensor([0.5])).equal(to_int16(torch.tensor([0.5])))
