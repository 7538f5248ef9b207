"""Labels and pairs of neighbouring patches, and the projection against chromatic aberration."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.objectives.relative_position import OFFSETS, chroma_projection, grid_pairs, place

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "relative-position.npz").items()
}


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
