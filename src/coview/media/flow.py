"""Optical flow of a film, as a film: where everything goes until the next picture.

By dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), of OpenCV and its
extra `tracking`. Red is the way right, green the way down, in short sides of the picture per second: 128 of 255 is
none, 1 and 255 are `RANGE` and more. Two-stream networks are usually trained on flow of eight bits, compressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.errors import UsageError
from coview.media.motion import opencv

RANGE = 1.5  # short sides per second; 20 pixels of 224 in a frame at 15 per second are 1.34
MIDDLE, _STEP = 128, 127 / RANGE
Picture = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """At which rate and size flow is computed and kept."""

    fps: float = 16.0  # pictures per second, at most
    side: int = 128  # short side in pixels

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000 or not 32 <= self.side <= 4096 or self.side % 2:
            raise UsageError("flow needs fps above 0, and an even side of 32 to 4096 pixels")


def flow_pictures(pictures: Iterable[tuple[float, Picture]], settings: FlowSettings) -> Iterator[tuple[float, Picture]]:
    """Yield (second, picture of the flow from here to the next), sides even; the last repeats the one before.

    Pictures come closer than the rate asks are passed over. A single one, or another size, shows no motion.
    """
    search: Any = None
    cv2 = opencv()
    before: tuple[float, NDArray[np.uint8]] | None = None
    flow: Picture | None = None
    for second, picture in pictures:
        if before is not None and second - before[0] < 0.9 / settings.fps:
            continue
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        if before is not None:
            if before[1].shape == grey.shape:
                search = search or cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
                moved = search.calc(before[1], grey, None)
            else:
                moved = np.zeros((*before[1].shape, 2), np.float32)
            flow = _coloured(moved / (min(before[1].shape) * (second - before[0])))
            yield before[0], flow
        before = second, grey
    if before is not None:
        same = flow is not None and flow.shape[:2] == before[1].shape
        yield before[0], flow if flow is not None and same else _coloured(np.zeros((*before[1].shape, 2), np.float32))


def _coloured(speed: NDArray[np.float32]) -> Picture:
    levels = np.clip(np.rint(speed * _STEP), -127, 127) + MIDDLE
    return np.concatenate([levels, np.full_like(levels[..., :1], MIDDLE)], 2).astype(np.uint8)
