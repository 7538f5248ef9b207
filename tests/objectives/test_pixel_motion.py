"""Moved pixels: golden values of the official functions, exact shifts, identities, gradients."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from coview.objectives.pixel_motion import (
    composite,
    flow_of_affine,
    flow_of_kernels,
    kernel_of,
    move_by_affine,
    move_by_kernels,
    move_by_places,
)

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "physical-prediction.npz").items()
}
IMAGE = GOLDEN["image"].movedim(-1, 1)  # (2, 3, 12, 10)
IDENTITY = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64)


def cdna():
    """Return the official layout of the linear layer, taps first, as (B, K, 5, 5)."""
    return GOLDEN["cdna_raw"].unflatten(1, (25, 4)).transpose(1, 2).unflatten(2, (5, 5))


def normalised(raw):
    return kernel_of(raw.flatten(2)).unflatten(2, (5, 5))


def picture(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_golden_kernels_of_the_whole_picture():
    kernels = normalised(cdna().double())
    assert_close(kernels, GOLDEN["cdna_kernels"].permute(0, 3, 1, 2), rtol=0, atol=1e-9)
    found = move_by_kernels(IMAGE.double(), kernels)
    assert_close(found, GOLDEN["cdna_transformed_f64"].movedim(-1, 2), rtol=0, atol=1e-9)
    found = move_by_kernels(IMAGE, normalised(cdna()))
    assert_close(found, GOLDEN["cdna_transformed"].movedim(-1, 2), rtol=0, atol=1e-6)


def test_golden_kernels_of_every_place():
    kernels = kernel_of(GOLDEN["dna_raw"].movedim(-1, 1), 1)
    assert_close(move_by_places(IMAGE, kernels).movedim(1, -1), GOLDEN["dna_out"], rtol=0, atol=1e-6)


def test_golden_affine_maps():
    theta, wide = GOLDEN["stp_theta"][:, None], GOLDEN["stp_theta"][:, None].double()

    def found(x, theta, as_released):
        return move_by_affine(x, theta, as_released)[:, 0].movedim(1, -1)

    assert_close(found(IMAGE, theta, True), GOLDEN["stp_out"], rtol=0, atol=1e-5)
    assert_close(found(IMAGE.double(), wide, True), GOLDEN["stp_out_peer_f64"], rtol=0, atol=1e-9)
    assert_close(found(IMAGE.double(), wide, False), GOLDEN["stp_out_align_corners_f64"], rtol=0, atol=1e-9)


def test_golden_composition():
    masks = GOLDEN["mask_logits"].movedim(-1, 1).softmax(1)
    layers = torch.cat([IMAGE[:, None], GOLDEN["cdna_transformed"].movedim(-1, 2)], 1)
    assert_close(composite(layers, masks).movedim(1, -1), GOLDEN["composited"], rtol=0, atol=1e-6)


def test_kernels_are_means_and_keep_what_is_constant():
    kernels = normalised(torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert kernels.min() >= 0
    assert_close(kernels.sum((2, 3)), torch.ones(3, 4))
    moved = move_by_kernels(torch.full((3, 2, 9, 8), 0.3), kernels)
    assert_close(moved[..., 2:-2, 2:-2], torch.full((3, 4, 2, 5, 4), 0.3))
    assert_close(kernel_of(-torch.ones(1, 25)), torch.full((1, 25), 0.04))


def test_one_tap_shifts_exactly():
    x = picture(1, 3, 9, 8)
    kernels = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    kernels[0, 0, 2 + 1, 2 - 2] = 1
    moved = move_by_kernels(x, kernels)[:, 0]
    assert torch.equal(moved[:, :, :-1, 2:], x[:, :, 1:, :-2])  # what lay below and to the left
    assert_close(flow_of_kernels(kernels.flatten(2)), torch.tensor([[[2.0, -1.0]]], dtype=torch.float64))


def test_one_kernel_at_every_place_moves_the_whole():
    x, kernels = picture(2, 3, 9, 8), normalised(torch.randn(2, 1, 5, 5, dtype=torch.float64))
    places = kernels.reshape(2, 25, 1, 1).expand(-1, -1, 9, 8)
    assert_close(move_by_places(x, places), move_by_kernels(x, kernels)[:, 0])


def test_the_affine_identity_changes_nothing_and_a_shift_shifts():
    x = picture(2, 3, 9, 8)
    theta = IDENTITY.expand(2, 1, 6).clone()
    assert_close(move_by_affine(x, theta)[:, 0], x)
    theta[:, :, 2] = 2 / 7  # one pixel of eight
    assert_close(move_by_affine(x, theta)[:, 0, :, :, :-1], x[..., 1:])


def test_the_flow_of_affine_maps_is_how_far_things_come():
    theta = IDENTITY.expand(2, 3, 6).clone()
    theta[:, 1, 2] = 2 / 7  # what lay one pixel of eight to the right
    theta[:, 2, 0] = 0.5  # twice as wide
    flow = flow_of_affine(theta, (9, 8))
    assert_close(flow[:, 0], torch.zeros(2, 2, 9, 8, dtype=torch.float64))
    assert_close(flow[:, 1, 0], torch.full((2, 9, 8), -1.0, dtype=torch.float64))
    assert_close(flow[:, 2, 0, :, -1], torch.full((2, 9), 1.75, dtype=torch.float64))


def test_layers_that_are_alike_are_what_masks_make():
    x, masks = picture(2, 3, 6, 6), picture(2, 4, 6, 6, seed=1).softmax(1)
    assert_close(composite(x[:, None].expand(-1, 4, -1, -1, -1), masks), x)


def test_gradients():
    x = picture(2, 2, 5, 4).requires_grad_()
    raw = (picture(2, 3, 9, seed=1) + 0.1).requires_grad_()  # away from the corner of the cut
    places = (picture(2, 9, 5, 4, seed=2) + 0.1).requires_grad_()
    theta = (IDENTITY + 0.05 * picture(2, 2, 6, seed=3)).requires_grad_()
    logits = picture(2, 4, 5, 4, seed=4).requires_grad_()

    def whole(x, raw, logits):
        moved = move_by_kernels(x, kernel_of(raw).unflatten(2, (3, 3)))
        return composite(torch.cat([x[:, None], moved], 1), logits.softmax(1))

    assert torch.autograd.gradcheck(whole, (x, raw, logits))
    assert torch.autograd.gradcheck(lambda x, raw: move_by_places(x, kernel_of(raw, 1)), (x, places))
    assert torch.autograd.gradcheck(move_by_affine, (x, theta))
    assert torch.autograd.gradcheck(lambda raw: flow_of_kernels(kernel_of(raw)), (raw,))
