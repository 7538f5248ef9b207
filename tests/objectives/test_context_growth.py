"""Correspondence and growth: identity, noise, nobody to ask, and what does not matter."""

import pytest
import torch

from coview.objectives.cell_correspondence import Correspondence, extended, settled, shares_of
from coview.objectives.context_growth import Windows, grow

SIDE, PATCH, DIM = 14, 4, 5


def _cells(count, seed=0, side=SIDE):
    return torch.rand(count, side, side, DIM, generator=torch.Generator().manual_seed(seed))


def _windows(cells, thing=0.5):
    ones = torch.ones(cells.shape[:3])
    return Windows(cells, 100 * ones, ones > 0, thing * ones)


def _stuff(cells, known, at):
    """A wide Gaussian about the mean of all cells."""
    apart = (cells - 0.5)[at[:, 0], at[:, 1]]
    return -apart.square().sum(1) / (2 * 0.1) - DIM / 2 * torch.log(torch.tensor(0.1))


def test_shares_of_a_gaussian_sum_to_one_and_say_what_is_outside():
    mean = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    places, shares, inside = shares_of(mean, 2 * torch.eye(2).expand(2, 2, 2), 8, 8)
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    assert int(places[0, shares[0].argmax()]) == 3 * 8 + 4
    assert bool(inside[0, shares[0] > 0.05].all()) and not bool(inside[1].all())
    narrow = torch.tensor([[4.0, 0.5], [0.5, 0.3]])
    expected = torch.distributions.MultivariateNormal(mean[0], narrow).log_prob(
        torch.stack([places[0] // 8, places[0] % 8], 1).float()
    )
    found = shares_of(mean[:1], narrow[None], 8, 8)[1][0]
    some = inside[0]
    torch.testing.assert_close(found[some] / found[some].sum(), expected[some].softmax(0), rtol=1e-4, atol=1e-6)


def test_the_same_picture_corresponds_to_itself():
    cells = _cells(1)
    found = Correspondence.identity(1, SIDE, SIDE, cells)
    known = torch.ones(SIDE, SIDE, dtype=torch.bool)
    flat = cells.flatten(1, 2)
    match = -torch.cdist(flat, flat).square() / 0.1
    after = settled(found, known, torch.ones(SIDE, SIDE), match, known[None], stiffness=0.1, smoothness=0.5, sweeps=4)
    assert float((after.mean - found.mean).abs().max()) < 0.75 and float((after.mean - found.mean).abs().mean()) < 0.25


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (1, 1)])
def test_a_shifted_picture_is_followed(shift):
    wide = torch.rand(SIDE + 4, SIDE + 4, DIM, generator=torch.Generator().manual_seed(3))
    one = wide[2:-2, 2:-2]
    other = wide[2 - shift[0] : SIDE + 2 - shift[0], 2 - shift[1] : SIDE + 2 - shift[1]]
    match = -torch.cdist(one.flatten(0, 1)[None], other.flatten(0, 1)[None]).square() / 0.1
    known = torch.ones(SIDE, SIDE, dtype=torch.bool)
    start = Correspondence.identity(1, SIDE, SIDE, one)
    after = settled(start, known, torch.ones(SIDE, SIDE), match, known[None], stiffness=0.1, smoothness=0.5, sweeps=8)
    moved = (after.mean - start.mean)[0, 3:-3, 3:-3].flatten(0, 1).mean(0)
    torch.testing.assert_close(moved, torch.tensor(shift).float(), rtol=0, atol=0.35)


def test_new_cells_lie_beside_their_neighbours():
    found = Correspondence.identity(2, 6, 6, torch.zeros(1))
    found = Correspondence(found.mean + 2.0, found.covariance * 3)
    known = torch.zeros(6, 6, dtype=torch.bool)
    known[2:4, 2:4] = True
    new = torch.zeros_like(known)
    new[2:4, 4], new[1, 2] = True, True
    after = extended(Correspondence(found.mean * known[..., None], found.covariance), known, new)
    torch.testing.assert_close(after.mean[:, new], found.mean[:, new])
    torch.testing.assert_close(after.covariance[:, new], found.covariance[:, new])


def test_a_picture_that_is_foretold_by_itself_scores_high():
    cells = _cells(1)
    found = grow(_windows(cells), _windows(cells.expand(3, -1, -1, -1)), _stuff, PATCH)
    assert found.score > 100 and bool(found.predicted.any()) and bool((found.usage > 0).all())
    middle = (SIDE - PATCH) // 2
    assert not bool(found.predicted[middle : middle + PATCH, middle : middle + PATCH].any())


def test_noise_foretells_nothing():
    found = grow(_windows(_cells(1)), _windows(_cells(6, seed=1).flip(2)), _stuff, PATCH)
    assert found.score < 10
    itself = grow(_windows(_cells(1)), _windows(_cells(1).expand(6, -1, -1, -1)), _stuff, PATCH)
    assert itself.score > found.score + 100


def test_without_predictors_things_are_stuff():
    for predictors in (_cells(0), _cells(3)):
        windows = _windows(predictors)
        blind = Windows(windows.cells, windows.energy, torch.zeros_like(windows.inside), windows.thing)
        found = grow(_windows(_cells(1)), blind, _stuff, PATCH)
        assert found.score == 0.0 and bool((found.thing == found.stuff).all()) and not bool(found.usage.any())


def test_the_order_of_predictors_does_not_matter_and_those_that_help_are_known():
    query, others = _windows(_cells(1)), _windows(torch.cat([_cells(1), _cells(3, seed=5), _cells(1)]))
    found = grow(query, others, _stuff, PATCH)
    back = grow(query, others[torch.tensor([4, 3, 2, 1, 0])], _stuff, PATCH)
    assert back.score == pytest.approx(found.score, rel=1e-3)
    torch.testing.assert_close(back.usage.flip(0), found.usage, rtol=1e-2, atol=1e-2)
    assert float(found.usage[[0, 4]].min()) > float(found.usage[1:4].max())


def test_flat_cells_and_what_lies_outside_do_not_count():
    cells = _cells(1)
    query, others = _windows(cells), _windows(cells.expand(2, -1, -1, -1))
    flat = Windows(query.cells, 0 * query.energy, query.inside, query.thing)
    assert grow(flat, others, _stuff, PATCH).score == 0.0
    outside = query.inside.clone()
    outside[:, :, SIDE // 2 + PATCH // 2 :] = False
    found = grow(Windows(query.cells, query.energy, outside, query.thing), others, _stuff, PATCH)
    assert not bool(found.predicted[~outside[0]].any()) and bool(torch.isfinite(found.thing).all())


def test_what_the_predictors_hold_for_something_else_does_not_count():
    cells = _cells(1, side=26)
    others = _windows(cells.expand(2, -1, -1, -1))
    thing = others.thing.clone()
    thing[:, :, :10] = 0.0
    found = grow(_windows(cells), Windows(others.cells, others.energy, others.inside, thing), _stuff, PATCH)
    free = grow(_windows(cells), others, _stuff, PATCH)
    assert float(found.mimicry[8:-8, 4:7].max()) < 0.05 and found.score < 0.8 * free.score
