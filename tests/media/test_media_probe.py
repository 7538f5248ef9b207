import io

import av
import numpy as np
import pytest
from making import SIDE, noise_pictures, steps, tone, write

from coview.errors import MediaError
from coview.media import container, regular
from coview.media.probe import probe

WAV = ("", "pcm_s16le")


def reason(path):
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_a_plain_file(plain):
    facts = probe(plain)
    assert facts.flags == ()
    assert facts.duration == pytest.approx(2.0, abs=0.03)
    video, audio = facts.video, facts.audio
    assert (video.width, video.height, video.fps, video.frames, video.codec) == (SIDE, SIDE, 12.5, 25, "h264")
    assert video.constant_rate
    assert (video.start, video.rotation, video.keyframe_seconds) == (0.0, 0, (0.0,))
    assert video.duration == pytest.approx(2.0, abs=1e-3)
    assert (audio.sample_rate, audio.channels, audio.start, audio.codec) == (44100, 1, 0.0, "aac")
    assert audio.peak == pytest.approx(0.5, abs=0.03)
    assert not audio.silent


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is a text, and was never a film\n" * 50)
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert reason(tmp_path / "missing.mp4") == "missing"
    assert reason(tmp_path / "empty.mp4") == "empty"
    assert reason(tmp_path / "text.mp4") == "not-media"
    assert reason(tmp_path / "random.mp4") == "not-media"
    assert reason(tmp_path) == "not-media"


def test_files_that_were_cut_off(tmp_path, plain):
    data = plain.read_bytes()
    (tmp_path / "headless.mp4").write_bytes(data[: len(data) // 2])
    assert reason(tmp_path / "headless.mp4") == "truncated"
    pictures = noise_pictures(100)
    sound = tone(4.0, 44100)
    times = [k / 25 for k in range(100)]
    fast = {"container_options": {"movflags": "faststart"}}
    for name, more in (("fast.mp4", fast), ("a.mkv", {})):
        whole = write(tmp_path / f"whole-{name}", picture_times=times, pictures=pictures, sound=sound, **more)
        data = whole.read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        assert probe(whole).flags == ()
        assert reason(tmp_path / name) == "truncated"
    wav = write(tmp_path / "whole.wav", sound=sound, codecs=WAV)
    (tmp_path / "a.wav").write_bytes(wav.read_bytes()[:44])
    assert reason(tmp_path / "a.wav") in {"truncated", "zero-length"}


def test_data_that_cannot_be_decoded(tmp_path, plain):
    data = bytearray(plain.read_bytes())
    at = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[at:end] = np.random.default_rng(0).bytes(end - at)
    (tmp_path / "noise.mp4").write_bytes(data)
    assert reason(tmp_path / "noise.mp4") == "undecodable"


def test_limits(plain, monkeypatch):
    monkeypatch.setattr(regular, "MAX_BYTES", 100)
    assert reason(plain) == "too-large"
    monkeypatch.undo()
    monkeypatch.setattr(container, "MAX_PIXELS", 1000)
    assert reason(plain) == "too-large"


def test_facts_that_are_no_errors(tmp_path):
    times, pictures = [k / 10 for k in range(10)], steps(10)
    silence = np.zeros((1, 44100), np.float32)
    uneven = [0, 0.1, 0.15, 0.4, 0.45, 0.5, 0.7, 0.75, 0.8, 0.9]
    cases = {
        "silent": write(tmp_path / "1.mp4", picture_times=times, pictures=pictures, sound=silence),
        "no-audio": write(tmp_path / "2.mp4", picture_times=times, pictures=pictures),
        "no-video": write(tmp_path / "3.m4a", sound=tone(1.0, 44100), file_format="mp4"),
        "multichannel": write(tmp_path / "4.wav", sound=tone(1.0, 44100, channels=6), layout="5.1", codecs=WAV),
        "odd-rate": write(tmp_path / "5.wav", sound=tone(1.0, 12345), rate=12345, codecs=WAV),
        "variable-rate": write(tmp_path / "6.mp4", picture_times=uneven, pictures=pictures),
        "wrong-extension": write(tmp_path / "7.avi", sound=tone(1.0, 16000), rate=16000, codecs=WAV, file_format="wav"),
        "late-audio": write(
            tmp_path / "8.mp4", picture_times=times, pictures=pictures, sound=tone(1.0, 44100), sound_start=0.3
        ),
        "late-video": write(
            tmp_path / "9.mkv", picture_times=[t + 0.3 for t in times], pictures=pictures, sound=tone(1.3, 44100)
        ),
    }
    for flag, path in cases.items():
        expected = {flag, "no-video"} if path.suffix == ".wav" or flag == "wrong-extension" else {flag}
        if flag == "variable-rate":
            expected.add("no-audio")
        assert set(probe(path).flags) == expected, flag


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("ts", "aac"), ("aac", "aac")]
)
def test_all_the_sound_is_heard_in_every_format(tmp_path, suffix, codec):
    if codec not in av.codec.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = write(tmp_path / f"a.{suffix}", sound=tone(2.0, 48000), rate=48000, codecs=("", codec))
    facts = probe(path)
    assert facts.flags == ("no-video",) or (suffix == "aac" and set(facts.flags) == {"no-video", "no-duration"})
    assert facts.audio.duration == pytest.approx(2.0, abs=0.06)
    assert facts.audio.peak == pytest.approx(0.5, abs=0.1)


def test_a_stream_without_a_length_in_its_header(tmp_path):
    """A live recording in Matroska that nobody closed."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, piece):
            self.data += piece
            return len(piece)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska", options={"live": "1"}) as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for picture in steps(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode(None))
    (tmp_path / "live.mkv").write_bytes(pipe.data)
    facts = probe(tmp_path / "live.mkv")
    assert "no-duration" in facts.flags
    assert facts.duration == pytest.approx(1.0, abs=0.01)
