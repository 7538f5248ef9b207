"""Several samples of one file in one pass: to the bit what each is alone, and not a frame decoded twice."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from making import noise_pictures, write

from coview.errors import MediaError
from coview.media import frames as frames_module
from coview.media.container import open_media
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_clips, read_samples
from coview.media.pictures import read_frames, read_frames_of

SECONDS, FPS, SIDE = 4, 25, 32
STARTS = (2.2, 0.0, 1.33, 1.5, 3.6, 1.5)  # out of order, overlapping, and one twice
FILMS = {
    "h264": ("mp4", "libx264", {"g": "250", "bf": "3"}),
    "h264-many-keys": ("mp4", "libx264", {"g": "12", "bf": "2"}),
    "h264-open": ("mkv", "libx264", {"g": "20", "bf": "2", "x264-params": "open-gop=1:scenecut=0"}),
    "hevc": ("mp4", "libx265", {"x265-params": "log-level=none:keyint=30"}),
    "vp9": ("webm", "libvpx-vp9", {"g": "40", "deadline": "realtime", "cpu-used": "8"}),
}


def film(folder, kind):
    suffix, codec, options = FILMS[kind]
    if codec not in av.codec.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    count = SECONDS * FPS
    frames = np.concatenate([noise_pictures(count, 48), noise_pictures(count, 48, seed=1)], 2)
    sound = np.random.default_rng(0).normal(0, 0.1, (1, SECONDS * 16000)).astype(np.float32)
    noisy = suffix in ("mp4", "mkv")  # AAC at a low rate, whose decoder makes noise of its own
    return write(
        folder / f"a.{suffix}", picture_times=[k / FPS for k in range(count)], pictures=frames,
        sound=sound if noisy else None, rate=16000, codecs=(codec, "aac"), options=options,
    )  # fmt: skip


def picture_cuts(size=SIDE):
    return [VideoCut(start=start, count=4, fps=12, size=size, window=0.2 * k) for k, start in enumerate(STARTS[:5])]


@pytest.mark.parametrize("kind", FILMS)
def test_frames_of_one_pass_are_those_of_each_cut_alone(tmp_path, kind):
    path = film(tmp_path, kind)
    cuts = [*picture_cuts(), VideoCut(start=1.5, count=1, fps=1, size=48)]  # another size, one picture
    alone = []
    for cut in cuts:
        with open_media(path) as media:
            alone.append(read_frames(media, cut))
    with open_media(path) as media:
        together = read_frames_of(media, cuts)
    assert all(one.equal(other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("number", [23, 24, 60])
def test_one_damaged_time_in_a_film_moves_no_other_frame(tmp_path, number):
    whole, path = film(tmp_path, "h264-open"), tmp_path / "damaged.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for k, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.stream, packet.pts = stream, packet.pts + 8000 * (k == number)
            out.mux(packet)
    starts = [float(start) for start in np.arange(0, 3.6, 0.25)]
    cuts = [VideoCut(start=start, count=4, fps=12, size=SIDE, window=0.5) for start in starts]
    alone, expected = [], []
    for cut in cuts:
        for file, found in ((path, alone), (whole, expected)):
            with open_media(file) as media:
                found.append(read_frames(media, cut))
    with open_media(path) as media:
        together = read_frames_of(media, cuts)
    assert all(one.equal(other) for one, other in zip(together, alone, strict=True))
    moved = sum(int((one != other).flatten(2).any(2).sum()) for one, other in zip(alone, expected, strict=True))
    assert moved <= 3  # cuts that would show the frame whose time is lost


class Stamps:
    """A decoder that gives frames of these times, whatever it is given."""

    name, skip_frame = "h264", "DEFAULT"

    def __init__(self, *stamps):
        self.frames = [SimpleNamespace(pts=stamp, is_corrupt=False, number=k) for k, stamp in enumerate(stamps)]

    def flush_buffers(self):
        pass

    def decode(self, packet):
        frames, self.frames = (self.frames, []) if packet is None else ([], self.frames)
        return frames


def test_one_time_far_ahead_is_a_stray_and_a_clock_that_begins_anew_is_none():
    def decoded(*stamps):
        video = SimpleNamespace(codec_context=Stamps(*stamps), time_base=Fraction(1, 1000))
        packets = [SimpleNamespace(pts=stamp) for stamp in (0, 40, 80)]
        media = SimpleNamespace(video=video)
        return frames_module._decode(media, packets, {0, 40, 80}, False, lambda frame: frame.number)

    assert decoded(0, 9000, 40, 80) == {0: 0, 40: 2, 80: 3}
    assert decoded(0, 9000, 40, 9000, 80) == {0: 0, 40: 2, 80: 4}
    for stamps in ((0, 40, 9000, 0, 40, 80), (0, 40, 9000, 9040, 80), (0, 80, 40)):
        with pytest.raises(frames_module._OutOfOrderError):
            decoded(*stamps)


def test_a_pass_decodes_nothing_twice(tmp_path, monkeypatch):
    path = film(tmp_path, "h264")
    decoded = []
    whole = frames_module._decode
    monkeypatch.setattr(
        frames_module, "_decode", lambda media, packets, *rest: decoded.append(1) or whole(media, packets, *rest)
    )
    with open_media(path) as media:
        read_frames_of(media, picture_cuts())
    assert len(decoded) == 1


def test_cuts_far_apart_are_sought(tmp_path, monkeypatch):
    path = film(tmp_path, "h264-many-keys")
    with open_media(path) as media:
        near = read_frames_of(media, picture_cuts())
    monkeypatch.setattr(frames_module, "_FAR_SECONDS", 0.5)
    with open_media(path) as media:
        far = read_frames_of(media, picture_cuts())
    assert all(one.equal(other) for one, other in zip(near, far, strict=True))


def test_sound_of_a_sample_does_not_depend_on_those_read_before(tmp_path):
    path = film(tmp_path, "h264")
    samples = [
        [(cut, None), (None, AudioCut(start=cut.start * 0.8, seconds=0.5, sample_rate=8000))] for cut in picture_cuts()
    ]
    together = read_samples(path, [*samples, [(samples[0][0][0], None)]])
    for sample, read in zip(samples, together, strict=False):
        alone = read_clips(path, sample)
        assert alone[0][0].equal(read[0][0]) and alone[1][1].waveform.equal(read[1][1].waveform)
    assert torch.equal(together[-1][0][0], together[0][0][0]) and together[-1][0][1] is None


def test_a_cut_behind_the_end_fails_the_pass(tmp_path):
    path = film(tmp_path, "h264")
    with open_media(path) as media, pytest.raises(MediaError, match="outside"):
        read_frames_of(media, [*picture_cuts(), VideoCut(start=4.5, count=2, fps=8, size=SIDE)])
