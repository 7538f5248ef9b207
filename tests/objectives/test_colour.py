"""sRGB and CIELAB: against golden values, there and back, differentiable, and in the parts that views see."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.colour import join, lab_to_srgb, split, srgb_to_lab

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "colorization.npz")


def test_golden():
    rgb = torch.from_numpy(GOLDEN["rgb_u8"]).double().permute(2, 0, 1)[None] / 255
    lab = torch.from_numpy(GOLDEN["lab"]).permute(2, 0, 1)[None]
    torch.testing.assert_close(srgb_to_lab(rgb), lab, atol=1e-9, rtol=0)
    torch.testing.assert_close(lab_to_srgb(lab), torch.from_numpy(GOLDEN["rgb_back"]).permute(2, 0, 1)[None])


def test_known_colours():
    white, black = torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    torch.testing.assert_close(srgb_to_lab(white).flatten(), torch.tensor([100.0, 0, 0]), atol=2e-2, rtol=0)
    assert srgb_to_lab(black).abs().max() < 1e-4
    grey = torch.linspace(0, 1, 11)[:, None, None, None].expand(-1, 3, -1, -1)
    assert srgb_to_lab(grey)[:, 1:].abs().max() < 2e-2


def test_there_and_back_for_pictures_and_clips():
    clip = torch.rand(2, 3, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lab_to_srgb(srgb_to_lab(clip)), clip)
    torch.testing.assert_close(lab_to_srgb(srgb_to_lab(clip), clip=False), clip)
    torch.testing.assert_close(join(split(clip, "lightness"), split(clip, "colour")), clip)
    assert split(clip, "rgb") is clip
    assert split(clip, "lightness").shape == (2, 1, 4, 5, 6) and split(clip, "colour").shape == (2, 2, 4, 5, 6)


def test_colours_that_srgb_lacks_are_cut_or_not():
    lab = torch.tensor([50.0, 100.0, -100.0]).double()[None, :, None]
    assert (lab_to_srgb(lab) >= 0).all() and (lab_to_srgb(lab, clip=False) < 0).any()


@pytest.mark.parametrize("value", [0.0, 0.04045, 1.0])
def test_gradients_are_right_and_finite_at_the_edges(value):
    rgb = torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(srgb_to_lab, rgb)
    lab = srgb_to_lab(rgb).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lab_to_srgb(x, clip=False), lab)
    edge = torch.full((1, 3, 2), value, dtype=torch.float64, requires_grad=True)
    lab_to_srgb(srgb_to_lab(edge)).sum().backward()
    assert torch.isfinite(edge.grad).all()
