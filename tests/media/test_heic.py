"""HEIC: tiles become one still, upright; what is damaged is named."""

import av
import numpy as np
import pytest
from heic import write_heic

from coview.errors import MediaError
from coview.media.decode import read_video
from coview.media.probe import probe
from coview.media.stills import read_whole_still

pytestmark = pytest.mark.skipif("libx265" not in av.codec.codecs_available, reason="this PyAV has no encoder libx265")
Y, X = np.mgrid[:150, :200]
PICTURE = np.stack([X, Y, np.full_like(X, 60)], -1).astype(np.uint8)
UPRIGHT = {  # (irot, imir) -> what is shown; irot turns counter-clockwise, then imir 0 exchanges top and bottom
    (0, None): lambda p: p,
    (1, None): lambda p: np.rot90(p),
    (2, None): lambda p: np.rot90(p, 2),
    (3, 0): lambda p: np.rot90(p, 3)[::-1],
    (0, 1): lambda p: p[:, ::-1],
    (1, 1): lambda p: np.rot90(p)[:, ::-1],
}


@pytest.mark.parametrize(("turn", "mirror"), UPRIGHT)
def test_a_grid_of_tiles_is_one_still(tmp_path, turn, mirror):
    path = write_heic(tmp_path / "a.heic", PICTURE, 64, turn=turn, mirror=mirror)
    right = UPRIGHT[turn, mirror](PICTURE)
    facts = probe(path)
    assert (facts.video.height, facts.video.width) == right.shape[:2] and facts.duration == 0.0
    assert facts.video.codec == "heic" and "still" in facts.flags and "wrong-extension" not in facts.flags
    shown = read_whole_still(path, 150).astype(int)
    assert shown.shape == right.shape and abs(shown - right).mean() < 4
    assert read_video(path, 0.0, 2, 8.0, 64).shape == (3, 2, 64, 64)


def test_damaged_ones_are_named(tmp_path):
    data = write_heic(tmp_path / "a.heic", PICTURE, 64).read_bytes()
    at = data.index(b"idat") + 4
    cases = {
        "half": data[: len(data) // 2],
        "headless": data[:40],
        "large": data[: at + 4] + b"\xff\xff\xff\xff" + data[at + 8 :],
        "tiles": data[: at + 2] + b"\x20\x20" + data[at + 4 :],
        "no-hvc": data.replace(b"hvcC", b"free"),
    }
    for name, damaged in cases.items():
        (tmp_path / f"{name}.heic").write_bytes(damaged)
        with pytest.raises(MediaError, match=name):
            probe(tmp_path / f"{name}.heic")
