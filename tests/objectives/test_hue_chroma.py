"""Hue and chroma histograms and their decoders: golden values of the authors' decoder, limits, rotations, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from coview.objectives.hue_chroma import (
    colour_of,
    decode_chroma,
    decode_hue,
    from_hue_saturation,
    gaussian_edges,
    histograms,
    hue_chroma_loss,
    reachable_chroma,
    to_bins,
    to_hue_chroma,
    windows,
    with_lightness,
)

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "larsson-colorization.npz").items()
}
BINS = 32
RULES = {
    "median__expectation_cf": ("median", "fading"),
    "expectation__expectation": ("expectation", "expectation"),
    "mode__mode": ("mode", "mode"),
    "median__expectation": ("median", "expectation"),
    "q75__expectation_cf": ("q75", "fading"),
    "median__median": ("median", "median"),
}


def test_golden_hue_chroma_and_bins():
    hue, chroma, value = to_hue_chroma(GOLDEN["rgb"])
    for found, name in ((hue, "hue"), (chroma, "chroma"), (value, "value")):
        assert_close(found, GOLDEN[name], rtol=0, atol=1e-9)
    assert torch.equal(to_bins(hue), GOLDEN["hue_bin"].long())
    assert torch.equal(to_bins(chroma), GOLDEN["chroma_bin"].long())
    lightness = GOLDEN["rgb"].mean(-1)
    assert_close(lightness, GOLDEN["lightness_mean"], rtol=0, atol=1e-9)
    assert_close(reachable_chroma(lightness), GOLDEN["chroma_weight"], rtol=0, atol=1e-9)
    back = from_hue_saturation(hue, chroma / value.clamp(min=1e-12), value)
    assert_close(back, GOLDEN["rgb"], rtol=0, atol=1e-9)


def test_golden_window_histograms_and_edges():
    chroma = GOLDEN["chroma"]
    places = torch.cartesian_prod(*map(torch.arange, chroma.shape))[None]
    around, inside = windows(chroma[None, None], places, int(GOLDEN["win"]))
    found = histograms(to_bins(around[..., 0]), inside)[0].view(*chroma.shape, -1)
    assert_close(found, GOLDEN["chroma_hist_window"], rtol=0, atol=1e-9)
    assert_close(gaussian_edges(), GOLDEN["lab_quantile_edges_mu0_s25"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_golden_decoders(name):
    chroma_rule, hue_rule = RULES[name]
    hue, factor = decode_hue(GOLDEN["hist_h"], hue_rule)
    colours = colour_of(GOLDEN["gray"], hue, factor * decode_chroma(GOLDEN["hist_c"], chroma_rule))
    compared = torch.ones_like(GOLDEN["gray"], dtype=torch.bool)
    if hue_rule == "expectation":  # any direction of a mean of length 0 is as good as another
        compared[0, 0] = compared[0, 2] = False
    assert_close(colours[compared], GOLDEN[f"dec_{name}"][compared], rtol=0, atol=1e-6)
    matched = with_lightness(colours, GOLDEN["gray"])
    assert_close(matched[compared], GOLDEN[f"match_{name}"][compared], rtol=0, atol=1e-6)


def test_golden_fading_and_median():
    hue, factor = decode_hue(GOLDEN["hist_h"])
    assert_close(factor, GOLDEN["fade"], rtol=0, atol=1e-9)
    assert_close(factor.clamp(max=0.999) * 0.03, GOLDEN["z_abs"].clamp(max=0.999 * 0.03), rtol=0, atol=1e-9)
    sure = GOLDEN["z_abs"] > 1e-9
    assert_close(hue[sure], GOLDEN["z_hue"][sure], rtol=0, atol=1e-9)
    median = decode_chroma(GOLDEN["hist_c"], "interpolated-median")
    assert_close(median, GOLDEN["chroma_median_interp"], rtol=0, atol=1e-9)


def loss_of(hue, chroma, amount=None):
    amount = GOLDEN["loss_chroma"] if amount is None else amount
    return hue_chroma_loss(hue, chroma, GOLDEN["loss_y_h"], GOLDEN["loss_y_c"], amount, float(GOLDEN["lamH"]))


def test_golden_loss():
    zero = torch.zeros(7, dtype=torch.float64)
    chroma_alone = loss_of(GOLDEN["loss_logit_h"], GOLDEN["loss_logit_c"], zero)
    assert_close(chroma_alone, GOLDEN["kl_c"], rtol=0, atol=1e-9)
    both = loss_of(GOLDEN["loss_logit_h"], GOLDEN["loss_logit_c"])
    assert_close(both - chroma_alone, 5 * GOLDEN["loss_chroma"] * GOLDEN["kl_h"], rtol=0, atol=1e-9)
    assert_close(both.mean(), GOLDEN["loss"], rtol=0, atol=1e-9)


def test_the_chroma_term_alone_has_the_weight_of_chroma():
    parts = [GOLDEN[name] for name in ("loss_logit_h", "loss_logit_c", "loss_y_h", "loss_y_c", "loss_chroma")]
    weight = torch.linspace(0, 1, 7, dtype=torch.float64)
    found = hue_chroma_loss(*parts, chroma_weight=weight) - hue_chroma_loss(*parts)
    assert_close(found, (weight - 1) * GOLDEN["kl_c"])


def test_a_perfect_guess_costs_nothing_and_grey_says_nothing_of_hue():
    zero = torch.zeros(7, dtype=torch.float64)
    right = loss_of(GOLDEN["loss_y_h"].clamp(min=1e-300).log(), GOLDEN["loss_y_c"].clamp(min=1e-300).log())
    assert_close(right, zero, rtol=0, atol=1e-9)
    hue = GOLDEN["loss_logit_h"].clone().requires_grad_()
    loss_of(hue, GOLDEN["loss_logit_c"], zero).sum().backward()
    assert not hue.grad.any()


def test_gradient():
    hue, chroma = (GOLDEN[name].clone().requires_grad_() for name in ("loss_logit_h", "loss_logit_c"))
    assert torch.autograd.gradcheck(loss_of, (hue, chroma))


def test_uniform_and_opposite_hues_fade_to_grey_and_one_hue_does_not():
    uniform = torch.full((BINS,), 1 / BINS, dtype=torch.float64)
    one, two = torch.zeros(BINS, dtype=torch.float64), torch.zeros(BINS, dtype=torch.float64)
    one[3], two[3], two[3 + BINS // 2] = 1.0, 0.5, 0.5
    hue, factor = decode_hue(torch.stack([uniform, one, two]))
    assert_close(factor, torch.tensor([0.0, 1.0, 0.0]).double(), rtol=0, atol=1e-9)
    assert_close(hue[1], torch.tensor(3.5 / BINS).double())


def test_turning_the_histogram_turns_the_hue_also_across_red():
    histogram = torch.rand(BINS, dtype=torch.float64, generator=torch.manual_seed(0)) ** 4
    histogram /= histogram.sum()
    hue, _ = decode_hue(histogram)
    for steps in (1, 7, 20, 31):
        turned, _ = decode_hue(histogram.roll(steps))
        assert_close(turned, torch.remainder(hue + steps / BINS, 1.0))


def test_lightness_is_kept_where_nothing_clips():
    grey = torch.full((5,), 0.5, dtype=torch.float64)
    hue, chroma = torch.rand(5, dtype=torch.float64), torch.full((5,), 0.2, dtype=torch.float64)
    assert_close(with_lightness(colour_of(grey, hue, chroma), grey).mean(-1), grey)
    black = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(colour_of(black, black, black), torch.zeros(1, 3, dtype=torch.float64))
