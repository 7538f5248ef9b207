"""What moves in a film by itself: points that go another way than the camera makes them go, and the square they fill.

Wang & Gupta, ICCV 2015 (arXiv 1505.00687), after improved dense trajectories: corners (Shi & Tomasi) are followed
from one frame to a later one (Lucas & Kanade, in pyramids), a homography found by RANSAC is what the camera does, and
what is left of a point's way is its own. By OpenCV, of the extra `tracking`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.errors import UsageError

Grey = NDArray[np.uint8]  # (H, W)
Points = NDArray[np.float32]  # (N, 2), x and y in pixels

_MOST = 400  # corners
_APART = 5  # pixels between two of them
_QUALITY = 0.01  # of a corner, of the best one's
_STEPS = 8  # places of the window along its own side


@functools.cache
def opencv() -> Any:
    """Return OpenCV, made to use one thread: workers already fill the cores.

    Raises:
        UsageError: it is not installed, or has no KCF tracker; names the extra.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise UsageError(
            f"tracks need OpenCV, which cannot be imported ({error}): pip install 'coview[tracking]'"
        ) from error
    if not hasattr(cv2, "TrackerKCF_create"):
        raise UsageError(
            f"OpenCV {cv2.__version__} has no KCF tracker, which is one of its contributed modules: remove it, and pip "
            "install 'coview[tracking]'"
        )
    cv2.setNumThreads(1)
    return cv2


def motions(before: Grey, after: Grey) -> tuple[Points, Points, Points]:
    """Return where corners are in `after`, how far each went by itself, and how far the camera moved it, in pixels.

    All (N, 2) of the corners that were found again; of fewer than four there is no camera, and N is 0.
    """
    cv2, nothing = opencv(), np.zeros((0, 2), np.float32)
    corners = cv2.goodFeaturesToTrack(before, _MOST, _QUALITY, _APART)
    if corners is None or len(corners) < 4:
        return nothing, nothing, nothing
    found, there, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, winSize=(15, 15), maxLevel=3)
    kept = there.reshape(-1) == 1
    start, end = corners.reshape(-1, 2)[kept], found.reshape(-1, 2)[kept]
    camera = cv2.findHomography(start, end, cv2.RANSAC, 0.5)[0] if len(start) >= 4 else None
    if camera is None:
        return nothing, nothing, nothing
    expected = cv2.perspectiveTransform(start[None], camera)[0]
    return end, end - expected, expected - start


def fullest(points: Points, side: int, width: int, height: int) -> tuple[int, int]:
    """Return left and top of the square of `side` pixels, inside of width x height, that holds most points.

    Of several it is the one whose middle lies nearest to that of all points.
    """
    step = max(1, side // _STEPS)
    lefts, tops = (np.unique([*range(0, room - side + 1, step), max(0, room - side)]) for room in (width, height))
    corner = np.stack(np.meshgrid(lefts, tops), -1).reshape(-1, 2)
    inside = ((points >= corner[:, None]) & (points < corner[:, None] + side)).all(-1).sum(1)
    best = corner[inside == inside.max()]
    away = np.linalg.norm(best + side / 2 - points.mean(0), axis=1)
    left, top = best[away.argmin()]
    return int(left), int(top)
