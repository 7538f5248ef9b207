"""Masked patches: published values, limits, invariances, gradients, and how places are drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.data.source import sample_keys
from coview.objectives.masked_patches import hidden_error, normalised, patches_of, seen_and_hidden

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "infonce.npz").items()
    if key.startswith("mae.")
}


@pytest.mark.parametrize("name", ["a", "v"])
@pytest.mark.parametrize("by_patch", [0, 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_hidden_error_golden(name, by_patch, dtype, tolerance):
    view = GOLDEN["mae.audio_TxF"].transpose(1, 2)[:, None] if name == "a" else GOLDEN["mae.image"]
    patches = patches_of(view.to(dtype), 16)
    hidden = GOLDEN["mae.mask"] == 1  # as many in each sample, so that the mean over samples is that over patches
    error = hidden_error(
        normalised(patches) if by_patch else patches, GOLDEN[f"mae.pred_{name}"].to(dtype), hidden
    ).mean()
    torch.testing.assert_close(error.double(), GOLDEN[f"mae.loss_{name}.norm{by_patch}"], rtol=tolerance, atol=1e-9)


def test_patches_are_rows_of_the_plane():
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    patches = patches_of(x, 2)
    assert patches.shape == (2, 6, 12)
    for number, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        piece = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(patches[:, number], piece.permute(0, 2, 3, 1).flatten(1))


def test_brightness_and_contrast_of_a_patch_do_not_matter_and_one_colour_is_zero():
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(normalised(7 * x + 3), normalised(x), rtol=1e-5, atol=1e-6)
    assert not normalised(torch.full((1, 2, 4), 9.0)).any()
    hidden = torch.ones(3, 5, dtype=torch.bool)
    guess = hidden_error(normalised(x), torch.zeros_like(x), hidden)  # variances are unbiased
    torch.testing.assert_close(guess, torch.full((3,), 15 / 16, dtype=torch.float64), rtol=1e-5, atol=0)


def test_what_is_seen_costs_nothing_and_every_sample_counts_alike():
    x, made = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hidden = torch.tensor([[True, False, True, True], [False, False, True, False]])
    changed = torch.where(hidden[:, :, None], made, made + 100)
    torch.testing.assert_close(hidden_error(x, changed, hidden), hidden_error(x, made, hidden), rtol=0, atol=0)
    one = hidden_error(x[1:], made[1:], hidden[1:])
    torch.testing.assert_close(one, (x[1, 2] - made[1, 2]).square().mean()[None])


def test_gradients():
    x, made = torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    hidden = torch.tensor([[True, False, True], [True, True, False]])
    assert torch.autograd.gradcheck(lambda y: hidden_error(normalised(x), y, hidden), made.requires_grad_())
    assert torch.autograd.gradcheck(normalised, x.requires_grad_())


def test_half_precision_is_computed_in_float32():
    x, made = torch.randn(2, 2, 3, 256, generator=torch.Generator().manual_seed(3))
    hidden = torch.ones(2, 3, dtype=torch.bool)
    half = hidden_error(normalised(x.bfloat16()), made.bfloat16(), hidden)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, hidden_error(normalised(x), made, hidden), rtol=0.02, atol=0)


def test_places_follow_from_the_key_alone_and_all_are_drawn_alike():
    key = sample_keys(0, 0, torch.arange(4000))
    seen, hidden = seen_and_hidden(key, 5, 16, 0.75)
    assert seen.shape == (4000, 4) and (hidden.sum(1) == 12).all()
    assert not hidden.gather(1, seen).any()
    torch.testing.assert_close(hidden.float().mean(0), torch.full((16,), 0.75), rtol=0, atol=0.03)
    again = seen_and_hidden(key[10:20], 5, 16, 0.75)
    assert torch.equal(again[0], seen[10:20]) and torch.equal(again[1], hidden[10:20])
    assert not torch.equal(seen_and_hidden(key, 6, 16, 0.75)[0], seen)
    assert not torch.equal(seen_and_hidden(sample_keys(0, 1, torch.arange(4000)), 5, 16, 0.75)[0], seen)


@pytest.mark.parametrize(("share", "kept"), [(0.01, 15), (0.99, 1), (0.75, 4), (0.9, 1)])
def test_at_least_one_is_seen_and_one_hidden(share, kept):
    seen, hidden = seen_and_hidden(torch.arange(3), 0, 16, share)
    assert seen.shape == (3, kept) and (hidden.sum(1) == 16 - kept).all()
    assert seen_and_hidden(torch.arange(0), 0, 16, share)[0].shape == (0, kept)
