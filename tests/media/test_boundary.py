"""What is no file, no number or no whole file is told in time, where a file is probed and where it is read."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace

import numpy as np
import pytest
from making import noise_pictures, tone, write
from mutations import FILMS, SOUNDS, seeds

from coview.data.probing import probe_file
from coview.errors import MediaError, UsageError
from coview.media import access, sounds
from coview.media import frames as frames_module
from coview.media.container import open_media
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_audio, read_samples, read_video
from coview.media.probe import probe
from coview.media.regular import head_of, is_regular


def float_wav(samples, rate=8000):
    """The bytes of a WAV of 32-bit floats."""
    data = np.asarray(samples, "<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    return b"RIFF" + struct.pack("<I", 4 + len(form) + 8 + len(data)) + b"WAVE" + form + b"data" + struct.pack(
        "<I", len(data)
    ) + data  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_only_regular_files_are_opened(tmp_path, suffix):
    pipe, folder, link = tmp_path / f"pipe.{suffix}", tmp_path / f"x.{suffix}", tmp_path / f"link.{suffix}"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / f"s.{suffix}"))
        kinds = {pipe: "a named pipe", folder: "a folder", link: "a named pipe", tmp_path / f"s.{suffix}": "a socket"}
        for path, kind in kinds.items():
            assert not is_regular(path) and head_of(path) == b""
            with pytest.raises(MediaError, match=f"found {kind}") as caught:
                probe(path)
            assert caught.value.reason == "not-media"
            assert probe_file(path)["reason"] == "not-media"
            with pytest.raises(MediaError, match="not-media"):
                read_video(path, 0.0, 1, 8.0, 16)
            with pytest.raises(MediaError, match="not-media"):
                read_audio(path, 0.0, 1.0, 8000)
    with pytest.raises(MediaError, match="a device"):
        probe("/dev/zero")
    with pytest.raises(MediaError, match="unreadable"):
        probe("a\0b.mp4")


def test_whatever_is_raised_leaves_as_a_media_error(plain, monkeypatch):
    with pytest.raises(MediaError, match=f"{plain.name}.*TypeError: seven"), open_media(plain):
        raise TypeError("seven")
    with pytest.raises(UsageError), open_media(plain):
        raise UsageError("of the caller")
    for error in (ZeroDivisionError("by zero"), IndexError("behind"), MemoryError()):
        monkeypatch.setattr("coview.media.decode.read_frames_of", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(MediaError, match=plain.name):
            read_video(plain, 0.0, 1, 8.0, 16)
        monkeypatch.setattr("coview.media.probe.survey", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert "reason" in probe_file(plain)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_a_fault(tmp_path, bad):
    sound = tone(2.0, 8000)[0]
    sound[12000] = bad
    (tmp_path / "a.wav").write_bytes(float_wav(sound))
    with pytest.raises(MediaError, match="not finite") as caught:
        probe(tmp_path / "a.wav")
    assert caught.value.reason == "undecodable"
    with pytest.raises(MediaError, match="not finite"):
        read_audio(tmp_path / "a.wav", 1.2, 0.6, 8000)
    assert read_audio(tmp_path / "a.wav", 0.2, 0.5, 8000).abs().max() > 0.4  # elsewhere it is sound


@pytest.mark.parametrize("suffix", sorted({*FILMS, *SOUNDS} - {"mp3", "flac"}))
def test_a_file_that_lost_its_end_is_refused_or_flagged(tmp_path, whole, suffix):
    """MP3 and FLAC frames come one after the other; theirs are tested below."""
    if suffix not in whole:
        pytest.skip("this PyAV cannot write it")
    data, known = whole[suffix], 0
    (tmp_path / f"whole.{suffix}").write_bytes(data)
    assert "cut-off" not in probe(tmp_path / f"whole.{suffix}").flags
    (tmp_path / f"more.{suffix}").write_bytes(data + bytes(188))
    for k in range(6, 12):
        path = tmp_path / f"{k}.{suffix}"
        path.write_bytes(data[: len(data) * k // 12 - 1])
        try:
            known += "cut-off" in probe(path).flags
        except MediaError:
            known += 1
    assert known >= (6 if suffix not in ("webm", "mkv", "flv") else 3)


def test_pictures_and_mp3_that_lost_their_end(tmp_path, whole):
    for suffix in ("gif", "mp3"):
        path = tmp_path / f"half.{suffix}"
        path.write_bytes(whole[suffix][: len(whole[suffix]) * 2 // 3])
        try:
            assert "cut-off" in probe(path).flags
        except MediaError as error:
            assert error.reason in {"truncated", "undecodable"}


def test_a_size_that_is_not_known_yet_is_no_cut_off_file(tmp_path):
    data = bytearray(float_wav(tone(1.0, 8000)[0]))
    data[4:8] = b"\xff" * 4
    (tmp_path / "live.wav").write_bytes(data)
    assert "cut-off" not in probe(tmp_path / "live.wav").flags


def test_reading_from_the_beginning_gives_what_seeking_gives(tmp_path):
    frames = noise_pictures(60, 48)
    path = write(
        tmp_path / "a.mp4", picture_times=[k / 25 for k in range(60)], pictures=frames,
        sound=np.random.default_rng(0).normal(0, 0.1, (1, 44100 * 2)).astype(np.float32), options={"g": "12"},
    )  # fmt: skip
    right = read_video(path, 1.5, 4, 25.0, 48), read_audio(path, 1.2, 0.5, 16000)
    assert probe(path).sequential == frozenset()
    cuts = [
        (VideoCut(start=1.5, count=4, fps=25.0, size=48), None),
        (None, AudioCut(start=1.2, seconds=0.5, sample_rate=16000)),
    ]
    [[(pictures, _), (_, sound)]] = read_samples(path, [cuts], sequential=("video", "audio"))
    assert pictures.equal(right[0]) and np.allclose(sound.waveform, right[1], atol=2e-2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_that_are_renewed_piece_by_piece(tmp_path, suffix):
    """Live streams send no key frames but columns of them: a whole picture comes only a period later."""
    options = {"bf": "0", "x264-params": "intra-refresh=1:keyint=25:scenecut=0"}
    times, frames = [k / 25 for k in range(75)], noise_pictures(75, 96)
    path = write(tmp_path / f"a.{suffix}", picture_times=times, pictures=frames, options=options)
    assert probe(path).sequential == frozenset()
    everything = read_video(path, 0.0, 75, 25.0, 96)
    for first in (3, 26, 40, 60):
        assert read_video(path, first / 25, 4, 25.0, 96).equal(everything[:, first : first + 4])


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_seeking_to_another_place_is_noticed(tmp_path, monkeypatch, kind):
    """A container that answers with what lies half a second later."""
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 88200)).astype(np.float32)
    times, frames = [k / 25 for k in range(50)], noise_pictures(50, 48)
    path = write(
        tmp_path / "a.mkv", picture_times=times, pictures=frames, sound=sound, options={"g": "12"},
        codecs=("libx264", "flac"),
    )  # fmt: skip
    heard = read_audio(path, 1.2, 0.3, 16000)
    if kind == "audio":
        right = sounds.read_sound
        monkeypatch.setattr(access, "read_sound", lambda media, cut: right(media, replace(cut, start=cut.start - 0.5)))
    else:
        look = frames_module.shown_together

        def late(media, cuts, convert):
            return look(media, [[time - 0.5 for time in cut] for cut in cuts], convert)

        monkeypatch.setattr("coview.media.probe.shown_together", late)
    assert probe(path).sequential == {kind}
    monkeypatch.undo()
    assert read_audio(path, 1.2, 0.3, 16000).equal(heard)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("empty", ["picture", "sound"])
def test_a_track_without_anything_in_it_is_as_good_as_none(tmp_path, suffix, empty):
    path = tmp_path / f"a.{suffix}"
    if empty == "sound":
        pictures = {"picture_times": [k / 25 for k in range(25)], "pictures": noise_pictures(25)}
        write(path, **pictures, sound=np.zeros((1, 0), np.float32))
    else:
        write(path, picture_times=[], pictures=noise_pictures(1)[:0], sound=tone(1.0, 44100))
    facts = probe(path)
    assert facts.duration == pytest.approx(1.0, abs=0.05)
    assert facts.flags == (("no-audio",) if empty == "sound" else ("no-video",))


def test_films_of_one_frame_odd_sides_and_covers(tmp_path):
    one = write(tmp_path / "one.mp4", picture_times=[0.0], pictures=noise_pictures(1))
    assert (probe(one).video.frames, probe(one).sequential) == (1, frozenset())
    assert read_video(one, 0.0, 3, 25.0, 32).shape == (3, 3, 32, 32)
    odd = write(tmp_path / "odd.mkv", picture_times=[0.0, 0.04], pictures=noise_pictures(2, 63), codecs=("ffv1", "aac"))
    assert probe(odd).video.width == 63 and read_video(odd, 0.0, 2, 25.0, 32).shape == (3, 2, 32, 32)
