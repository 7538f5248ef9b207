import dataclasses

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from coview.data.augment import PRESETS, AugmentSettings, audio, video
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import AudioView, Batch, VideoView
from coview.errors import SettingsError
from coview.methods.parts.batch import complete
from coview.randomness import make_key, uniform
from coview.settings import from_dict, to_dict

VIEWS = {
    "video": VideoView(frames=3, fps=8, size=24, margin=1.25, normalise="imagenet"),
    "audio": AudioView(seconds=0.5, mels=40, n_fft=512, window=400, hop=200),
}


def raw_batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (count, 3, 3, 30, 30), dtype=torch.uint8, generator=generator)
    return Batch(
        views={"video": frames, "audio": torch.randn(count, 8000, generator=generator) * 0.1},
        row=torch.arange(count),
        key=sample_keys(1, 2, torch.arange(count)),
    )


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("train", [True, False])
def test_a_sample_looks_the_same_in_any_batch(preset: str, train: bool) -> None:
    prepare = Preprocess(VIEWS, PRESETS[preset])
    whole = prepare(raw_batch(), train)
    some = prepare(raw_batch().select(torch.tensor([4, 1])), train)
    for name in VIEWS:
        torch.testing.assert_close(some.views[name], whole.views[name][[4, 1]], rtol=1e-5, atol=1e-5)
        assert whole.views[name].isfinite().all()
    assert whole.views["video"].shape == (6, 3, 3, 24, 24) and whole.views["audio"].shape == (6, 1, 40, 40)


@pytest.mark.parametrize("preset", ["xid", "digits"])
def test_another_key_gives_another_look_and_evaluation_ignores_keys(preset: str) -> None:
    prepare = Preprocess(VIEWS, PRESETS[preset])
    first = raw_batch()
    later = dataclasses.replace(first, key=sample_keys(1, 3, torch.arange(6)))
    for name in VIEWS:
        assert not torch.equal(prepare(first, True).views[name], prepare(later, True).views[name])
        assert torch.equal(prepare(first, False).views[name], prepare(later, False).views[name])


def test_no_augmentation_is_the_path_of_evaluation() -> None:
    prepare = Preprocess(VIEWS, PRESETS["none"])
    trained, measured = prepare(raw_batch(), True), prepare(raw_batch(), False)
    for name in VIEWS:
        torch.testing.assert_close(trained.views[name], measured.views[name])


def test_absent_rows_are_zero_and_influence_nothing() -> None:
    prepare, batch = Preprocess(VIEWS, AugmentSettings()), raw_batch()
    batch.present["audio"] = torch.tensor([True, False, True, True, False, True])
    batch.views["audio"][[1, 4]] = float("nan")
    made = prepare(batch, True).views["audio"]
    assert torch.equal(made[[1, 4]], torch.zeros_like(made[[1, 4]])) and made.isfinite().all()
    torch.testing.assert_close(made[0], prepare(raw_batch(), True).views["audio"][0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("train", [True, False])
def test_a_batch_in_which_nothing_has_a_view(train: bool) -> None:
    batch = raw_batch()
    expected = {name: view.shape for name, view in Preprocess(VIEWS, AugmentSettings())(batch, train).views.items()}
    batch.present = {name: torch.zeros(6, dtype=torch.bool) for name in VIEWS}
    made = Preprocess(VIEWS, AugmentSettings())(batch, train).views
    assert all(view.shape == expected[name] and not view.any() for name, view in made.items())
    none = Preprocess(VIEWS, AugmentSettings())(raw_batch().select(slice(0, 0)), train).views
    assert all(view.shape == (0, *expected[name][1:]) for name, view in none.items())


def test_one_set_of_factors_serves_all_frames_of_a_clip() -> None:
    still = raw_batch()
    still.views["video"] = still.views["video"][:, :, :1].expand(-1, -1, 3, -1, -1)
    made = Preprocess(VIEWS, AugmentSettings())(still, True).views["video"]
    torch.testing.assert_close(made[:, :, 0], made[:, :, 2])


@pytest.mark.parametrize(
    ("ours", "theirs", "amount"),
    [
        ("_brightness", "adjust_brightness", 0.3),
        ("_contrast", "adjust_contrast", -0.4),
        ("_saturation", "adjust_saturation", 0.25),
        ("_hue", "adjust_hue", 0.13),
        ("_hue", "adjust_hue", -0.2),
    ],
)
def test_colour_changes_agree_with_torchvision(ours: str, theirs: str, amount: float) -> None:
    frames = torch.rand(2, 3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    made = getattr(video, ours)(frames, torch.full((2, 1, 1, 1, 1), amount)).clamp(0, 1)
    factor = amount if theirs == "adjust_hue" else 1 + amount
    expected = getattr(reference, theirs)(frames[:, :, 0], factor)
    torch.testing.assert_close(made[:, :, 0], expected, rtol=0, atol=2e-3)  # their grey weights have four digits


def test_crops_have_the_asked_area_and_stay_inside() -> None:
    size = 64
    place = torch.linspace(0, 1, size)
    frames = torch.stack([place.expand(size, size), place[:, None].expand(size, size), torch.zeros(size, size)])
    clips = frames[None, :, None].expand(500, -1, 1, -1, -1)
    augment = AugmentSettings(crop_area=(0.2, 0.5), crop_ratio=(1.0, 1.0), flip=0.5)
    made = video.random_view(clips, size, make_key(0, torch.arange(500)), augment)[:, :, 0]
    width = (made[:, 0, 0, -1] - made[:, 0, 0, 0]).abs()  # of the frame: values rise by 1 across pixel centres
    area = width**2
    assert area.min() > 0.18 and area.max() < 0.52 and abs(area.mean() - 0.35) < 0.02
    flipped = (made[:, 0, 0, -1] < made[:, 0, 0, 0]).float().mean()
    assert abs(flipped - 0.5) < 0.08


def test_a_shift_moves_by_whole_pixels() -> None:
    frames = torch.zeros(200, 3, 1, 16, 16)
    frames[..., 8, 8] = 1
    augment = dataclasses.replace(PRESETS["none"], shift=3)
    made = video.random_view(frames, 16, make_key(0, torch.arange(200)), augment)[:, 0, 0]
    places = (made > 0.99).nonzero()
    assert len(places) == 200 and set(places[:, 1].tolist()) == set(range(5, 12)) == set(places[:, 2].tolist())


def test_masks_follow_the_card() -> None:
    length, longest = 125, 5
    masks = audio._masks(length, make_key(0, torch.arange(4000)), 0, (0.0, 0.2), longest)
    share = masks.float().mean(1)
    assert share.max() <= 0.2  # at most floor(25 / 5) masks of 5
    # Expected cover, overlaps left out: E[floor(25 u) // 5] = 2 masks of mean length 3.
    assert 0.9 * 6 / length < share.mean() <= 6 / length
    assert not audio._masks(12, make_key(0, torch.arange(4)), 0, (0.0, 0.2), 3).any()


def test_band_statistics_normalise_and_travel_with_the_state() -> None:
    views = {"audio": dataclasses.replace(VIEWS["audio"], normalise="statistics")}
    prepare = Preprocess(views, PRESETS["none"])
    prepare.audio_mean.fill_(-1.0)  # type: ignore[operator, union-attr]
    prepare.audio_std.copy_(torch.linspace(1, 2, 40))  # type: ignore[operator, union-attr]
    batch = raw_batch()
    made = prepare(batch, False).views["audio"]
    image = audio.spectrogram(audio.levelled(batch.views["audio"], None, prepare.augment), views["audio"])
    torch.testing.assert_close(made, (image + 1) / (torch.linspace(1, 2, 40)[:, None] + 1e-6))
    copy = Preprocess(views, AugmentSettings())
    copy.load_state_dict(prepare.state_dict())
    torch.testing.assert_close(copy(batch, False).views["audio"], made)


def test_wrong_ranges_are_named() -> None:
    data = to_dict(PRESETS["digits"])
    assert from_dict(AugmentSettings, data) == PRESETS["digits"]
    with pytest.raises(SettingsError, match="volume"):
        from_dict(AugmentSettings, {**data, "volume": [1.0, 0.5]})


def test_colours_change_alike_where_the_host_may_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.rand(24, 3, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    key = make_key(3, torch.arange(24))
    augments = [AugmentSettings(), AugmentSettings(contrast=0, hue=0.5), AugmentSettings(jitter=0.5)]
    here = [video.jitter_colours(frames, key, augment) for augment in augments]
    blurred = AugmentSettings(blur=0.5)
    soft = video.blur(frames, key, blurred)
    assert 4 < (soft != frames).flatten(1).any(1).sum() < 20
    assert not torch.equal(here[0], here[1])
    # A meta tensor has no values: whoever needs to know them fails.
    assert video.jitter_colours(frames.to("meta"), key.to("meta"), augments[0]).shape == frames.shape
    monkeypatch.setattr(video, "_change_some", video._change_where)
    for augment, expected in zip(augments, here, strict=True):
        torch.testing.assert_close(video.jitter_colours(frames, key, augment), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(video.blur(frames, key, blurred), soft, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("brightness", "hue"), [(0.3, 0.0), (0.0, 0.1)])
def test_one_change_of_colour_is_that_change(brightness: float, hue: float) -> None:
    frames = torch.rand(5, 3, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    key = make_key(4, torch.arange(5))
    augment = AugmentSettings(brightness=brightness, contrast=0.0, saturation=0.0, hue=hue)
    amount = (uniform(key, video._FACTORS, 4) * 2 - 1)[:, 0 if brightness else 3] * (brightness or hue)
    operation = video._brightness if brightness else video._hue
    expected = operation(frames, amount[:, None, None, None, None]).clamp(0, 1)
    torch.testing.assert_close(video.jitter_colours(frames, key, augment), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("train", [True, False])
def test_a_batch_on_its_way_asks_the_device_nothing(preset: str, train: bool) -> None:
    prepare, batch = Preprocess(VIEWS, dataclasses.replace(PRESETS[preset], blur=0.5, grey=0.5)), raw_batch()
    expected = prepare(batch, train)
    made = prepare(batch.to("meta"), train)  # whoever needs to know a value fails
    assert made.whole == {"video", "audio"} and not expected.whole
    assert {name: view.shape for name, view in made.views.items()} == {n: v.shape for n, v in expected.views.items()}
    assert complete(made, VIEWS) is made
    batch.present["audio"] = torch.tensor([True] * 5 + [False])
    assert batch.to("meta").whole == {"video"} and not batch.has_all("audio") and batch.has_all("video")
