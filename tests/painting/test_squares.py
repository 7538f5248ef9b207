"""Squares on a picture: they cover its holes, or all of it, and join without a seam."""

import numpy as np
import pytest
import torch

from coview.painting.squares import cut_holes, joined, window_around


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (131, 67), (5, 5)])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.7])
def test_pieces_hold_all_of_a_hole_and_lie_in_their_squares(shape, share):
    hole = np.random.default_rng(0).random(shape) < share
    hole[shape[0] // 2, shape[1] // 2] = True
    pieces, covered = cut_holes(hole, 32), np.zeros(shape, dtype=bool)
    for piece in pieces:
        covered[piece] = True
        window = window_around(piece, shape, 32)
        rows, columns = window
        side = rows.stop - rows.start
        assert side == columns.stop - columns.start == min(max(2 * max(p.stop - p.start for p in piece), 32), *shape)
        for inner, outer, whole in zip(piece, window, shape, strict=True):
            assert 0 <= outer.start <= inner.start < inner.stop <= outer.stop <= whole
    assert covered[hole].all()


def test_holes_apart_are_apart_and_neighbours_are_one():
    hole = np.zeros((200, 200), dtype=bool)
    hole[10:14, 10:14] = hole[12:15, 17:20] = True
    hole[150:160, 100:130] = True
    assert len(cut_holes(hole, 64)) == 2


@pytest.mark.parametrize("shape", [(16, 16), (16, 50), (61, 37), (128, 16)])
def test_what_is_made_of_squares_joins(shape):
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    rows, parts, looked = 0, [], 0

    def same(squares):
        nonlocal looked
        looked += len(squares)
        assert squares.shape[1:] == (16, 16, 3)
        return torch.from_numpy(squares).permute(0, 3, 1, 2).float()

    for part, band in joined(picture, 16, same):
        assert part.start == rows and band.shape == (3, part.stop - part.start, shape[1])
        rows = part.stop
        parts.append(band)
    assert rows == shape[0]
    torch.testing.assert_close(torch.cat(parts, 1).permute(1, 2, 0), torch.from_numpy(picture).float())
    assert looked <= (shape[0] / 12 + 1) * (shape[1] / 12 + 1)


def test_where_squares_overlap_the_nearer_middle_counts_more():
    picture = np.zeros((16, 28, 3), dtype=np.uint8)
    values = iter([0.0, 1.0])

    def one_after_the_other(squares):
        return torch.stack([torch.full((3, 16, 16), next(values)) for _ in squares])

    ((_, band),) = joined(picture, 16, one_after_the_other)
    across = band[0, 0]
    assert across[:12].eq(0).all() and across[16:].eq(1).all()
    assert across[12:16].diff().gt(0).all()
