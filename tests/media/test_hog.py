"""Histograms of oriented gradients: the released code's numbers, mirrors, light, grey, and pictures without a cell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.media.hog import gradient_energy, hog, mirrored, pyramid

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "context-discovery.npz")
PICTURE = torch.from_numpy(GOLDEN["image"]).permute(2, 0, 1)[None].double() / 255


def test_numbers_of_the_released_code():
    torch.testing.assert_close(hog(PICTURE)[0], torch.from_numpy(GOLDEN["hog31"]), rtol=0, atol=1e-10)


def test_several_pictures_and_the_mirror():
    one = torch.rand(
        1, 3, 80, 96, generator=torch.Generator().manual_seed(0)
    ).double()  # no gradient between two directions
    both = hog(torch.cat([one, one.flip(3)]))
    torch.testing.assert_close(both[0], hog(one)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(mirrored(both[:1]), both[1:], rtol=0, atol=1e-6)
    torch.testing.assert_close(mirrored(mirrored(both)), both, rtol=0, atol=0)


def test_light_added_changes_nothing_and_grey_is_one_channel():
    exact = (PICTURE * 255 / 512).float()  # nothing is rounded when light is added
    torch.testing.assert_close(hog(exact + 0.25), hog(exact), rtol=0, atol=0)
    grey = PICTURE[:, :1]
    torch.testing.assert_close(hog(grey), hog(grey.expand(-1, 3, -1, -1)), rtol=0, atol=1e-12)


def test_a_plain_picture_has_neither_numbers_nor_energy():
    plain = torch.full((1, 3, 40, 48), 0.7)
    assert hog(plain).shape == (1, 3, 4, 31) and not hog(plain).any()
    assert not gradient_energy(plain).any()


def test_energy_of_a_ramp_is_its_squared_slope():
    ramp = (torch.arange(64.0) * 3 / 255).expand(1, 3, 48, 64)
    torch.testing.assert_close(gradient_energy(ramp)[0], torch.full((4, 6), 9.0), rtol=1e-4, atol=0)


def test_the_grid_rounds_as_the_released_code_does():
    assert hog(torch.rand(1, 3, 44, 43)).shape[1:3] == (4, 3)  # round(5.5) is 6
    with pytest.raises(ValueError, match="fewer than 3 cells"):
        hog(torch.rand(1, 3, 40, 19))


def test_pyramid_halves_in_an_octave_and_holds_a_patch_at_every_size():
    picture = torch.randint(0, 256, (160, 200, 3), dtype=torch.uint8)
    levels = pyramid(picture, patch=8)
    assert [round(level.scale, 3) for level in levels] == [round(2 ** (k / 8), 3) for k in range(9)]
    assert levels[0].cells.shape == (18, 23, 31) and levels[-1].cells.shape[:2] == (8, 10)
    assert all(min(level.cells.shape[:2]) >= 8 and level.energy.shape == level.cells.shape[:2] for level in levels)
    assert not pyramid(picture[:79], patch=8)
