"""Corruptions, the best linear denoisers and the two losses: golden values, limits, statistics, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.data.source import sample_keys
from coview.objectives.denoising import (
    add_noise,
    cross_entropy,
    emphasis,
    gaussian_denoiser,
    mask_out,
    masking_denoiser,
    salt_and_pepper,
    squared,
)

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "denoising-autoencoder.npz").items()
}
KEYS = sample_keys(0, 0, torch.arange(64))


def test_golden_linear_denoisers():
    centred = GOLDEN["X"]
    assert_close(centred.T @ centred / len(centred), GOLDEN["S"], rtol=0, atol=1e-10)
    for name in ("0.25", "1"):
        assert_close(gaussian_denoiser(GOLDEN["S"], float(name)), GOLDEN[f"W_gauss_s{name}"], rtol=0, atol=1e-8)
    for name in ("0.25", "0.5"):
        weight, error = masking_denoiser(GOLDEN["S"], float(name))
        assert_close(weight, GOLDEN[f"W_mask_p{name}"], rtol=0, atol=1e-8)
        assert_close(error, GOLDEN[f"mse_mask_p{name}"], rtol=0, atol=1e-8)


def test_golden_losses():
    weight, b, c = (GOLDEN[f"tied_{name}"] for name in ("W", "b", "c"))
    hidden = torch.sigmoid(GOLDEN["tied_x"] * GOLDEN["tied_mask"] @ weight.T + b)
    logits = hidden @ weight + c
    assert_close(hidden, GOLDEN["tied_h"], rtol=0, atol=1e-8)
    assert_close(logits.sigmoid(), GOLDEN["tied_recon"], rtol=0, atol=1e-8)
    assert_close(squared(GOLDEN["tied_x"], logits.sigmoid()), GOLDEN["tied_sq"], rtol=0, atol=1e-8)
    assert_close(cross_entropy(GOLDEN["tied_x"], logits), GOLDEN["tied_bce"], rtol=0, atol=1e-8)


def test_without_corruption_the_best_map_is_the_identity_and_with_all_of_it_zero():
    identity = torch.eye(10, dtype=torch.float64)
    assert_close(gaussian_denoiser(GOLDEN["S"], 0.0), identity, rtol=0, atol=1e-8)
    assert_close(masking_denoiser(GOLDEN["S"], 0.0)[0], identity, rtol=0, atol=1e-8)
    assert gaussian_denoiser(GOLDEN["S"], 1e6).abs().max() < 1e-8
    nothing, error = masking_denoiser(GOLDEN["S"], 1.0)
    assert not nothing.any()
    assert_close(error, GOLDEN["S"].trace())


def test_numbers_that_never_vary_break_nothing():
    still = GOLDEN["S"].clone()
    still[3], still[:, 3] = 0, 0
    weight, error = masking_denoiser(still, 0.5)
    assert weight.isfinite().all()
    assert error.isfinite()
    assert weight[3].abs().max() < 1e-12


def test_masking_hits_the_share_asked_for_and_whole_pixels_where_they_are_the_unit():
    x = torch.ones(64, 3, 16, 16)
    each, hit = mask_out(x, KEYS, 0, 0.25, (3, 16, 16))
    n = x.numel()
    assert abs(hit.float().mean() - 0.25) < 3 * math.sqrt(0.25 * 0.75 / n)
    assert torch.equal(each == 0, hit)
    pixels, hit = mask_out(x, KEYS, 0, 0.25, (1, 16, 16))
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    again, _ = mask_out(x[8:16], KEYS[8:16], 0, 0.25, (1, 16, 16))
    assert torch.equal(again, pixels[8:16]), "a sample's corruption follows from its key alone"
    assert not torch.equal(mask_out(x, KEYS, 1, 0.25, (1, 16, 16))[1], hit)


def test_noise_and_salt_and_pepper():
    x = torch.zeros(64, 1000)
    assert abs(add_noise(x, KEYS, 0, 0.3).std() - 0.3) < 0.01
    x[:, 0], x[:, 1] = -1.0, 2.0
    noisy, hit = salt_and_pepper(x, KEYS, 0, 0.4)
    assert abs(hit.float().mean() - 0.4) < 3 * math.sqrt(0.24 / x.numel())
    assert set(noisy.unique().tolist()) == {-1.0, 0.0, 2.0}
    assert abs((noisy == 2).float().sum() / hit.sum() - 0.5) < 0.02


def test_emphasis_on_what_was_corrupted_alone_leaves_the_rest_without_gradient():
    x, hit = torch.rand(4, 6, dtype=torch.float64), torch.rand(4, 6) < 0.5
    guess = torch.rand(4, 6, dtype=torch.float64, requires_grad=True)
    squared(x, guess, emphasis(hit, 1.0, 0.0)).sum().backward()
    assert torch.equal(guess.grad != 0, hit)


@pytest.mark.parametrize("loss", [squared, cross_entropy])
def test_gradient(loss):
    x, guess = torch.rand(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: loss(x, value), guess)
