"""Loss, scheduled sampling, PSNR and SSIM of predicted pictures."""

import math

import numpy as np
import pytest
import torch
import worlds
from scipy.ndimage import gaussian_filter
from torch.testing import assert_close

from coview import parallel
from coview.data.source import sample_keys
from coview.objectives.frame_prediction import prediction_error, psnr, shown_truth, ssim, truth_share

KEYS = sample_keys(0, 0, torch.arange(32))


def pictures(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_error_is_a_mean_and_its_gradient_is_right():
    true, made = pictures(0, 3, 2, 4, 4), pictures(1, 3, 2, 4, 4).requires_grad_()
    assert_close(prediction_error(true, made)[1], ((true - made)[1] ** 2).mean())
    assert torch.autograd.gradcheck(lambda made: prediction_error(true, made), (made,))


def test_the_share_of_true_pictures_falls_as_published():
    counts = [round(32 * truth_share(step, 900)) for step in (0, 6122, 9900, 10**6)]
    assert counts == [32, 16, 0, 0]
    assert truth_share(0, 0) == truth_share(5, -1) == 0
    assert math.isclose(truth_share(100, 50), 50 / (50 + math.exp(2)))


def test_as_many_samples_as_the_share_says_are_shown_the_truth():
    shown = shown_truth(KEYS, 3, 6122, 5, 900)
    assert shown.shape == (32, 5)
    assert shown.sum(0).tolist() == [16] * 5
    assert not torch.equal(shown[:, 0], shown[:, 1])
    assert torch.equal(shown, shown_truth(KEYS, 3, 6122, 5, 900))
    assert not torch.equal(shown, shown_truth(KEYS, 3, 6123, 5, 900))
    assert shown_truth(KEYS, 3, 0, 2, 900).all() and not shown_truth(KEYS, 3, 0, 2, 0).any()


def shown_on_a_rank():
    share = len(KEYS) // parallel.world_size()
    first = parallel.rank() * share
    return first, shown_truth(KEYS[first : first + share], 3, 6122, 5, 900)


@pytest.mark.slow
def test_processes_agree_on_who_is_shown_the_truth():
    whole = shown_truth(KEYS, 3, 6122, 5, 900)
    for first, part in worlds.run(2, shown_on_a_rank):
        assert torch.equal(part, whole[first : first + len(part)])


def test_psnr():
    true = torch.zeros(2, 3, 4, 4)
    found = psnr(true, torch.stack([torch.full((3, 4, 4), 0.1), torch.zeros(3, 4, 4)]))
    assert found[0].item() == pytest.approx(20)
    assert found[1].item() == pytest.approx(58.92, abs=0.01)  # equal but for rounding


def test_ssim_equals_an_independent_computation():
    true, made = pictures(0, 2, 3, 20, 16), pictures(1, 2, 3, 20, 16)

    def plane(x, y):
        def mean(values):
            return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

        a, b = mean(x), mean(y)
        va, vb, both = mean(x * x) - a * a, mean(y * y) - b * b, mean(x * y) - a * b
        return ((2 * a * b + 1e-4) * (2 * both + 9e-4) / ((a**2 + b**2 + 1e-4) * (va + vb + 9e-4))).mean()

    wanted = [np.mean([plane(true[i, c].numpy(), made[i, c].numpy()) for c in range(3)]) for i in range(2)]
    assert_close(ssim(true, made), torch.tensor(wanted), rtol=0, atol=1e-10)
    assert_close(ssim(true, true), torch.ones(2, dtype=torch.float64))
    assert_close(ssim(true, made), ssim(made, true))
