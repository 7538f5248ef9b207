"""The digest of content: equal for copies, whatever holds them; different for what is seen or heard differently."""

from __future__ import annotations

import av
import numpy as np
import pytest
from making import noise_pictures, tone, write
from PIL import Image

from coview.media.content import FIELDS, LoudestSecond, look_at_brightness
from coview.media.probe import probe


def film(path, seed=0, hz=440.0, **more):
    sound = tone(2.0, 44100, hz) * np.linspace(0.2, 1, 88200, dtype=np.float32)
    times = [k / 25 for k in range(50)]
    return write(path, picture_times=times, pictures=noise_pictures(50, seed=seed), sound=sound, **more)


def copied(source, target):
    """The same packets in another container."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return film(tmp_path_factory.mktemp("content") / "a.mp4", options={"g": "12", "bf": "2"})


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_another_container_changes_nothing(tmp_path, original, suffix):
    assert probe(copied(original, tmp_path / f"b.{suffix}")).content == probe(original).content


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "wav", "flac", "mp3"])
def test_bytes_behind_the_end_change_nothing(tmp_path, suffix):
    if suffix in ("wav", "flac", "mp3"):
        codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame"}[suffix]
        path = write(tmp_path / f"a.{suffix}", sound=tone(2.0, 16000), rate=16000, codecs=("", codec))
    else:
        path = film(tmp_path / f"a.{suffix}")
    before = probe(path).content
    path.write_bytes(path.read_bytes() + bytes(100))
    assert len(before) == 32 and probe(path).content == before


def test_a_lossless_packing_of_the_sound_changes_nothing(tmp_path):
    sound = tone(2.0, 16000) * np.linspace(0.2, 1, 32000, dtype=np.float32)
    wav = write(tmp_path / "a.wav", sound=sound, rate=16000, codecs=("", "pcm_s16le"))
    flac = write(tmp_path / "a.flac", sound=sound, rate=16000, codecs=("", "flac"))
    assert probe(wav).content == probe(flac).content


def test_other_contents_have_other_digests(tmp_path, original):
    digests = {probe(original).content}
    digests.add(probe(film(tmp_path / "picture.mp4", seed=1)).content)
    digests.add(probe(film(tmp_path / "sound.mp4", hz=700.0)).content)
    digests.add(probe(write(tmp_path / "mute.mp4", picture_times=[0, 0.1], pictures=noise_pictures(2))).content)
    digests.add(probe(write(tmp_path / "a.wav", sound=tone(2.0, 16000), codecs=("", "pcm_s16le"), rate=16000)).content)
    assert len(digests) == 5


def test_a_still_is_known_by_its_pixels(tmp_path):
    picture = Image.fromarray(noise_pictures(1)[0])
    exif = Image.Exif()
    exif[0x010E] = "a description"
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    picture.save(tmp_path / "c.webp", lossless=True, exif=exif)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "d.png")
    a, b, c, d = (probe(tmp_path / name).content for name in ("a.png", "b.bmp", "c.webp", "d.png"))
    assert a == b == c and a != d


def test_fields_are_whole_means_of_any_size():
    for shape in ((1, 1), (3, 500), (FIELDS, FIELDS), (97, 41)):
        bright = np.full(shape, 77, np.uint8)
        assert look_at_brightness(bright).fields == bytes([77]) * FIELDS**2
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    assert np.frombuffer(look_at_brightness(half).fields, np.uint8).reshape(FIELDS, FIELDS)[:, 16:].min() == 255


def test_the_loudest_second_does_not_depend_on_how_the_sound_comes():
    sound = np.random.default_rng(0).normal(0, 0.1, 40000).astype(np.float32)
    sound[17000] = 0.9
    found = set()
    for size in (40000, 1024, 333):
        loudest = LoudestSecond()
        for at in range(0, len(sound), size):
            loudest.hear(sound[at : at + size], 8000)
        found.add((loudest.loudness(), loudest.peak))
    assert len(found) == 1 and loudest.peak == np.float32(0.9)
    assert LoudestSecond().loudness() == b""
