"""HHA of made planes: a floor, a wall, a tilted camera, what is unknown, a batch, and the view of a file."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d, pad
from torch.testing import assert_close

from coview.data.hha import gravity_of, hha
from coview.data.normals import normals_of, rays_of
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
    """Return a floor 1.5 m below a camera that looks `tilt` radians down at a wall 4 m away: depth (SIDE, SIDE), where
    it is the floor, and gravity (1, 3).
    """
    sine, cosine = math.sin(tilt), math.cos(tilt)
    floor, wall = plane((0.0, -cosine, -sine), 1.5), plane((0.0, sine, -cosine), 4.0)
    ground = (floor > 0) & ((floor < wall) | (wall == 0))
    return torch.where(ground, floor, wall), ground, torch.tensor([[0.0, cosine, sine]])


def test_a_wall_is_upright_and_a_floor_is_flat_ground():
    wall, floor = hha(torch.stack([plane((0.0, 0.0, -1.0), 2.0), plane((0.0, -1.0, 0.0), 1.5)]), FOCAL)
    assert_close(wall[0], torch.full((SIDE, SIDE), 0.5))
    assert_close(wall[2], torch.full((SIDE, SIDE), math.pi / 2), rtol=0, atol=1e-3)
    height = (2.0 * (STEPS[-1] - STEPS)).float()[:, None].expand(SIDE, SIDE)
    assert_close(wall[1], height, rtol=0, atol=1e-4)
    known = floor[0] > 0
    assert 2000 < int(known.sum()) < SIDE**2 / 2 and not floor[:, : SIDE // 2].any()  # the upper half sees no floor
    assert_close(floor[1][known], torch.zeros(int(known.sum())), rtol=0, atol=1e-3)
    assert_close(floor[2][known], torch.full((int(known.sum()),), math.pi), rtol=0, atol=1e-4)


@pytest.mark.parametrize("tilt", [-0.1, 0.0, 0.3])
def test_gravity_is_found_when_the_camera_is_tilted(tilt):
    depth, ground, gravity = room(tilt)
    normals, known = normals_of(depth[None], FOCAL)
    corner = max_pool2d((ground[None].float().diff(dim=1) != 0).float(), 7, 1, 3) > 0
    near = pad(corner, (0, 0, 0, 1))  # the planes of these pixels go through points of both surfaces
    assert_close(gravity_of(normals, known & ~near), gravity, rtol=0, atol=1e-5)
    # At the corner a normal that still counts as level or upright is at most 15 degrees off.
    bound = near.sum() / known.sum() * math.sin(math.radians(15))
    found = gravity_of(normals, known)
    assert (found - gravity).norm() < bound < 0.025
    disparity, height, angle = hha(depth[None], FOCAL, gravity)[0]
    there = known[0] & ~near[0]
    floor, wall = there & ground, there & ~ground
    assert min(int(floor.sum()), int(wall.sum())) > 500
    assert_close(disparity[there], (1 / depth[there]).float())
    assert_close(angle[floor], torch.full_like(angle[floor], math.pi), rtol=0, atol=1e-4)
    assert_close(angle[wall], torch.full_like(angle[wall], math.pi / 2), rtol=0, atol=1e-4)
    assert height[floor].max() < 1e-4
    below = torch.einsum("chw,c->hw", depth * rays_of((SIDE, SIDE), FOCAL), gravity[0].double())
    assert_close(height[wall], (1.5 - below)[wall].float(), rtol=0, atol=1e-4)
    assert_close(hha(depth[None], FOCAL), hha(depth[None], FOCAL, found), rtol=0, atol=1e-5)


def test_what_is_unknown_is_0_and_maps_do_not_touch_each_other():
    holed = room()[0].clone()
    holed[10:14, 10:14] = 0
    both = torch.stack([holed, torch.zeros(SIDE, SIDE, dtype=torch.float64)])
    found = hha(both, FOCAL)
    assert found.isfinite().all() and not found[0, :, 10:14, 10:14].any() and not found[1].any()
    assert_close(found[:1], hha(both[:1], FOCAL), rtol=0, atol=1e-5)


def test_a_crop_keeps_height_and_angle(tmp_path):
    np.save(tmp_path / "depth.npy", room()[0].float().numpy())
    whole = hha(room()[0][None].float(), FOCAL)[0]
    crop = Crop(((0.25, 1.0),), 0.0, 1.0)
    left, top, right, bottom = crop.pixels(SIDE, SIDE)
    view = DepthView(size=SIDE // 2, margin=1.0, form="hha", focal=FOCAL)
    values, _ = view.load(None, tmp_path / "depth.npy", 0.0, crop)
    assert values.shape == view.raw_shape == (3, 1, SIDE // 2, SIDE // 2)
    assert_close(values[:, 0], whole[:, top:bottom, left:right], rtol=0, atol=1e-4)


def test_a_focal_length_is_above_0():
    with pytest.raises(ValueError, match="focal"):
        DepthView(form="hha", focal=0.0)


def test_no_statistics_of_pictures_are_taken_for_hha():
    mean, deviation = DepthView(form="hha", normalise="statistics").statistics
    assert mean.tolist() == [0, 0, 0] and deviation.tolist() == [1, 1, 1]
    assert DepthView(normalise="none").statistics is None
