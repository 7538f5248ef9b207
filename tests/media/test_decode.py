import math
import struct

import numpy as np
import pytest
import torch
from making import CLOCK, SIDE, noise_pictures, numbers, steps, tone, write

from coview.errors import MediaError, UsageError
from coview.media import frames as frames_module
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_audio, read_clip, read_clips, read_video

NTSC = 30000 / 1001
TIMES = {
    "25": [k / 25 for k in range(30)],
    "29.97": [k / NTSC for k in range(30)],
    "30": [k / 30 for k in range(30)],
    "variable": np.cumsum([0.0] + [0.02 + 0.05 * ((7 * k) % 5) / 5 for k in range(29)]).tolist(),
}


def shown(times, at):
    """The rule, by the timestamps as the file holds them."""
    stored = [round(t * CLOCK) / CLOCK for t in times]
    return max(k for k, t in enumerate(stored) if t <= at + 1e-6)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_frame_is_the_last_with_a_timestamp_at_or_before_its_instant(tmp_path, name, suffix):
    times = TIMES[name]
    path = write(tmp_path / f"a.{suffix}", picture_times=times, pictures=steps(30))
    if suffix == "mkv":  # Matroska counts milliseconds
        times = [round(t, 3) for t in times]
    for start in (0.0, 0.11, 0.2003, 0.5):
        frames = read_video(path, start, 6, 16.0, SIDE)
        instants = [start + k / 16 for k in range(6)]
        assert frames.dtype == torch.uint8
        assert frames.shape == (3, 6, SIDE, SIDE)
        assert numbers(frames) == [shown(times, at) for at in instants]


def test_an_instant_equal_to_a_timestamp_shows_that_frame(tmp_path):
    times = TIMES["29.97"]
    path = write(tmp_path / "a.mp4", picture_times=times, pictures=steps(30))
    assert numbers(read_video(path, 0.0, 30, NTSC, SIDE)) == list(range(30))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_leaving_out_frames_that_nobody_needs_changes_no_bit(tmp_path, monkeypatch, codec):
    options = {"preset": "fast", "g": "250", "bf": "3"} if codec == "libx264" else {"x265-params": "log-level=none"}
    path = write(
        tmp_path / "a.mp4",
        picture_times=[k / 25 for k in range(75)],
        pictures=noise_pictures(75),
        codecs=(codec, "aac"),
        options=options,
    )
    starts = (0.0, 0.7, 1.33, 2.2, 2.6)
    skipping = [read_video(path, s, 8, 16.0, SIDE) for s in starts]
    monkeypatch.setattr(frames_module, "_SKIPPABLE", frozenset())
    whole = [read_video(path, s, 8, 16.0, SIDE) for s in starts]
    assert all(torch.equal(a, b) for a, b in zip(skipping, whole, strict=True))


def test_a_cut_does_not_depend_on_where_decoding_began(tmp_path):
    """Many key frames: a cut after a seek equals the same frames of one pass from the start."""
    path = write(
        tmp_path / "a.mp4",
        picture_times=[k / 25 for k in range(60)],
        pictures=noise_pictures(60),
        options={"g": "12", "bf": "2"},
    )
    everything = read_video(path, 0.0, 60, 25.0, SIDE)
    for first in (1, 11, 12, 13, 30, 47, 59):
        count = min(5, 60 - first)
        assert torch.equal(read_video(path, first / 25, count, 25.0, SIDE), everything[:, first : first + count])


def test_past_the_last_frame_it_is_repeated_and_a_cut_beyond_the_end_is_refused(plain):
    assert numbers(read_video(plain, 1.85, 8, 16.0, SIDE))[-4:] == [24] * 4
    with pytest.raises(MediaError) as caught:
        read_video(plain, 2.1, 8, 16.0, SIDE)
    assert caught.value.reason == "outside"


def test_short_side_is_scaled_and_the_window_slides_along_the_long_one(tmp_path):
    wide = np.zeros((4, 64, 128, 3), np.uint8)
    wide[:, :, :64] = 200
    path = write(tmp_path / "a.mp4", picture_times=[0, 0.1, 0.2, 0.3], pictures=wide)
    left, middle, right = (read_video(path, 0.0, 1, 10.0, 32, window).float().mean() for window in (0.0, 0.5, 1.0))
    assert left > 190
    assert right < 10
    assert abs(middle - 100) < 15


def test_rotation_is_applied(tmp_path):
    """A picture bright at its top, stored with the instruction to turn it by 90 degrees clockwise."""
    bright = np.zeros((4, 64, 128, 3), np.uint8)
    bright[:, :32] = 200
    path = write(tmp_path / "a.mp4", picture_times=[0, 0.1, 0.2, 0.3], pictures=bright)
    data = path.read_bytes()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(identity, data.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(data[:at] + turned + data[at + len(turned) :])
    frames = read_video(path, 0.0, 1, 10.0, 32).float()
    # Displayed 64 wide and 128 high: what was the top is now at the right.
    assert frames[:, :, :, 20:].mean() > 180
    assert frames[:, :, :, :12].mean() < 20


def lag(a, b):
    """Samples by which `a` is later than `b`."""
    size = len(a) + len(b)
    correlation = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    shift = int(correlation.argmax())
    return shift if shift < size // 2 else shift - size


def band_limited(seconds, rate, channels=1):
    time = np.arange(round(seconds * rate)) / rate
    chirp = 0.4 * np.sin(2 * np.pi * (150 * time + 400 * time**2))
    return np.repeat(chirp[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [("mp4", "aac", 44100), ("mp4", "aac", 16000), ("mkv", "aac", 48000), ("wav", "pcm_s16le", 11025),
     ("mkv", "flac", 44100), ("mp3", "libmp3lame", 44100), ("mkv", "libopus", 48000)],
)  # fmt: skip
def test_sound_lies_at_its_time_whatever_the_codec_and_rate(tmp_path, suffix, codec, rate):
    import av

    if codec not in av.codec.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = write(tmp_path / f"a.{suffix}", sound=band_limited(3.0, rate), rate=rate, codecs=("", codec))
    true = band_limited(3.0, 16000)[0]
    for start in (0.0, 0.5, 1.237):
        got = read_audio(path, start, 1.0, 16000)
        assert got.shape == (16000,)
        assert got.dtype == torch.float32
        first = round(start * 16000)
        assert abs(lag(got.numpy(), true[first : first + 16000])) <= 32  # 2 ms
        assert 0.3 < float(got.abs().max()) < 0.55


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_any_number_of_channels_becomes_their_mean(tmp_path, layout):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    sound = np.zeros((channels, 44100), np.float32)
    sound[-1] = tone(1.0, 44100)[0]
    path = write(tmp_path / "a.mkv", sound=sound, layout=layout, codecs=("", "pcm_s16le"))
    got = read_audio(path, 0.1, 0.5, 44100)
    assert float(got.abs().max()) == pytest.approx(0.5 / channels, rel=0.02)


def test_where_the_file_has_no_sound_the_cut_is_zero_and_says_so(plain):
    [(_, sound)] = read_clips(plain, [(None, AudioCut(start=1.5, seconds=1.0, sample_rate=16000))])
    assert sound.valid == pytest.approx(8000, abs=400)  # AAC ends on a block
    assert sound.waveform[:7900].abs().max() > 0.4
    assert sound.waveform[8600:].abs().max() == 0
    with pytest.raises(MediaError) as caught:
        read_audio(plain, 2.5, 1.0, 16000)
    assert caught.value.reason == "outside"


def test_a_loud_file_never_gives_silence(plain):
    for k in range(20):
        assert read_audio(plain, k * 0.09, 0.1, 16000).abs().max() > 0.3


def test_picture_and_sound_of_one_open_equal_two(plain):
    video = VideoCut(start=0.5, count=4, fps=8.0, size=32)
    audio = AudioCut(start=0.5, seconds=0.5, sample_rate=16000)
    clip = read_clip(plain, video, audio)
    assert torch.equal(clip.video, read_video(plain, 0.5, 4, 8.0, 32))
    assert torch.equal(clip.audio, read_audio(plain, 0.5, 0.5, 16000))
    many = read_clips(plain, [(video, audio), (None, audio), (video, None), (video, audio)])
    assert torch.equal(many[3][0], clip.video)
    # AAC fills bands with noise that goes on from one cut to the next of one open.
    assert torch.allclose(many[3][1].waveform, clip.audio, atol=0.01)
    assert many[1][0] is None
    assert many[2][1] is None


def test_a_missing_stream_is_named(tmp_path):
    silent = write(tmp_path / "v.mp4", picture_times=[0, 0.1], pictures=steps(2))
    blind = write(tmp_path / "a.wav", sound=tone(1.0, 16000), rate=16000, codecs=("", "pcm_s16le"))
    with pytest.raises(MediaError) as caught:
        read_audio(silent, 0.0, 0.1, 16000)
    assert caught.value.reason == "no-audio"
    with pytest.raises(MediaError) as caught:
        read_video(blind, 0.0, 1, 10.0, 16)
    assert caught.value.reason == "no-video"


@pytest.mark.parametrize("name", ["http:x.mp4", "concat:a|b.mp4", "-i.mp4", "a b%20.mp4"])
def test_a_name_is_only_a_name(tmp_path, name, monkeypatch):
    write(tmp_path / "plain.mp4", picture_times=[0, 0.1], pictures=steps(2)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_video(name, 0.0, 1, 10.0, 16).shape == (3, 1, 16, 16)


def test_a_playlist_is_not_followed(tmp_path, plain):
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{plain}'\n")
    with pytest.raises(MediaError) as caught:
        read_video(playlist, 0.0, 1, 10.0, 16)
    assert caught.value.reason == "not-media"


def test_an_unknown_backend_is_refused(plain):
    with pytest.raises(UsageError, match="torchcodec"):
        read_video(plain, 0.0, 1, 10.0, 16, backend="decord")


def test_torchcodec_follows_the_same_rules(tmp_path):
    pytest.importorskip("torchcodec", reason="torchcodec is not installed", exc_type=Exception)
    path = write(
        tmp_path / "a.mp4",
        picture_times=TIMES["variable"],
        pictures=steps(30),
        sound=band_limited(2.0, 44100),
        sound_start=0.3,
    )
    for start in (0.31, 0.5003, 0.9):
        ours = [read_video(path, start, 6, 16.0, SIDE, backend=b) for b in ("pyav", "torchcodec")]
        assert numbers(ours[0]) == numbers(ours[1])
        sounds = [read_audio(path, start, 0.5, 16000, backend=b).numpy() for b in ("pyav", "torchcodec")]
        assert abs(lag(*sounds)) <= 1
    with pytest.raises(MediaError) as caught:
        read_video(path, 60.0, 1, 10.0, 16, backend="torchcodec")
    assert caught.value.reason == "outside"


def test_cuts_refuse_nonsense():
    with pytest.raises(ValueError, match="video cut"):
        VideoCut(start=-1.0, count=1, fps=1.0, size=8)
    with pytest.raises(ValueError, match="audio cut"):
        AudioCut(start=0.0, seconds=0.0, sample_rate=16000)
    assert math.isclose(VideoCut(start=1.0, count=3, fps=2.0, size=8).times[2], 2.0)
