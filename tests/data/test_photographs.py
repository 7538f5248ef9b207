"""Random crops of files: boxes first, then cut from the original; sharp, and the same however they are read."""

from __future__ import annotations

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch
from bad_media import write
from bad_pictures import ORIENTATION, encoded
from PIL import Image
from torchvision.transforms.functional import resized_crop

from coview.data.augment import PRESETS
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.joined import JoinedSource
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.part import Part
from coview.data.preprocess import Preprocess
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.read import ShardSource
from coview.data.shards.write import prepare
from coview.data.shuffle import ShuffledPairs
from coview.data.source import cropped, sample_keys
from coview.data.views import AudioView, DepthView, ImageView, VideoView, raw_views
from coview.media import stills
from coview.media.cuts import Crop, VideoCut
from coview.media.decode import read_clips, read_samples

WIDTH, HEIGHT = 500, 375
AREA = (0.08, 1.0)
IMAGE = ImageView(size=32, area=AREA, normalise="none")
VIEWS = {
    "image": IMAGE,
    "image_2": dataclasses.replace(IMAGE, of="image"),
    "small": dataclasses.replace(IMAGE, size=16, area=(0.05, 0.14), of="image"),
    "light": dataclasses.replace(IMAGE, area=None, space="lightness", with_="image"),
}
AUGMENT = dataclasses.replace(PRESETS["none"], flip=0.5)


def photograph(seed: int) -> Image.Image:
    """Return noise with the spectrum of photographs, 1/f, its colours much alike."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    waves = np.fft.rfft2(generator.normal(size=(3, HEIGHT, WIDTH))) / frequency
    noise = np.fft.irfft2(waves + 3 * waves[:1], (HEIGHT, WIDTH))
    pixels = 128 + 50 * noise / noise.std((1, 2), keepdims=True)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def laplacian(picture: np.ndarray) -> float:
    grey = picture.astype(np.float64).mean(-1)
    middle, around = grey[1:-1, 1:-1], grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * middle - around).mean())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Seven photographs and a film of three times two seconds."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "files").mkdir()
    for number in range(7):
        (folder / "files" / f"{number}.jpg").write_bytes(encoded(photograph(number), "JPEG", quality=90))
    write(folder / "files" / "film.mp4", seconds=2.0)
    return index_source(str(folder / "files"), folder / "index", workers=0)


def source_of(collection, views=VIEWS, augment=AUGMENT):
    return cropped(MediaSource(collection, raw_views(views)), views, augment)


def test_a_box_is_the_first_shape_that_fits():
    shapes = ((0.9, 3.0), (0.5, 1.0), (0.1, 1.0))
    left, top, right, bottom = Crop(shapes, 0.5, 1.0).box(400, 300)  # .9 of it three times as wide as high: too wide
    assert (right - left, bottom - top) == pytest.approx(((0.5 * 400 * 300) ** 0.5,) * 2)
    assert (left + right, bottom) == pytest.approx((400, 300))
    assert Crop(((0.9, 4.0),), 0.3, 0.0).box(100, 100) == (0, 0, 100, pytest.approx((0.9 / 4) ** 0.5 * 100))
    assert Crop(((0.25, 1.0),), 0.0, 0.0).short(400, 100, 50) == 50  # a crop as high as the frame


def test_a_crop_of_the_smallest_map_of_depth_has_a_place(tmp_path):
    crop = Crop(((0.05, 1.0),), 1.0, 1.0)
    assert crop.pixels(1, 1) == (0, 0, 1, 1) and crop.pixels(2, 1) == (1, 0, 2, 1)
    np.save(tmp_path / "depth.npy", np.full((1, 1), 2.5, np.float32))
    values, _ = DepthView(size=8, margin=1.0).load(None, tmp_path / "depth.npy", 0.0, crop)
    assert values.shape == (1, 1, 8, 8) and bool((values == 2.5).all())


def test_boxes_are_those_of_torchvision():
    from torchvision.transforms import RandomResizedCrop

    crops = IMAGE.crops(sample_keys(0, 0, torch.arange(4000)), IMAGE.changed(AUGMENT))
    ours = np.array([crop.box(WIDTH, HEIGHT) for crop in crops])
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.zeros(3, HEIGHT, WIDTH), AREA, (3 / 4, 4 / 3)) for _ in range(1000)]
    top, left, high, wide = np.array(theirs).T
    for mine, other in ((ours[:, 0], left), (ours[:, 1], top), (ours[:, 2], left + wide), (ours[:, 3], top + high)):
        np.testing.assert_allclose(np.quantile(mine, [0.1, 0.5, 0.9]), np.quantile(other, [0.1, 0.5, 0.9]), atol=18)


@pytest.mark.parametrize("size", [64, 96, 224])
def test_crops_are_as_sharp_as_of_the_photograph_itself(tmp_path, size):
    view = ImageView(size=size, area=AREA)
    crops = view.crops(sample_keys(0, 0, torch.arange(24)), view.changed(AUGMENT))
    ours, theirs = [], []
    for number in range(2):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encoded(photograph(number), "JPEG", quality=90))
        whole = Image.open(path)
        for crop in crops[number::2]:
            [made] = stills.read_stills(path, [VideoCut(start=0, count=1, fps=1, size=size, window=crop)])
            left, top, right, bottom = (round(edge) for edge in crop.box(WIDTH, HEIGHT))
            same = resized_crop(whole, top, left, bottom - top, right - left, [size, size])
            ours.append(laplacian(made[:, 0].permute(1, 2, 0).numpy()))
            theirs.append(laplacian(np.asarray(same)))
            assert abs(made[:, 0].permute(1, 2, 0).numpy().astype(int) - np.asarray(same)).mean() < 3
    assert np.mean(ours) / np.mean(theirs) == pytest.approx(1, abs=0.02)


def test_every_view_has_its_own_crop_and_aligned_ones_the_same(photographs):
    source = source_of(photographs)
    rows = torch.arange(len(source))
    raw = source.read(rows, sample_keys(0, 0, rows))
    assert raw.cropped == {"image", "image_2", "small"} and set(raw.views) == raw.cropped
    assert raw.views["image"].shape == (8, 3, 1, 32, 32) and raw.views["small"].shape == (8, 3, 1, 16, 16)
    made = Preprocess(VIEWS, AUGMENT)(raw, train=True)
    assert not made.cropped and not torch.equal(made.views["image"], made.views["image_2"])
    assert torch.equal(made.start["image_2"], made.start["image"]) and made.views["light"].shape == (8, 1, 32, 32)
    luminance = made.views["image"].mean(1)
    for one, other in zip(luminance.flatten(1), made.views["light"][:, 0].flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.9
    mirrored = (made.views["image"] != raw.views["image"][:, :, 0] / 255).flatten(1).any(1)
    assert 0 < mirrored.sum() < 8
    torch.testing.assert_close(made.views["image"][mirrored].flip(-1), raw.views["image"][mirrored][:, :, 0] / 255)


def test_where_no_crop_is_drawn_nothing_changes(photographs):
    plain = {"image": dataclasses.replace(IMAGE, area=None)}
    source = MediaSource(photographs, plain)
    assert cropped(source, plain, PRESETS["none"]) is source
    roomy = {"image": dataclasses.replace(IMAGE, margin=4.1)}  # the smallest crop has 32 pixels in the square of 132
    assert roomy["image"].decode_size * (0.08 * 0.75) ** 0.5 > 32 and source_of(photographs, roomy).views == roomy
    mixed = {"image": plain["image"], "small": VIEWS["small"]}
    both = source_of(photographs, mixed, PRESETS["none"])
    rows = torch.arange(3)
    batch, before = (one.read(rows, sample_keys(0, 0, rows)) for one in (both, source))
    assert batch.cropped == {"small"} and torch.equal(batch.views["image"], before.views["image"])


def test_the_same_however_it_is_read(photographs):
    source = source_of(photographs)
    keys = sample_keys(0, 0, torch.arange(8))
    together = source.read(torch.arange(8), keys)
    for row in (0, 3, 7):
        alone = source.read(torch.tensor([row]), keys[row : row + 1])
        assert all(torch.equal(alone.views[name][0], together.views[name][row]) for name in together.views)

    def take(first, count, **how):
        loader = Loader(source, batch_size=4, seed=1, clips_per_recording=2, **how)
        return [batch.views for batch in islice(loader.stream(first), count)]

    whole = take(0, 4)
    later, halves = take(2, 2), [take(0, 4, rank=rank, world=2) for rank in (0, 1)]
    for name in together.views:
        assert all(torch.equal(one[name], other[name]) for one, other in zip(whole[2:], later, strict=True))
        for views, left, right in zip(whole, *halves, strict=True):
            assert torch.equal(views[name], torch.cat([left[name], right[name]]))


@pytest.mark.slow
def test_the_same_on_any_number_of_workers(photographs):
    source = source_of(photographs)
    expected = list(islice(Loader(source, batch_size=4, seed=1).stream(0), 3))
    for workers in (1, 2):
        for one, other in zip(Loader(source, batch_size=4, seed=1, workers=workers).stream(0), expected, strict=False):
            assert one.cropped == other.cropped
            assert all(torch.equal(one.views[name], other.views[name]) for name in other.views)


def test_a_film_shows_one_crop_in_all_frames_and_the_same_in_one_pass(photographs):
    path = next(photographs.root / name for name in MediaSource(photographs, VIEWS | {}).ids if name.endswith("mp4"))
    crops = [Crop(((0.3, 1.0),), 0.2, 0.9), Crop(((0.9, 1.2),), 0.5, 0.5)]
    cuts = [VideoCut(start=0.5 * k, count=3, fps=8, size=24, window=crop) for k, crop in enumerate(crops)]
    square = VideoCut(start=0.5, count=3, fps=8, size=24)
    together = read_samples(path, [[(cut, None)] for cut in (*cuts, square)])
    for cut, read in zip((*cuts, square), together, strict=True):
        [(alone, _)] = read_clips(path, [(cut, None)])
        assert alone is not None and read[0][0] is not None and torch.equal(alone, read[0][0])
        assert alone.shape == (3, 3, 24, 24)
    views = {"video": VideoView(frames=3, fps=8, size=24, area=AREA), "audio": AudioView(seconds=0.5, mels=16)}
    source = source_of(photographs, views)
    batch = source.read(torch.tensor([len(source) - 1]), torch.tensor([4]))
    assert batch.cropped == {"video"} and batch.views["video"].shape == (1, 3, 3, 24, 24)


def test_a_turned_photograph_is_cropped_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = photograph(0)
    stored = upright.transpose(Image.Transpose.ROTATE_90)  # what orientation 6 turns back
    for name, picture, options in (("plain", upright, {}), ("turned", stored, {"exif": exif})):
        (tmp_path / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=95, subsampling=0, **options))
    cut = VideoCut(start=0, count=2, fps=1, size=48, window=Crop(((0.4, 0.8),), 0.9, 0.1))
    one, other = (stills.read_stills(tmp_path / f"{name}.jpg", [cut])[0].float() for name in ("plain", "turned"))
    assert one.shape == (3, 2, 48, 48) and (one - other).abs().mean() < 1.5


def test_a_photograph_is_decoded_no_smaller_than_its_crops_need(tmp_path, monkeypatch):
    path, sizes = tmp_path / "large.jpg", []
    path.write_bytes(encoded(photograph(0).resize((2000, 1500)), "JPEG"))
    decode = stills.decode_scaled
    monkeypatch.setattr(stills, "decode_scaled", lambda data, *size: sizes.append(size) or decode(data, *size))
    for area in (1.0, 0.1, 0.01):
        crop = Crop(((area, 4 / 3),), 0.5, 0.5)
        stills.read_stills(path, [VideoCut(start=0, count=1, fps=1, size=64, window=crop)])
    assert sizes == [(250, 188), (1000, 750), (2000, 1500)]  # of the last crop 150 of 1500 rows are there


def test_what_stands_before_a_source_passes_the_crops_on(photographs, tmp_path):
    views = {"image": IMAGE, "image_2": VIEWS["image_2"], "audio": AudioView(seconds=0.5, mels=16)}
    source = MediaSource(photographs, raw_views(views))
    direct = cropped(source, views, AUGMENT)
    rows = torch.tensor([1, 7])
    keys = sample_keys(0, 0, rows)
    expected = direct.read(rows, keys)
    part = cropped(Part(source, torch.tensor([1, 7])), views, AUGMENT).read(torch.tensor([0, 1]), keys)
    joined = cropped(JoinedSource("both", [source]), views, AUGMENT).read(rows, keys)
    shuffled = cropped(ShuffledPairs(source, 0), views, AUGMENT)
    assert set(shuffled.views) == {"image", "image_2", "audio"}
    for batch in (part, joined, shuffled.read(rows, keys)):
        assert batch.cropped == {"image", "image_2"}
        assert all(torch.equal(batch.views[name], expected.views[name]) for name in ("image", "image_2"))


def test_prepared_copies_keep_their_squares(photographs, tmp_path):
    prepare(photographs, tmp_path / "shards", PrepareSettings(size=IMAGE.decode_size), Serial())
    source = ShardSource(tmp_path / "shards", {"image": IMAGE})
    assert cropped(source, VIEWS, AUGMENT) is source
