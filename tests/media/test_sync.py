"""Picture and sound of one sample belong together: flashes and clicks that coincide are found together."""

import numpy as np
import pytest
import torch
from making import SIDE, write

from coview.media.container import open_media
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_clip
from coview.media.encode import write_clip

RATE = 44100
EVENTS = (0.9, 1.7, 2.6)  # seconds of a common clock
LENGTH = 3.2
NTSC = 30000 / 1001
FRAMES = {
    "25": np.arange(0, LENGTH, 1 / 25),
    "29.97": np.arange(0, LENGTH, 1 / NTSC),
    "30": np.arange(0, LENGTH, 1 / 30),
    "variable": np.cumsum(np.random.default_rng(3).uniform(0.015, 0.06, 85)),
}


def flash_and_click(path, times, video_from=0.0, audio_from=0.0, **more):
    """At every event the first frame at or after it is white, and the sound clicks at that frame's time.

    Each stream holds only what lies after its own start. Returns the times of the clicks.
    """
    times = np.asarray(times) - times[0]
    times = times[times >= video_from - 1e-9]
    white = [int(np.searchsorted(times, event)) for event in EVENTS]
    pictures = np.zeros((len(times), SIDE, SIDE, 3), np.uint8)
    pictures[white] = 255
    sound = np.zeros((1, round((LENGTH - audio_from) * RATE)), np.float32)
    for frame in white:
        at = round((times[frame] - audio_from) * RATE)
        sound[0, at : at + 60] = 0.8 * np.cos(np.arange(60) * 0.9) * np.hanning(60)
    write(path, picture_times=times, pictures=pictures, sound=sound, sound_start=audio_from, rate=RATE, **more)
    return [times[frame] for frame in white]


def check(path, events, origin=0.0):
    """Cut around every event; the flash is the right frame, and the click within 2 ms of it.

    MPEG-TS does not tell the run-up of its encoders, so that both come later by the same time.
    """
    apart = path.suffix == ".ts"
    for event in events:
        start = event - origin - 0.3
        clip = read_clip(
            path,
            VideoCut(start=start, count=300, fps=500.0, size=16),
            AudioCut(start=start, seconds=0.6, sample_rate=16000),
        )
        bright = clip.video.float().mean(dim=(0, 2, 3)) > 128
        flash = int(bright.int().argmax()) / 500
        click = float(clip.audio.abs().argmax() - 30 * 16000 / RATE) / 16000
        assert bool(bright.any())
        assert abs(click - flash) <= 0.0035  # the flash is found on a grid of 2 ms; a frame lasts at least 15
        if not apart:
            assert abs(flash - 0.3) <= 0.0035
            assert abs(click - 0.3) <= 0.002


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize("rate", FRAMES)
def test_flash_and_click_coincide(tmp_path, rate, suffix):
    path = tmp_path / f"a.{suffix}"
    events = flash_and_click(path, FRAMES[rate])
    check(path, events, origin=first_instant(path))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("video_from", "audio_from"), [(0.0, 0.5), (0.4, 0.0), (0.7, 0.2)])
def test_flash_and_click_coincide_where_the_streams_start_apart(tmp_path, suffix, video_from, audio_from):
    path = tmp_path / f"a.{suffix}"
    events = flash_and_click(path, FRAMES["25"], video_from, audio_from)
    # The clock starts with the earlier stream; MP4 writes a common delay into its edit list and keeps it as silence.
    check(path, events, origin=first_instant(path))


def first_instant(path):
    """Second 0 of the file's clock, on the clock of the events."""
    with open_media(path) as media:
        return media.origin


def test_the_written_clip_keeps_flash_and_click_together(tmp_path):
    for rate, fps in ((16000, 16.0), (44100, 25.0), (48000, NTSC)):
        frames = torch.zeros(3, round(3 * fps), SIDE, SIDE, dtype=torch.uint8)
        waveform = torch.zeros(3 * rate)
        events = []
        for event in (0.9, 1.7):
            frame = round(event * fps)
            frames[:, frame] = 255
            at = round(frame / fps * rate)
            width = round(60 * rate / RATE)
            waveform[at : at + width] = 0.8 * torch.cos(torch.arange(width) * 0.9) * torch.hann_window(width)
            events.append(frame / fps)
        write_clip(tmp_path / "a.mp4", frames, fps, waveform, rate)
        check(tmp_path / "a.mp4", events)
