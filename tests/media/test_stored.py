"""JPEG and FLAC in memory, and whole frames: what prepared shards are made of."""

import io

import av
import making
import numpy as np
import pytest
import torch

from coview.errors import MediaError
from coview.media import jpeg
from coview.media.container import open_media
from coview.media.cuts import VideoCut
from coview.media.flac import BLOCK, FlacDecoder, encode_flac
from coview.media.pictures import read_frames, read_whole_frames, square


def samples(count):
    return np.random.default_rng(0).integers(-32767, 32768, count).astype(np.int16)


def cut(flac):
    ends = flac.header + np.cumsum(flac.frames)
    return [flac.data[end - size : end] for end, size in zip(ends, flac.frames, strict=True)]


@pytest.mark.parametrize("count", [1, 15, 1024, 5000])
def test_flac_is_lossless_and_any_part_of_it_stands_alone(count):
    sound, decoder = samples(count), FlacDecoder()
    flac = encode_flac(sound, 16000)
    assert flac.block == BLOCK and len(flac.data) == flac.header + sum(flac.frames)
    assert (decoder(cut(flac), "x") == sound).all()
    for first in range(len(flac.frames)):
        assert (decoder(cut(flac)[first : first + 2], "x") == sound[first * BLOCK : (first + 2) * BLOCK]).all()
    with av.open(io.BytesIO(flac.data)) as container:  # an ordinary file, too
        assert (np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]) == sound).all()


def test_jpeg_keeps_a_smooth_picture_and_is_the_same_each_time():
    y, x = np.mgrid[:48, :64]
    picture = np.stack([2 * x, 3 * y, x + y], -1).astype(np.uint8)
    data = jpeg.encode(picture, 95)
    assert data == jpeg.encode(picture.copy(), 95)
    back = jpeg.decode(data, 64, 48, "x")
    assert back.shape == (48, 64, 3) and back.dtype == np.uint8
    assert np.abs(back.astype(int) - picture).mean() < 2


def test_damaged_bytes_are_an_error_with_the_name():
    with pytest.raises(MediaError, match="a-film: undecodable"):
        jpeg.decode(b"no picture at all", 8, 8, "a-film")
    with pytest.raises(MediaError, match="a-film: undecodable"):
        jpeg.decode(jpeg.encode(np.zeros((64, 64, 3), np.uint8), 90)[:400], 64, 64, "a-film")
    with pytest.raises(MediaError, match="a-film: undecodable"):  # of another size than the table says
        jpeg.decode(jpeg.encode(np.zeros((64, 64, 3), np.uint8), 90), 64, 32, "a-film")
    decoder = FlacDecoder()
    good = cut(encode_flac(samples(2000), 8000))
    with pytest.raises(MediaError, match="a-film: undecodable"):
        decoder([b"no sound at all"], "a-film")
    assert len(decoder(good, "a-film")) == 2000


def test_a_square_of_a_whole_frame_is_the_frame_of_a_cut(tmp_path):
    pictures = np.concatenate([making.noise_pictures(40), making.noise_pictures(40, seed=1)], 2)  # 64 x 128
    path = making.write(tmp_path / "a.mp4", picture_times=[k / 25 for k in range(40)], pictures=pictures)
    with open_media(path) as media:
        whole = read_whole_frames(media, 0.1, range(20), 16, 32)
        assert whole[0].shape == (32, 64, 3)
        for window in (0.0, 0.3, 1.0):
            wanted = read_frames(media, VideoCut(start=0.1, count=20, fps=16, size=32, window=window))
            found = np.stack([square(picture, 32, window) for picture in whole])
            assert torch.from_numpy(found).permute(3, 0, 1, 2).equal(wanted)
