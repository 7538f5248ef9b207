"""Tracks of a film: a square around what moves, and where a tracker finds it a second later.

Wang & Gupta, ICCV 2015 (arXiv 1505.00687): where between a quarter and three quarters of the points move by themselves
(fewer are noise, more the camera), the square with most of them is followed by KCF (Henriques et al. 2015) for 30
frames. Everything is said in seconds and in shares of the film's short side, so that any rate and size will do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.media.motion import Grey, fullest, motions, opencv

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the film as it is shown
Picture = NDArray[np.uint8]  # (H, W, 3)
Frame = tuple[float, Callable[[], Picture], Callable[[], Picture]]  # second, and what makes a small and the whole one

_CUT, _SUDDEN = 0.1, 3.0  # mean change of brightness, of full scale, and how many times the one before
_LEFT = 0.25  # share of its side by which a box may lie outside at its end: it is moved back inside


@dataclass(frozen=True, kw_only=True)
class TrackSettings:
    """Which tracks are looked for; the defaults are the paper's, in seconds and shares."""

    seconds: float = 1.0  # from the first patch to the last: 30 frames
    window: float = 0.5  # side of the patch, of the film's short side: 227 of 448 pixels
    look: float = 0.1  # s between the two frames that tell what moves
    speed: float = 0.035  # least of a point that moves, short sides per second: half a pixel of 448 in a frame
    least: float = 0.25  # share of the points that has to move
    most: float = 0.75  # share beyond which it is the camera
    points: int = 40  # fewest points of which a share says something
    rate: float = 30.0  # frames per second that are looked at, at most
    side: int = 180  # short side in pixels at which motion and tracks are looked for

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in (self.seconds, self.look, self.speed, self.rate)):
            raise ValueError("tracks need finite seconds, look, speed and rate > 0")
        if self.points < 4 or self.side < 64:
            raise ValueError("tracks need points >= 4 and side >= 64")
        if not 0.1 <= self.window <= 1 or not 0 <= self.least <= self.most <= 1:
            raise ValueError("tracks need a window of 0.1 to 1 short sides, and 0 <= least <= most <= 1")


@dataclass(frozen=True, kw_only=True)
class Track:
    """What was followed: both seconds, both boxes, and what they hold, squares uint8 (S, S, 3)."""

    start: float
    end: float
    first_box: Box
    last_box: Box
    first: Picture
    last: Picture


@dataclass(kw_only=True)
class _Running:
    tracker: Any
    start: float
    box: Box
    patch: Picture
    shape: tuple[int, ...]  # of the whole picture


def find_tracks(frames: Iterable[Frame], settings: TrackSettings, skipped: Counter[str]) -> Iterator[Track]:
    """Yield the tracks of a film, one after the other, and count in `skipped` why moments gave none.

    "still": too little moves; "camera": too much, or it is the camera alone; "few-points": nothing to follow; "lost":
    the tracker lost it or it left the picture; "cut": another shot began, or frames of another size; "end": the film
    ended before it did.
    """
    anchor: tuple[float, Grey] | None = None
    running: _Running | None = None
    before: NDArray[np.float32] | None = None
    cv2 = opencv()
    change, latest, again = 0.0, -np.inf, -np.inf
    shape: tuple[int, ...] = ()
    for second, shrunk, whole in frames:
        if second - latest < 0.9 / settings.rate:
            continue
        latest, small = second, shrunk()
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        brightness = _coarse(grey)
        was, change = change, 0.0 if before is None else float(np.abs(brightness - before).mean()) / 255
        before, resized, shape = brightness, grey.shape != shape, grey.shape
        if resized or change > max(_CUT, _SUDDEN * was):
            skipped["cut"] += running is not None
            anchor, running = (second, grey), None
        elif running is not None:
            ok, (left, top, wide, _) = running.tracker.update(small)
            corner = _inside(left, top, wide, grey) if ok else None
            if corner is None:
                skipped["lost"] += 1
            elif second < running.start + settings.seconds - 0.5 / settings.rate:
                continue
            else:
                picture = whole()
                if picture.shape != running.shape:
                    skipped["cut"] += 1
                else:
                    box = _enlarged(corner, grey, picture, running.patch.shape[0])
                    yield Track(
                        start=running.start, end=second, first_box=running.box, last_box=box, first=running.patch,
                        last=_cut_out(picture, box),
                    )  # fmt: skip
            anchor, running = (second, grey), None
        elif anchor is None:
            anchor = (second, grey) if second >= again else None
        elif second - anchor[0] >= settings.look - 0.5 / settings.rate:
            place = moving_square(anchor[1], grey, second - anchor[0], settings)
            anchor = None
            if isinstance(place, str):
                skipped[place] += 1
                again = second + settings.seconds / 2
                continue
            side, picture = round(settings.window * min(grey.shape)), whole()
            tracker = cv2.TrackerKCF_create()
            tracker.init(small, (*place, side, side))  # it needs colours, and may have them in any order
            large = round(side * min(picture.shape[:2]) / min(grey.shape))
            box = _enlarged(place, grey, picture, large)
            running = _Running(
                tracker=tracker, start=second, box=box, patch=_cut_out(picture, box), shape=picture.shape
            )  # fmt: skip
    skipped["end"] += running is not None


def moving_square(before: Grey, after: Grey, seconds: float, settings: TrackSettings) -> tuple[int, int] | str:
    """Return left and top, in pixels of `after`, of the square with most of what moves by itself; or why there is none.

    The reason is "few-points", "still" or "camera".
    """
    points, own, camera = motions(before, after)
    if len(points) < settings.points:
        return "few-points"
    least = settings.speed * seconds * min(after.shape)
    moves = np.linalg.norm(own, axis=1) > least
    if moves.mean() > settings.most:
        return "camera"
    if moves.mean() < settings.least:
        return "camera" if np.median(np.linalg.norm(camera, axis=1)) > least else "still"
    height, width = after.shape
    return fullest(points[moves], round(settings.window * min(after.shape)), width, height)


def _coarse(grey: Grey) -> NDArray[np.float32]:
    small: NDArray[np.float32] = opencv().resize(grey, (16, 16), interpolation=opencv().INTER_AREA).astype(np.float32)
    return small


def _inside(left: float, top: float, side: float, grey: Grey) -> tuple[int, int] | None:
    """Return a box's corner inside of the picture; None where too much of it has left."""
    place = []
    for at, room in ((left, grey.shape[1]), (top, grey.shape[0])):
        if not -_LEFT * side <= at <= room - side + _LEFT * side:
            return None
        place.append(round(min(max(at, 0), room - side)))
    return place[0], place[1]


def _enlarged(place: tuple[int, int], grey: Grey, picture: Picture, side: int) -> Box:
    """Return a square of `side` pixels of the whole picture whose corner is `place` in the small one."""
    left, top = (
        min(max(round(at * picture.shape[axis] / grey.shape[axis]), 0), picture.shape[axis] - side)
        for at, axis in zip(place, (1, 0), strict=True)
    )
    return left, top, left + side, top + side


def _cut_out(picture: Picture, box: Box) -> Picture:
    left, top, right, bottom = box
    return np.ascontiguousarray(picture[top:bottom, left:right])
