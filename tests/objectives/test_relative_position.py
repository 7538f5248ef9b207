"""Labels and pairs of neighbouring patches, how they are cut and treated, and the projection against aberration."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.data.source import sample_keys
from coview.objectives.relative_position import (
    OFFSETS,
    chroma_projection,
    cut_patches,
    drop_colours,
    grid_corners,
    grid_pairs,
    place,
    shrink,
    shrinkings,
    to_rms,
)

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "relative-position.npz").items()
}
KEYS = sample_keys(0, 0, torch.arange(64))


def test_golden_labels_and_pairs():
    assert [place(*offset) for offset in GOLDEN["offsets_xy"].tolist()] == GOLDEN["labels8"].tolist()
    rows, columns = GOLDEN["grid"].shape
    assert torch.equal(GOLDEN["grid"].flatten(), torch.arange(rows * columns))
    pairs, labels = grid_pairs(rows, columns)
    assert torch.equal(pairs, GOLDEN["pairs"].long())
    assert torch.equal(labels, GOLDEN["pair_labels"].long())


def test_golden_projection():
    projection = chroma_projection(torch.float64)
    assert_close(projection, GOLDEN["chroma_projection"], rtol=0, atol=1e-12)
    assert_close(GOLDEN["rgb"] @ projection, GOLDEN["rgb_projected"], rtol=0, atol=1e-12)


def test_projection_keeps_greys_and_loses_one_axis():
    projection = chroma_projection(torch.float64)
    grey = torch.full((3,), 0.4, dtype=torch.float64)
    assert_close(grey @ projection, grey)
    assert torch.linalg.matrix_rank(projection) == 2
    assert (projection @ torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)).abs().max() < 1e-12


def test_the_two_directions_of_a_pair_add_to_seven_and_a_mirror_exchanges_sides():
    for dx, dy in OFFSETS:
        assert place(dx, dy) + place(-dx, -dy) == 7
    assert [place(-dx, dy) for dx, dy in OFFSETS] == [2, 1, 0, 4, 3, 7, 6, 5]
    with pytest.raises(ValueError):
        place(2, 0)


def test_small_grids():
    assert grid_pairs(1, 1)[0].shape == (0, 2)
    assert len(grid_pairs(2, 2)[0]) == 12
    assert grid_pairs(1, 2)[1].tolist() == [3, 4]


def test_corners_lie_in_the_picture_in_raster_order():
    corners = grid_corners(KEYS, 0, 4, 2, 144, 7, 384 - 96)
    assert corners.shape == (64, 4, 4, 2)
    assert corners.min() == 0
    assert corners.max() <= 288
    still = grid_corners(KEYS, 0, 4, 2, 144, 0, 288)
    assert torch.equal(still - still[:, :, :1], (torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]) * 144).expand_as(still))
    assert set((corners - still).unique().tolist()) == set(range(-7, 8))
    assert still[:, :, 0].max() <= 143


def test_cut_patches_are_slices():
    x = torch.rand(2, 3, 20, 24)
    corners = torch.tensor([[[0, 0], [3, 5]], [[12, 16], [1, 0]]])
    found = cut_patches(x, corners, 8)
    assert torch.equal(found[1], x[0, :, 3:11, 5:13])
    assert torch.equal(found[2], x[1, :, 12:20, 16:24])
    assert cut_patches(x[:0], corners[:0], 8).shape == (0, 3, 8, 8)


def test_shrinking_takes_grain_and_leaves_the_rest():
    maps = shrinkings(96)
    assert len(maps) == 96 - 10 + 1
    assert_close(maps.sum(2), torch.ones(len(maps), 96))  # a flat patch stays flat
    x = torch.randn(64, 3, 96, 96)
    assert torch.equal(shrink(x, KEYS, 0, 0.0, maps), x)
    changed = shrink(x, KEYS, 0, 1.0, maps)
    assert (changed.std((1, 2, 3)) < x.std((1, 2, 3))).all()
    some = shrink(x, KEYS, 0, 0.33, maps)
    same = (some == x).flatten(1).all(1)
    assert 32 < same.sum() < 54
    assert_close(some[~same], changed[~same])


@pytest.mark.parametrize("level", [None, torch.full((3,), 1 / 255)])
def test_one_colour_is_kept_less_its_mean(level):
    x = torch.rand(64, 3, 16, 16)
    found = drop_colours(x, KEYS, 0, level)
    kept = found.std((2, 3)).argmax(1)
    assert kept.bincount().min() > 10
    own, before = (y[torch.arange(64), kept] for y in (found, x))
    assert_close(own, before - before.mean((1, 2), keepdim=True))
    rest = found.flatten(2)[torch.arange(3) != kept[:, None]].view(64, -1)
    if level is None:
        assert_close(rest.std(1) / own.std((1, 2)), torch.full((64,), 0.01), rtol=0.2, atol=0)
    else:
        assert rest.abs().max() <= 0.5 / 255


def test_scale_of_a_patch_and_of_nothing():
    x = torch.cat([torch.rand(3, 3, 8, 8), torch.zeros(1, 3, 8, 8)])
    found = to_rms(x, 50.0)
    assert_close(found[:3].square().mean((1, 2, 3)).sqrt(), torch.full((3,), 50.0))
    assert not found[3].any()
