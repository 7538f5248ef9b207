"""Colorization by hypercolumns: places, windows, painting, what was released, and the decisive experiment.

A disc on grey whose hue, red, green or blue, follows from its texture, with chroma .5; 150 steps of 16 pictures of 32
pixels, tiny trunk, seeds 0, 1, 2: what came out stands in docs/systems.md. The card asks for a hue error on discs and
a chroma on the background below 1/32. Two controls go wrong as the card says: with a little noise in the colours, hues
of the background are most of the loss where they weigh as much as those of discs; and red, which lies on both sides of
the wrap of hue, becomes cyan where hue is regressed as a number.
"""

import dataclasses
import math
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView
from coview.methods import build, larsson_colorization
from coview.methods.contract import Facts
from coview.methods.larsson_colorization import LarssonSettings
from coview.objectives.hue_chroma import colour_of, divergence, hue_chroma_loss, to_hue_chroma, with_lightness

STEPS = 150
SPECKLE = 0.005  # about one step of 8 bits


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return build("larsson-colorization", dataclasses.replace(LarssonSettings.tiny(), **changes), Facts(rows=64))


def discs(seed, number, size=16, speckle=0.0):
    """Return a batch of textured discs, the hue of each, and how far places are from its middle (32, 32).

    Args:
        speckle: deviation of noise in every channel of the picture.
    """
    generator = torch.Generator().manual_seed(10_000 * seed + number)
    texture = torch.randint(3, (size,), generator=generator)
    phase = 2 * math.pi * torch.rand(size, 1, generator=generator)
    wave = 0.12 * torch.sin(2 * math.pi * torch.arange(32) / 4 + phase)
    lines = torch.stack(
        [wave[:, :, None].expand(-1, -1, 32), wave[:, None].expand(-1, 32, -1), 0 * wave[:, :, None].expand(-1, -1, 32)]
    )
    at = torch.cartesian_prod(torch.arange(32), torch.arange(32)).view(32, 32, 2) - 15.5
    away = at.norm(dim=2)
    inside = away < 11
    level = 0.5 + lines[texture, torch.arange(size)] * inside + 0.02 * torch.randn(size, 32, 32, generator=generator)
    hue = (texture / 3 + 0.008 * torch.randn(size, generator=generator)) % 1
    picture = colour_of(level, hue[:, None, None].expand_as(level), 0.5 * inside.expand_as(level))
    picture = with_lightness(picture, level).movedim(-1, 1)
    if speckle:
        picture = (picture + speckle * torch.randn(picture.shape, generator=generator)).clamp(0, 1)
    rows = torch.arange(size)
    views = {"grey": picture.mean(1, keepdim=True) - 0.4488, "picture": picture}
    return Batch(views=views, row=rows, key=sample_keys(seed, number, rows)), hue, away


def experiment(seed, speckle=0.0):
    """Return the mean error of hue on discs, in turns, that of red ones, their mean chroma, and that of the background;
    with `speckle`, the background's share of the loss.
    """
    method = made(seed)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=STEPS)
    for number in range(STEPS):
        optimiser.zero_grad()
        method(discs(seed, number, speckle=speckle)[0]).loss.backward()
        optimiser.step()
        schedule.step()
    batch, hue, away = discs(seed, 9999, speckle=speckle)
    if speckle:
        return {"background's share of the loss": background_share(method.eval(), batch, away > 12)}
    middle = away < 7
    painted = method.eval().paint(batch.views["picture"]).movedim(1, -1)
    found, chroma, _ = to_hue_chroma(painted)
    apart = ((found[:, middle] - hue[:, None] + 0.5) % 1 - 0.5).abs().mean(1)
    return {
        "hue error": apart.mean().item(),
        "hue error of red": apart[(hue < 0.1) | (hue > 0.9)].mean().item(),
        "chroma of discs": chroma[:, middle].mean().item(),
        "chroma of the background": chroma[:, :3].mean().item(),
    }


@torch.no_grad()
def background_share(method, batch, background):
    """Return how much of the loss comes from places in the background, bool (32, 32)."""
    grey, places = batch.views["grey"], method.places(batch.key, 32)
    said = method.said([grey, *method.maps(grey).values()], places, 32)
    cost = method.cost(said, batch.views["picture"], places)
    return (cost[background[places[..., 0], places[..., 1]]].sum() / cost.sum()).item()


@contextmanager
def evenly_weighted():
    """Let the hue of every place weigh as much, the mean chroma, and not its own chroma."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            larsson_colorization,
            "hue_chroma_loss",
            lambda *given: hue_chroma_loss(*given[:4], given[4].mean().expand_as(given[4]), *given[5:]),
        )
        yield


@contextmanager
def hue_as_a_number():
    """Let the mean number of the histogram of hue be brought to the true one by squared error, and be painted."""
    middles = (torch.arange(32) + 0.5) / 32

    def loss(hue, chroma, hue_target, chroma_target, amount, hue_weight, chroma_weight):
        number = hue.softmax(1) @ middles
        return divergence(chroma_target, chroma) + hue_weight * amount * (number - hue_target @ middles).square()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(larsson_colorization, "hue_chroma_loss", loss)
        patch.setattr(larsson_colorization, "decode_hue", lambda hue, rule: (hue @ middles, 1.0))
        yield


@pytest.mark.slow
def test_hue_follows_the_texture_and_the_background_stays_grey():
    found = experiment(0)
    assert found["hue error"] < 1 / 32
    assert found["chroma of the background"] < 1 / 32
    assert found["chroma of discs"] > 0.3


@pytest.mark.slow
def test_hues_of_the_background_are_most_of_the_loss_where_they_weigh_as_much():
    weighted = experiment(0, speckle=SPECKLE)["background's share of the loss"]
    with evenly_weighted():
        assert experiment(0, speckle=SPECKLE)["background's share of the loss"] > 0.5 > 2 * weighted


@pytest.mark.slow
def test_red_becomes_cyan_where_hue_is_a_number():
    with hue_as_a_number():
        assert experiment(0)["hue error of red"] > 1 / 3


@pytest.mark.parametrize(
    ("encoder", "changes"),
    [
        ("resnet-18", {"as_released": True, "window": 3}),
        ("vgg-16", {"samples": 4, "hidden": 8}),
        ("image-tiny", {"form": "lab", "window": 3}),
        ("image-tiny", {"form": "lab-joint"}),
        ("image-tiny", {"form": "lab-l2"}),
        ("alexnet", {"hue_rule": "mode", "chroma_rule": "q75"}),
    ],
)
def test_forms_and_trunks(encoder, changes):
    if encoder == "vgg-16":  # half a gigabyte of weights
        with torch.device("meta"):
            method = made(encoder=encoder, **changes)
            hypercolumn = method.makers["histograms"][0].in_features
        assert hypercolumn == 12_417
        return
    method = made(encoder=encoder, image=dataclasses.replace(LarssonSettings.tiny().image, size=64), **changes)
    batch = method.example_batch(2, 0)
    batch.views["picture"] = batch.views["picture"].sigmoid()
    step = method(batch)
    step.loss.backward()
    assert step.loss.isfinite()
    assert all(p.grad.isfinite().all() for p in method.parameters())
    assert method.eval().paint(torch.rand(1, 3, 70, 90)).shape == (1, 3, 70, 90)


def test_places_come_from_the_key_and_keep_the_edge():
    keys = torch.arange(50)
    method = made(samples=128)
    places = method.places(keys, 352)
    assert torch.equal(places, made(seed=1, samples=128).places(keys, 352))
    assert places.shape == (50, 128, 2) and places.min() == 0 and places.max() == 351
    released = made(samples=128, as_released=True).places(keys, 352)
    assert released.min() == 96 and released.max() == 255


def test_sampled_and_dense_say_the_same():
    method = made().eval()
    grey = torch.randn(2, 1, 32, 32)
    places = torch.tensor([[[0, 0], [4, 12], [28, 28]]]).expand(2, -1, -1)
    maps = [grey, *method.maps(grey).values()]
    said = method.said(maps, places + 1.5, 32).unflatten(2, (2, 32)).softmax(-1).flatten(2)
    dense = method.shares(grey)
    assert dense.shape == (2, 64, 8, 8)
    assert_close(said, dense[:, :, places[0, :, 0] // 4, places[0, :, 1] // 4].transpose(1, 2))


def test_grey_places_say_nothing_of_hue_and_the_hue_weight_is_linear():
    picture = torch.full((1, 3, 32, 32), 0.3)
    picture[:, 0, 16:] = 0.8
    grey, red = torch.tensor([[[4, 4]]]), torch.tensor([[[20, 20]]])
    said = torch.randn(1, 1, 64)
    other = torch.cat([said[..., :32].flip(-1), said[..., 32:]], -1)
    one, two, three = (made(hue_weight=weight) for weight in (1.0, 2.0, 3.0))
    assert torch.equal(one.cost(said, picture, grey), one.cost(other, picture, grey))
    assert not torch.equal(one.cost(said, picture, red), one.cost(other, picture, red))
    first, second, third = (method.cost(said, picture, red) for method in (one, two, three))
    assert_close(third - second, second - first)


def test_released_chroma_says_nothing_at_black_and_white():
    picture = torch.ones(1, 3, 32, 32)
    picture[:, :, 16:] = 0.5
    said, places = torch.randn(1, 2, 64), torch.tensor([[[4, 4], [28, 28]]])
    cost = made(as_released=True, window=1).cost(said, picture, places)
    plain = made(window=1).cost(said, picture, places)
    assert cost[0, 0] == 0
    assert_close(cost[0, 1], plain[0, 1])


def test_gradient():
    method = made(window=3).double()
    picture = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    places = torch.tensor([[[0, 0], [8, 3]]])
    said = torch.randn(1, 2, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: method.cost(x, picture, places), said)


@pytest.mark.parametrize("form", ["lab", "lab-joint", "lab-l2"])
def test_forms_of_lab_know_a_colour_that_is_everywhere(form):
    method = made(form=form)
    colour = torch.tensor([0.7, 0.4, 0.3])[:, None, None].expand(3, 32, 32)[None]
    places = torch.tensor([[[4, 4]]])
    bins = 1 if form == "lab-l2" else 256 if form == "lab-joint" else 32
    said = torch.zeros(1, 1, 512 // 2 if form == "lab-joint" else 2 * bins, requires_grad=True)
    optimiser = torch.optim.Adam([said], 0.1 if form == "lab-l2" else 1.0)
    for _ in range(100):
        optimiser.zero_grad()
        method.cost(said, colour, places).sum().backward()
        optimiser.step()
    assert method.cost(said, colour, places) < 1e-3
    method.said = lambda maps, places, side: said.expand(*places.shape[:2], -1)
    with torch.no_grad():
        found = method.paint(colour)
    assert_close(found, colour, rtol=0, atol=0.03)


def test_painting_keeps_the_mean_of_the_channels_in_the_middle_of_the_range():
    pictures = 0.5 + 0.1 * torch.rand(2, 3, 70, 40)
    method = made(chroma_rule="mode").eval()
    method.makers["histograms"][-1].bias.data[32] = 9.0  # little chroma
    assert_close(method.paint(pictures).mean(1), pictures.mean(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"window": 2}, {"edge": 16}, {"dropout": 1.0}, {"samples": 0}, {"hue_weight": -1.0}]
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(LarssonSettings.tiny(), **changes)


def test_a_view_of_intensity():
    view = ImageView(size=16, margin=1.0, normalise="none", space="intensity")
    assert view.shape == (1, 16, 16)
    raw = torch.full((1, 3, 1, 16, 16), 255, dtype=torch.uint8)
    seen = view.prepare(raw, None, torch.ones(1, dtype=torch.bool), made().published.augment, None)
    assert_close(seen, torch.full((1, 1, 16, 16), 1 - 0.4488))
