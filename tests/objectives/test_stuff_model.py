"""What texture continues as: the released halves, masks that leave dimensions out, mixtures that are found again."""

from pathlib import Path

import numpy as np
import torch

from coview.objectives.context_gaussians import log_likelihood
from coview.objectives.stuff_model import Dictionary, Stuff, diamond, fit_dictionary, half_diamonds, parts_of

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "context-discovery.npz")


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_diamond_and_its_halves_are_the_released_ones():
    assert np.array_equal(diamond().numpy(), GOLDEN["diamond9"].astype(bool))
    assert np.array_equal(half_diamonds().numpy(), GOLDEN["half_diamonds9"].astype(bool))


def test_what_is_not_seen_is_left_out():
    shares, means, variances = torch.tensor([0.3, 0.7]).double(), _normal(2, 3, 2), _normal(2, 3, 2, seed=1).square()
    around, seen = _normal(5, 3, 2, seed=2), torch.tensor([[True, False, True]] * 5)
    found = parts_of(around, seen, shares, means, variances, 0.1)
    far = around.clone()
    far[:, 1] = 1e3
    torch.testing.assert_close(parts_of(far, seen, shares, means, variances, 0.1), found)
    density = torch.distributions.Normal(means[:, [0, 2]], (variances[:, [0, 2]] + 0.1).sqrt())
    logs = shares.log() + density.log_prob(around[:, None, [0, 2]]).sum((2, 3))
    torch.testing.assert_close(found, logs.softmax(1))
    nothing = parts_of(around, torch.zeros_like(seen), shares, means, variances)
    torch.testing.assert_close(nothing, shares.expand(5, 2))


def _striped(count, seed=0):
    """Two textures: all cells near +1, or all near -1; the middle follows."""
    sign = (torch.arange(count) % 2 * 2 - 1).double()[:, None, None, None]
    return sign + 0.1 * _normal(count, 5, 5, 3, seed=seed)


def _fitted(patches, half, parts, seed):
    return fit_dictionary(patches[:, half], patches[:, 2, 2], half, parts, seed=seed)


def test_a_mixture_of_two_textures_is_found():
    half = half_diamonds(5)[..., 0]
    found = _fitted(_striped(400), half, 2, seed=0)
    assert found.means.shape == (2, int(half.sum()), 3)
    torch.testing.assert_close(found.shares, torch.tensor([0.5, 0.5]).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.middle.mean(1).abs(), torch.ones(2).double(), rtol=0, atol=0.05)
    torch.testing.assert_close(found.variances.mean(), torch.tensor(0.011).double(), rtol=0.15, atol=0)


def test_parts_that_take_nothing_start_again_beside_a_large_one():
    patches = torch.cat([_striped(400), _striped(400, 1)[:1].expand(3, -1, -1, -1) + 50])
    found = _fitted(patches, half_diamonds(5)[..., 0], 6, seed=3)
    assert bool(torch.isfinite(found.means).all()) and bool((found.variances >= 1e-3).all())
    torch.testing.assert_close(found.shares.sum(), torch.tensor(1.0).double())


def test_one_part_predicts_its_own_gaussian_and_the_half_that_sees_most_is_taken():
    halves, size = half_diamonds(5), 3
    dictionaries = {
        str(number): Dictionary(
            halves[..., number], torch.ones(1).double(), torch.zeros(1, int(halves[..., number].sum()), size).double(),
            torch.ones(1, int(halves[..., number].sum()), size).double(), torch.full((1, size), float(number)).double(),
            torch.eye(size).double()[None],
        ).tensors()
        for number in range(halves.shape[-1])
    }  # fmt: skip
    stuff, cells = Stuff(dictionaries), _normal(9, 9, size)
    for number in range(halves.shape[-1]):
        known = torch.zeros(9, 9, dtype=torch.bool)
        known[2:7, 2:7] = halves[..., number]
        expected = log_likelihood(cells[4, 4], torch.full((size,), float(number)).double(), torch.eye(size).double())
        torch.testing.assert_close(stuff.log_likelihood(cells, known, torch.tensor([[4, 4]]))[0], expected)
    corner = stuff.log_likelihood(cells, torch.zeros(9, 9, dtype=torch.bool), torch.tensor([[0, 0], [8, 8]]))
    assert corner.shape == (2,) and bool(torch.isfinite(corner).all())
