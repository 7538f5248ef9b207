"""Still pictures: what is indexed, refused and shown; in one folder with films; prepared."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from bad_media import write
from bad_pictures import HEIGHT, WIDTH, encoded, make_bad_pictures, picture, turned

from coview.data.adapters.folder import looks_like_media
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.read import ShardSource
from coview.data.shards.write import prepare
from coview.data.views import AudioView, ImageView, VideoView
from coview.errors import MediaError, UsageError
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_clip, read_clips, read_video
from coview.media.stills import read_whole_still

IMAGE = ImageView(size=48, margin=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "all"
    folder.mkdir()
    return folder, make_bad_pictures(folder)


@pytest.fixture(scope="module")
def pictures(folder, tmp_path_factory):
    return index_source(str(folder[0]), tmp_path_factory.mktemp("index") / "pictures", workers=0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two films, one of them silent, and three pictures."""
    folder = tmp_path_factory.mktemp("mixed") / "files"
    folder.mkdir()
    write(str(folder / "film.mp4"))
    write(str(folder / "mute.mp4"), audio=None)
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encoded(picture(index), "PNG"))
    return index_source(str(folder), folder.parent / "collection", workers=0)


def test_every_bad_picture_is_named_and_every_good_one_kept(folder, pictures):
    expected = folder[1]
    refused = {row.path: row.reason for row in pictures.quarantine()}
    assert refused == {name: word[1:] for name, word in expected.items() if word.startswith("!")}
    kept = {recording.id: set(recording.flags) for recording in pictures}
    for name, word in expected.items():
        if not word.startswith(("!", "-")):
            assert kept.pop(name) == {"still", word} - {""}, name
    assert not kept
    assert sum(pictures.about["ignored"].values()) == sum(word == "-" for word in expected.values())


def test_the_table_says_what_pictures_are(pictures):
    rows = {recording.id: recording for recording in pictures}
    turned_one = rows["turned.jpg"]
    assert (turned_one.width, turned_one.height, turned_one.rotation) == (HEIGHT, WIDTH, 270)
    assert all(row.duration == 0 and row.frames == 1 and row.has_video and not row.has_audio for row in rows.values())
    assert {rows[name].video_codec for name in ("a.jpg", "b.png", "deep/c.webp")} == {"jpeg", "png", "webp"}
    assert pictures.about["counts"]["with_audio"] == 0 and pictures.about["flags"]["still"] == len(rows)


def test_what_is_shown(folder, pictures):
    source = MediaSource(pictures, {"image": IMAGE})
    batch = source.read_window(torch.arange(len(source)), 0, 1)
    assert not batch.replaced and bool(batch.present["image"].all())
    shown = {name: batch.views["image"][row, :, 0].float() for row, name in enumerate(source.ids)}
    for name in ("b.png", "cmyk.jpg", "d.bmp", "deep/c.webp", "moving.gif", "palette.png", "upside-down.jpg"):
        red, green = shown[name][0].mean(0), shown[name][1].mean(1)
        red, green = (values.flip(0) if name == "upside-down.jpg" else values for values in (red, green))
        assert red[-1] - red[0] > 80 and green[-1] - green[0] > 150, name
    sideways = shown["turned.jpg"]  # a quarter turn clockwise: the left column becomes the upper row
    assert sideways[0].mean(1)[-1] - sideways[0].mean(1)[0] > 80
    assert sideways[1].mean(0)[0] - sideways[1].mean(0)[-1] > 80
    assert shown["clear.png"].unique().tolist() == [128]
    grey = shown["wide.png"][0].mean(0)
    assert 25 < grey[0] < 60 and 190 < grey[-1] < 225  # 16 bits are scaled, not cut off
    assert shown["moving.gif"][2].mean() < 30  # its first picture
    assert shown["dot.png"].unique().tolist() == [200]


def test_the_same_square_as_a_film_would_give(folder):
    path = folder[0] / "b.png"
    whole = read_whole_still(path, 48)
    assert whole.shape == (48, 64, 3)
    clip = read_video(path, 0.0, 3, 16.0, 48, 1.0)
    assert torch.equal(clip[:, 0], clip[:, 2])
    assert np.array_equal(clip[:, 0].permute(1, 2, 0).numpy(), whole[:, 16:])
    with pytest.raises(MediaError, match="no-audio"):
        read_clip(path, None, AudioCut(start=0, seconds=1, sample_rate=8000))


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    large = picture().resize((1600, 1200))
    (tmp_path / "large.jpg").write_bytes(encoded(large, "JPEG", quality=95))
    (tmp_path / "large.png").write_bytes(encoded(large, "PNG"))
    one, other = (read_whole_still(tmp_path / name, 48).astype(int) for name in ("large.jpg", "large.png"))
    assert abs(one - other).max() <= 6


def test_pictures_are_left_out_where_sound_or_motion_is_wanted(mixed, pictures):
    frames, sound = VideoView(frames=4, size=32), AudioView(seconds=0.5)
    both = MediaSource(mixed, {"video": frames, "audio": sound})
    assert both.ids == ["film.mp4", "mute.mp4"] and both.left_out == 3
    single = MediaSource(mixed, {"image": IMAGE})
    assert len(single) == 5 and single.lacking == {"image": 0} and not bool(single.short["image"].any())
    key = torch.arange(5)
    assert not single.read(torch.arange(5), key).replaced
    heard = MediaSource(mixed, {"image": IMAGE, "audio": sound})
    assert heard.read(torch.arange(5), key).present["audio"].tolist() == [False, False, False, True, False]
    later = MediaSource(mixed, {"image": IMAGE, "later": VideoView(frames=1, size=32, after=(0.2, 0.5))})
    assert later.lacking == {"image": 0, "later": 3}
    with pytest.raises(UsageError, match="still pictures, without sound or motion"):
        MediaSource(pictures, {"video": frames, "audio": sound})


def test_a_picture_that_goes_bad_later_is_replaced(folder, pictures, tmp_path):
    shutil.copytree(folder[0], tmp_path / "copy")
    collection = index_source(str(tmp_path / "copy"), tmp_path / "c", workers=0)
    source = MediaSource(collection, {"image": IMAGE})
    row = source.ids.index("a.jpg")
    (tmp_path / "copy" / "a.jpg").write_bytes((tmp_path / "copy" / "a.jpg").read_bytes()[:300])
    batch = source.read(torch.tensor([row]), torch.tensor([5]))
    assert batch.replaced and all(why.startswith("changed") for _, why in batch.replaced) and int(batch.row) != row


def test_prepared_pictures_are_the_pictures(mixed, tmp_path):
    card = prepare(mixed, tmp_path / "shards", PrepareSettings(size=48, quality=95), Serial())
    assert card["recordings"] == 5 and not card["problems"]
    stored, direct = ShardSource(tmp_path / "shards", {"image": IMAGE}), MediaSource(mixed, {"image": IMAGE})
    row = torch.tensor([0, 1, 2])
    one, other = (source.read(row, row).views["image"].float() for source in (stored, direct))
    assert (one - other).abs().mean() < 4
    assert ShardSource(tmp_path / "shards", {"video": VideoView(frames=4, size=48, margin=1.0)}).left_out == 3


def test_telling_by_contents():
    assert looks_like_media(turned(1)[:32]) and looks_like_media(encoded(picture(), "BMP")[:32])
    assert not looks_like_media(b"BM, two letters of a text that is")
    assert not looks_like_media(b"RIFF....PAL data")


def test_torchcodec_reads_stills_too(folder):
    cut = VideoCut(start=0.0, count=1, fps=16.0, size=48)
    one, other = (read_clips(folder[0] / "b.png", [(cut, None)], backend=name)[0][0] for name in ("pyav", "torchcodec"))
    assert torch.equal(one, other)
