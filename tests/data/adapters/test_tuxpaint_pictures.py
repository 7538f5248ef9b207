"""Pictures of every PNG mode become squares of colour times alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import png
import pytest
import torch

from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.errors import MediaError


@pytest.mark.parametrize(
    ("mode", "pixel", "extra", "expected"),
    [
        (png.RGBA, [10, 20, 30, 40], {}, [10, 20, 30, 40]),
        (png.GREY_ALPHA, [10, 40], {}, [10, 10, 10, 40]),
        (png.RGB, [10, 20, 30], {}, [10, 20, 30, 255]),
        (png.PALETTE, [1], {"palette": bytes([0, 0, 0, 10, 20, 30]), "alpha": bytes([0, 40])}, [10, 20, 30, 40]),
        # A palette without transparency is opaque, not invisible.
        (png.PALETTE, [1], {"palette": bytes([0, 0, 0, 10, 20, 30])}, [10, 20, 30, 255]),
    ],
)
def test_every_mode_becomes_rgba(
    tmp_path: Path, mode: int, pixel: list[int], extra: dict[str, bytes], expected: list[int]
) -> None:
    png.write_png(tmp_path / "one.png", np.full((3, 5, len(pixel)), pixel, np.uint8), mode, **extra)
    picture = read_rgba(tmp_path / "one.png")
    assert picture.shape == (4, 3, 5) and picture.dtype == torch.uint8
    assert picture[:, 1, 2].tolist() == expected


def test_a_file_that_is_no_png_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"not a picture")
    with pytest.raises(MediaError, match=r"one\.png: undecodable"):
        read_rgba(tmp_path / "one.png")


def test_fitting_crops_scales_and_centres() -> None:
    rgba = torch.zeros(4, 40, 60, dtype=torch.uint8)
    rgba[:, 10:20, 5:45] = 255  # a white bar of 40 x 10
    square = fit(rgba, 20)
    assert square.shape == (4, 20, 20)
    solid = square[3] == 1
    assert solid.any(1).nonzero().flatten().tolist() == [7, 8, 9, 10, 11]  # 10 * 20 / 40 rows in the middle
    assert solid.any(0).all()
    assert float(square.sum()) == 4 * 5 * 20


def test_invisible_colour_leaves_no_trace() -> None:
    rgba = torch.zeros(4, 32, 32, dtype=torch.uint8)
    rgba[3, 8:24, 8:24] = 255  # a black square
    loud = rgba.clone()
    loud[:3, loud[3] == 0] = 255  # ... amid invisible white
    for size in (5, 16, 50):
        assert torch.equal(fit(rgba, size), fit(loud, size))


def test_a_black_letter_is_seen_on_the_evaluation_background() -> None:
    rgba = torch.zeros(4, 8, 8, dtype=torch.uint8)
    rgba[3, 2:6, 3:5] = 255
    shown = composite(fit(rgba, 8))
    assert shown.shape == (3, 8, 8)
    assert set(shown.unique().tolist()) == {0.0, 0.5}


def test_a_tiny_and_an_invisible_picture() -> None:
    assert fit(torch.full((4, 1, 7), 255, dtype=torch.uint8), 16).shape == (4, 16, 16)
    with pytest.raises(ValueError, match="visible"):
        fit(torch.zeros(4, 5, 5, dtype=torch.uint8), 16)
