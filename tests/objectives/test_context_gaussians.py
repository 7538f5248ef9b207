"""The statistics of context discovery: golden values, limiting cases, what must not matter."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.context_gaussians import (
    belief,
    blurred,
    capped,
    log_accuracies,
    log_likelihood,
    log_odds_of_thing,
    mixture_moments,
    patch_score,
    weighted_gaussian,
)

ARRAYS = np.load(Path(__file__).parents[1] / "golden" / "context-discovery.npz")
GOLDEN = {name: torch.from_numpy(np.asarray(ARRAYS[name])) for name in ARRAYS.files}
CLOSE = {"rtol": 0, "atol": 1e-10}


def test_weighted_gaussian():
    mean, covariance = weighted_gaussian(GOLDEN["wg_obs"], GOLDEN["wg_wts"])
    torch.testing.assert_close(mean, GOLDEN["wg_mu"].flatten(), **CLOSE)
    torch.testing.assert_close(covariance, GOLDEN["wg_cov"], **CLOSE)
    again = weighted_gaussian(GOLDEN["wg_obs"].expand(2, -1, -1), 3 * GOLDEN["wg_wts"].expand(2, -1), 0.5)
    torch.testing.assert_close(again[0][1], mean, **CLOSE)
    torch.testing.assert_close(again[1][1], covariance + 0.5 * torch.eye(4).double(), **CLOSE)


def test_moments_of_a_mixture_are_the_right_ones_and_not_the_released_ones():
    mean, covariance = mixture_moments(GOLDEN["mix_alphas"], GOLDEN["mix_mus"], GOLDEN["mix_sigmas"])
    torch.testing.assert_close(mean, GOLDEN["mix_mean_official"], **CLOSE)
    torch.testing.assert_close(covariance, GOLDEN["mix_cov_correct_moment"], **CLOSE)
    apart = GOLDEN["mix_mus"] - mean  # the released code's scalar, so that the difference is known for what it is
    within = torch.einsum("k,kde->de", GOLDEN["mix_alphas"], GOLDEN["mix_sigmas"])
    scalar = (GOLDEN["mix_alphas"] * apart.square().sum(1)).sum()
    torch.testing.assert_close(within + scalar, GOLDEN["mix_cov_official_code"], **CLOSE)


def test_one_part_is_its_own_mixture():
    mean, covariance = mixture_moments(torch.tensor([1.0]).double(), GOLDEN["mix_mus"][:1], GOLDEN["mix_sigmas"][:1])
    torch.testing.assert_close(mean, GOLDEN["mix_mus"][0], **CLOSE)
    torch.testing.assert_close(covariance, GOLDEN["mix_sigmas"][0], **CLOSE)


def test_blur_over_what_is_valid():
    found = blurred(GOLDEN["blur_in"], GOLDEN["blur_valid"])
    torch.testing.assert_close(found, GOLDEN["blur_out_sigma2"], **CLOSE)
    nothing = blurred(GOLDEN["blur_in"], torch.zeros_like(GOLDEN["blur_in"]))
    assert not nothing.any()


def test_caps():
    found = capped(GOLDEN["cap_in"])
    torch.testing.assert_close(found, GOLDEN["cap_out_third"], **CLOSE)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_caps_sum_to_one_stay_below_and_keep_the_order(count):
    shares = torch.rand(50, count, generator=torch.Generator().manual_seed(count)).double().pow(4)
    shares = shares / shares.sum(1, keepdim=True)
    found = capped(shares)
    torch.testing.assert_close(found.sum(1), torch.ones(50).double())
    assert float(found.max()) <= max(1 / 3, 1 / count) + 1e-9
    order = shares.argsort(1)
    assert bool((found.gather(1, order).diff(dim=1) >= -1e-12).all())
    torch.testing.assert_close(capped(found), found)


def test_patch_score():
    thing, stuff, mimicry = (GOLDEN[name] for name in ("thing_loglik", "stuff_loglik", "mimicry"))
    torch.testing.assert_close(patch_score(thing, stuff, mimicry), GOLDEN["patch_score"], **CLOSE)
    torch.testing.assert_close(patch_score(thing + 7, stuff + 7, mimicry), GOLDEN["patch_score"], **CLOSE)
    assert float(patch_score(thing, thing, mimicry)) == 0.0
    assert float(patch_score(thing[:0], stuff[:0], mimicry[:0])) == 0.0


def test_log_likelihood_is_the_normal_density_without_its_constant():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 4, 4, generator=generator).double()
    covariance = root @ root.mT + 0.1 * torch.eye(4)
    x, mean = torch.randn(2, 5, 4, generator=generator).double()
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x) + 2 * np.log(2 * np.pi)
    torch.testing.assert_close(log_likelihood(x, mean, covariance), expected)


def test_belief_of_far_odds_does_not_underflow():
    thing = torch.tensor([[800.0, 800.0], [800.0, 800.0]])
    yes, no = log_odds_of_thing(thing, torch.zeros(2, 2))
    valid = torch.tensor([[True, False], [False, False]])
    assert bool((belief(yes, no, valid) == 1).all()) and bool((belief(no, yes, valid) == 0).all())
    assert bool((belief(yes, no, torch.zeros_like(valid)) == 0.5).all())
    torch.testing.assert_close(yes.exp() + no.exp(), torch.ones(2, 2))


def test_what_the_others_have_is_not_one_minus_a_normalised_constant():
    each = torch.tensor([[0.0, -900.0], [-900.0, 0.0], [-1.0, -1.0]]).double()
    yes, no = log_accuracies(each)
    torch.testing.assert_close(yes.exp() + no.exp(), torch.ones(3, 2).double())
    torch.testing.assert_close(no[0, 0], torch.tensor(-1.0).double() - torch.log(1 + torch.tensor(-1.0).double().exp()))
    assert float(no[0, 1]) == pytest.approx(0.0) and float(yes[0, 1]) < -800
