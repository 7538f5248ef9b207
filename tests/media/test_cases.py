"""Odd and damaged files of tests/cases, each with the right answer (FFmpeg's own decoder was the judge)."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from coview.errors import MediaError
from coview.media.container import open_media
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_audio, read_clips, read_samples, read_video
from coview.media.probe import probe
from coview.media.sounds import to_mono

CASES = Path(__file__).parents[1] / "cases"
MEDIA, DAMAGED = CASES / "media", CASES / "damaged"
WIDTH, HEIGHT, FPS = 128, 96, 25.0


def numbers(frames):
    """Return the number of each frame (3, T, H, W), 96 pixels high: eight squares in its middle are its bits."""
    grey = frames.float().mean(0)
    middle = grey.shape[2] / 2
    scale = grey.shape[2] / WIDTH if grey.shape[2] > HEIGHT else 1.0
    columns = [round(middle + (12 * k - 42) * scale) for k in range(8)]
    return [
        sum(1 << k for k, x in enumerate(columns) if picture[46:50, x - 2 : x + 2].mean() > 128) for picture in grey
    ]


def shown(name, start=0.0, count=5, fps=FPS / 3):
    return numbers(read_video(MEDIA / name, start, count, fps, HEIGHT))


def corners(picture):
    """Return the colours of the corners (3, H, W), clockwise from the top left."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    spots = [(4, 4), (4, -8), (-8, -8), (-8, 4)]
    means = [picture[:, y : y + 4, x : x + 4].float().mean((1, 2)) for y, x in spots]
    return [names.get(tuple(int(v > 128) for v in mean), "") for mean in means]


def heard(path):
    """All the sound, decoded from the beginning, and its rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([to_mono(frame) for frame in frames]), frames[0].sample_rate


@pytest.mark.parametrize("name", ["copycut.mp4", "copycut_videoonly.mp4"])
def test_packets_that_an_edit_list_discards_are_not_shown(name):
    facts = probe(MEDIA / name)
    assert (facts.video.frames, facts.video.start) == (42, 0.0)
    with av.open(str(MEDIA / name)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frames = read_video(MEDIA / name, 0.0, 42, FPS, HEIGHT)
    number = numbers(frames)
    assert number == list(range(number[0], number[0] + 42)) and number[0] > 30
    assert abs(frames[:, 0].permute(1, 2, 0).numpy().astype(int) - first[:, 16:112]).mean() < 3
    assert numbers(read_video(MEDIA / name, 1.0, 3, FPS, HEIGHT)) == [number[25], number[26], number[27]]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_second_track_that_ends_later_makes_no_file_a_cut_off_one(suffix):
    facts = probe(MEDIA / f"two_tracks_2nd_longer.{suffix}")
    assert facts.duration == pytest.approx(3.0, abs=0.05) and facts.flags == ()


def test_a_stream_that_begins_between_key_frames():
    """This one never comes to a key frame: what is left of it is its sound."""
    path = MEDIA / "ts_starts_midgop.ts"
    facts = probe(path)
    assert facts.video is None and {"no-video", "lost-video"} <= set(facts.flags)
    assert facts.audio.duration == pytest.approx(2.69, abs=0.05)
    assert read_audio(path, 1.0, 0.5, 16000).abs().max() > 0.01


def test_an_elementary_stream_is_a_film_at_its_nominal_rate():
    facts = probe(MEDIA / "h264raw.h264")
    assert (facts.video.frames, facts.video.fps, facts.duration) == (75, FPS, pytest.approx(3.0))
    assert "sequential-video" in facts.flags and "no-duration" in facts.flags
    assert shown("h264raw.h264") == [0, 3, 6, 9, 12]
    assert shown("h264raw.h264", 2.0) == [50, 53, 56, 59, 62]
    with pytest.raises(MediaError, match="outside"):
        shown("h264raw.h264", 3.5)


def test_frames_of_a_container_without_presentation_times_come_in_the_order_of_showing():
    assert probe(MEDIA / "h264bf.avi").duration == pytest.approx(3.0)
    assert shown("h264bf.avi") == [0, 3, 6, 9, 12]
    assert shown("h264bf.avi", 0.2, 8, FPS) == list(range(5, 13))
    assert shown("h264bf.avi", 2.8, 5, FPS) == [70, 71, 72, 73, 74]
    cuts = [VideoCut(start=start, count=2, fps=FPS, size=HEIGHT) for start in (1.0, 0.4, 2.0)]
    together = read_samples(MEDIA / "h264bf.avi", [[(cut, None)] for cut in cuts])
    assert [numbers(frames) for [(frames, _)] in together] == [[25, 26], [10, 11], [50, 51]]


def test_a_mirror_is_followed():
    path = MEDIA / "mirrored_h.mp4"
    facts = probe(path)
    assert facts.flags == ("mirrored",) and (facts.video.rotation, facts.video.mirrored) == (0, True)
    left, right = (read_video(path, 0.0, 1, FPS, HEIGHT, window)[:, 0] for window in (0.0, 1.0))
    assert corners(left)[::3] == ["green", "white"]
    assert corners(right)[1:3] == ["red", "blue"]


@pytest.mark.parametrize("name", ["sar_container.mkv", "sar_vp9.webm"])
def test_a_pixel_aspect_that_only_the_container_knows(name):
    facts = probe(MEDIA / name)
    assert (facts.video.width, facts.video.height) == (2 * WIDTH, HEIGHT)
    left, right = (read_video(MEDIA / name, 0.0, 1, FPS, HEIGHT, window)[:, 0] for window in (0.0, 1.0))
    assert corners(left)[::3] == ["red", "blue"] and corners(right)[1:3] == ["green", "white"]


def test_a_tiled_avif_is_one_still(tmp_path):
    data = (MEDIA / "grid.avif").read_bytes()
    (tmp_path / "generic.avif").write_bytes(data[:8] + b"mif1" + data[12:])  # the brand among the compatible ones only
    assert probe(tmp_path / "generic.avif").video.width == 256
    facts = probe(MEDIA / "grid.avif")
    assert (facts.video.width, facts.video.height, facts.duration) == (256, 192, 0.0)
    assert facts.flags == ("still",)
    whole = read_video(MEDIA / "grid.avif", 0.0, 1, FPS, 192)
    assert whole.shape == (3, 1, 192, 192)


def test_sound_whose_header_states_a_wrong_byte_rate():
    path = MEDIA / "adpcm.wav"
    facts = probe(path)
    # FFmpeg 8 seeks by the stated rate; FFmpeg 9 finds a block by rounded times, and nothing is to be flagged.
    flagged, apart = ({"audio"}, 0) if av.library_versions["libavformat"][0] < 63 else (set(), 8)
    assert facts.flags == ("no-video", *(f"sequential-{kind}" for kind in flagged)) and facts.sequential == flagged
    everything, rate = heard(path)
    for start in (0.0, 1.05, 2.3):
        got = read_audio(path, start, 0.5, rate).numpy()
        assert in_place(got, everything, round(start * rate), apart)
    with open_media(path, facts.sequential) as media:  # as an index passes it on
        assert media.sequential == flagged
    [[(_, sound)]] = read_samples(path, [[(None, AudioCut(start=1.05, seconds=0.5, sample_rate=rate))]], sequential=[])
    assert in_place(sound.waveform.numpy(), everything, round(1.05 * rate), apart) == (not flagged)


def in_place(sound, everything, start, apart):
    """Tell whether a sound is that of `start`, to so many samples."""
    starts = range(max(0, start - apart), start + apart + 1)
    heard = [everything[at:][: len(sound) - 2 * apart] for at in starts]
    return any(np.allclose(sound[: len(one)], one, atol=1e-4) for one in heard)


def test_a_rate_that_changes_on_the_way():
    path = MEDIA / "rate_midstream.mp3"
    facts = probe(path)
    assert "rate-changes" in facts.flags and facts.audio.duration == pytest.approx(2.08, abs=0.03)
    for k in range(30):  # every cut can be read, over the change too
        cut = AudioCut(start=k * 0.06, seconds=0.25, sample_rate=16000)
        [(_, sound)] = read_clips(path, [(None, cut)])
        assert sound.valid == 4000


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a-025-flip20.mp4", "undecodable"), ("e-006-size.avi", "undecodable"), ("wavrate1.wav", "bad-rate"),
     ("narrow_8192x2.mkv", "too-narrow")],
)  # fmt: skip
def test_damaged_files_are_refused_with_their_names(name, reason):
    with pytest.raises(MediaError, match=name) as caught:
        probe(DAMAGED / name)
    assert caught.value.reason == reason


def test_a_narrow_film_is_refused_where_it_is_read():
    with pytest.raises(MediaError, match="too-narrow"):
        read_video(DAMAGED / "narrow_8192x2.mkv", 0.0, 4, 16.0, 128)


def test_what_passes_the_index_and_fails_where_it_is_cut_says_so():
    path, failed = DAMAGED / "f-001-flip20.mov", 0
    probe(path)
    for k in range(25):
        try:
            read_clips(path, [(VideoCut(start=k * 0.1, count=8, fps=16.0, size=32), None)])
            read_audio(path, k * 0.1, 0.5, 16000)
        except MediaError as error:
            failed += 1
            assert str(path) in str(error)
    assert 0 < failed < 25


@pytest.mark.parametrize("name", ["mirrored_h.mp4", "sar_container.mkv", "sar_vp9.webm", "h264bf.avi"])
def test_another_backend_shows_the_same(name):
    pytest.importorskip("torchcodec", reason="torchcodec is not installed", exc_type=Exception)
    ours, theirs = (read_video(MEDIA / name, 0.4, 3, FPS / 3, HEIGHT, backend=b) for b in ("pyav", "torchcodec"))
    assert (ours.int() - theirs.int()).abs().float().mean() < 3
