"""HHA of made planes: a floor, a wall, a tilted camera, what is unknown, a batch, and the view of a file."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.data.hha import gravity_of, hha
from coview.data.normals import normals_of
from coview.data.views import DepthView
from coview.media.cuts import Crop

FOCAL = 0.8
SIDE = 96  # in coarser maps a floor's neighbours lie too far apart
STEPS = (torch.arange(SIDE, dtype=torch.float64) + 0.5 - SIDE / 2) / (FOCAL * SIDE)


def plane(facing, away):
    """Return the depth (SIDE, SIDE) of a plane n.X = -away; 0 where it is behind the camera, or far."""
    x, y, z = facing
    depth = -away / (x * STEPS[None] + y * STEPS[:, None] + z)
    return torch.where((depth > 0) & (depth < 20), depth, 0.0)


def room(tilt=0.0):
    """Return the depth (SIDE, SIDE) of a floor 1.5 m below a camera that looks `tilt` radians down at a wall 4 m away."""
    sine, cosine = math.sin(tilt), math.cos(tilt)
    both = [plane((0.0, -cosine, sine), 1.5), plane((0.0, -sine, -cosine), 4.0)]
    return torch.stack([torch.where(each > 0, each, torch.inf) for each in both]).amin(0)


def test_a_wall_is_upright_and_a_floor_is_flat_ground():
    wall, floor = hha(torch.stack([plane((0.0, 0.0, -1.0), 2.0), plane((0.0, -1.0, 0.0), 1.5)]), FOCAL)
    assert_close(wall[0], torch.full((SIDE, SIDE), 0.5))
    assert_close(wall[2], torch.full((SIDE, SIDE), math.pi / 2), rtol=0, atol=1e-3)
    height = (2.0 * (STEPS[-1] - STEPS)).float()[:, None].expand(SIDE, SIDE)
    assert_close(wall[1], height, rtol=0, atol=1e-4)
    known = floor[0] > 0
    assert 2000 < int(known.sum()) < SIDE**2 / 2 and not floor[:, : SIDE // 2].any()  # the upper half sees no floor
    assert_close(floor[1][known], torch.zeros(int(known.sum())), rtol=0, atol=1e-3)
    assert_close(floor[2][known], torch.full((int(known.sum()),), math.pi), rtol=0, atol=2e-3)


@pytest.mark.parametrize("tilt", [-0.2, 0.0, 0.3])
def test_gravity_is_found_when_the_camera_is_tilted(tilt):
    depth = room(tilt)[None]
    down = gravity_of(*normals_of(depth, FOCAL))
    assert_close(down, torch.tensor([[0.0, math.cos(tilt), -math.sin(tilt)]]), rtol=0, atol=1e-3)
    found = hha(depth, FOCAL)
    assert_close(found, hha(depth, FOCAL, down), rtol=0, atol=1e-5)
    near = (found[:, 2] - math.pi).abs() < 0.05  # the floor
    assert near.any() and found[:, 1][near].abs().max() < 0.01


def test_what_is_unknown_is_0_and_maps_do_not_touch_each_other():
    holed = room()
    holed[10:14, 10:14] = 0
    both = torch.stack([holed, torch.zeros(SIDE, SIDE, dtype=torch.float64)])
    found = hha(both, FOCAL)
    assert found.isfinite().all() and not found[0, :, 10:14, 10:14].any() and not found[1].any()
    assert_close(found[:1], hha(both[:1], FOCAL), rtol=0, atol=1e-5)


def test_a_crop_keeps_height_and_angle(tmp_path):
    np.save(tmp_path / "depth.npy", room().float().numpy())
    whole = hha(room()[None].float(), FOCAL)[0]
    crop = Crop(((0.25, 1.0),), 0.0, 1.0)
    left, top, right, bottom = crop.pixels(SIDE, SIDE)
    view = DepthView(size=SIDE // 2, margin=1.0, form="hha", focal=FOCAL)
    values, _ = view.load(None, tmp_path / "depth.npy", 0.0, crop)
    assert values.shape == view.raw_shape == (3, 1, SIDE // 2, SIDE // 2)
    assert_close(values[:, 0], whole[:, top:bottom, left:right], rtol=0, atol=1e-4)


def test_a_focal_length_is_above_0():
    with pytest.raises(ValueError, match="focal"):
        DepthView(form="hha", focal=0.0)
