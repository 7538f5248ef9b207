"""Stored pictures: what is written is read, and a damaged one is named."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from coview.errors import MediaError
from coview.media import jpeg

RAMP = np.stack([np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))] * 3, 2)


def test_what_is_written_is_read(tmp_path):
    data = jpeg.encode(RAMP, 90)
    picture = jpeg.decode(data, 60, 40, "here")
    assert np.abs(picture.astype(int) - RAMP).max() <= 4
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(picture, np.asarray(Image.open(tmp_path / "a.jpg")))  # as other readers see it


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged"),
        (b"no picture at all", "damaged"),
        (jpeg.encode(RAMP, 90)[:-40], "damaged"),
        (jpeg.encode(RAMP[:, :48], 90), "48 x 40, not 60 x 40"),
    ],
)
def test_what_cannot_be_read_is_named(data, why):
    with pytest.raises(MediaError, match=why) as error:
        jpeg.decode(data, 60, 40, "shard-00000.tar")
    assert "shard-00000.tar" in str(error.value)


def test_a_header_that_promises_millions_of_pixels_allocates_nothing():
    data = bytearray(jpeg.encode(RAMP, 90))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65500).to_bytes(2, "big") * 2
    tracemalloc.start()
    with pytest.raises(MediaError, match="65500 x 65500, not 60 x 40"):
        jpeg.decode(bytes(data), 60, 40, "here")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
