"""Tracks of made films: what is still, panned, cut or lost gives none; a moving square gives its box, in seconds."""

from collections import Counter

import numpy as np
import pytest

from coview.errors import UsageError
from coview.media import motion
from coview.media.motion import fullest, motions
from coview.media.track_finding import TrackSettings, find_tracks, moving_square

pytest.importorskip("cv2", reason="needs the extra tracking")

SIDE, WIDE, BOX = 180, 260, 90
SETTINGS = TrackSettings(seconds=0.5)


def texture(height, width, seed, cell):
    grain = np.random.default_rng(seed).integers(0, 256, (height // cell, width // cell, 3), dtype=np.uint8)
    return np.kron(grain, np.ones((cell, cell, 1), np.uint8))


GROUND, THING = texture(SIDE, WIDE + 190, 0, 15), texture(BOX, BOX, 1, 9)  # 40 % of the corners are the thing's


def picture(left=None, pan=0):
    made = GROUND[:, pan : pan + WIDE].copy()
    if left is not None:
        made[40 : 40 + BOX, left : left + BOX] = THING
    return made


def grey(made):
    return motion.opencv().cvtColor(made, motion.opencv().COLOR_RGB2GRAY)


def judged(before, after, **changes):
    return moving_square(grey(before), grey(after), 0.1, TrackSettings(**changes))


def test_a_still_picture_a_pan_and_too_few_points_are_no_tracks():
    assert judged(picture(), picture()) == "still"
    assert judged(picture(pan=0), picture(pan=3)) == "camera"
    assert judged(picture(30), picture(33), least=0.0, most=0.05) == "camera"
    flat = np.full((SIDE, WIDE, 3), 90, np.uint8)
    assert judged(flat, flat) == "few-points"
    assert len(motions(grey(flat), grey(flat))[0]) == 0


@pytest.mark.parametrize("pan", [0, 2])
def test_a_moving_square_is_what_the_window_covers(pan):
    """Also where the camera moves with it, and then by itself alone."""
    left, top = judged(picture(30), picture(34, pan))
    assert abs(left - 34) <= 11 and abs(top - 40) <= 11


def test_the_fullest_square_is_inside_and_in_the_middle_of_equals():
    points = np.array([[255.0, 170.0]], np.float32)
    assert fullest(points, 90, WIDE, SIDE) == (WIDE - 90, SIDE - 90)
    left, top = fullest(np.array([[130.0, 90.0]], np.float32), 90, WIDE, SIDE)
    assert abs(left - 85) <= 6 and abs(top - 45) <= 6


def film(rate, seconds=0.9, speed=40.0, scale=2, change=None):
    """Yield the frames of a square that goes right, the whole picture `scale` times as large as the small one."""
    for number in range(round(seconds * rate)):
        second = number / rate
        shown = picture(20 + round(speed * second)) if change is None else change(second)
        yield (
            second,
            lambda shown=shown: shown,
            lambda shown=shown: np.kron(shown, np.ones((scale, scale, 1), np.uint8)),
        )


@pytest.mark.parametrize("rate", [12.5, 30.0, 59.94])
def test_a_track_is_said_in_seconds_at_any_rate(rate):
    skipped = Counter()
    track = next(find_tracks(film(rate), SETTINGS, skipped))
    assert abs(track.end - track.start - 0.5) <= 1 / rate + 0.051 and not skipped["lost"]
    moved = 2 * 40 * (track.end - track.start)  # in pixels of the whole picture
    assert abs(track.last_box[0] - track.first_box[0] - moved) <= 12 and track.first.shape == (180, 180, 3)
    assert all(box[2] - box[0] == box[3] - box[1] == 180 for box in (track.first_box, track.last_box))
    assert np.array_equal(track.last.shape, track.first.shape)


def test_no_track_goes_over_a_cut_or_the_end():
    other = 255 - picture()
    skipped = Counter()
    cut = film(30, change=lambda second: picture(20 + round(40 * second)) if second < 0.35 else other)
    assert not list(find_tracks(cut, SETTINGS, skipped)) and skipped["cut"] == 1
    skipped = Counter()
    assert not list(find_tracks(film(30, seconds=0.4), SETTINGS, skipped)) and skipped == Counter(end=1)
    assert not list(find_tracks(film(30, seconds=0.03), SETTINGS, skipped))  # one frame


@pytest.mark.parametrize("later", [0.06, 0.4])  # between the two frames that tell what moves, and on the way
def test_no_track_goes_over_a_change_of_the_frames_size(later):
    narrow = film(30, change=lambda second: picture(20 + round(40 * second))[:, : WIDE - 80 * (second > later)])
    skipped = Counter()
    assert all(track.start > later for track in find_tracks(narrow, TrackSettings(seconds=0.7), skipped))
    assert skipped["cut"] == (later > 0.3)
    frames = (frame for scale in (2, 1) for frame in film(30, scale=scale) if (frame[0] > later) == (scale == 1))
    assert all(
        track.start > later for track in find_tracks(frames, TrackSettings(seconds=0.7), Counter())
    )  # another resolution, the same shape


@pytest.mark.parametrize(
    "changes",
    [{"seconds": 0.0}, {"seconds": float("nan")}, {"window": 0.0}, {"least": 0.8}, {"points": 3}, {"side": 8}],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match="tracks need"):
        TrackSettings(**changes)


def test_without_opencv_or_its_tracker_the_extra_is_named(monkeypatch):
    class Plain:
        __version__ = "4.10.0"

    def missing(name):
        raise ImportError("No module named 'cv2'")

    for load, said in ((missing, "cannot be imported"), (lambda name: Plain, r"4\.10\.0 has no KCF")):
        motion.opencv.cache_clear()
        monkeypatch.setattr(motion.importlib, "import_module", load)
        with pytest.raises(UsageError, match=rf"{said}.*\n?.*coview\[tracking\]"):
            motion.opencv()
    monkeypatch.undo()
    motion.opencv.cache_clear()
