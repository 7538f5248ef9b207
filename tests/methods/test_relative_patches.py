"""Relative position's decisive experiment: what the lens and the border give away, and what closes it.

Pictures of noise, 64 x 64, smoothed over `grain` pixels, the red plane enlarged about the centre: they hold nothing to
learn, so whatever is above .125 is a leak. Patches of 16 pixels, gap 4, jitter 1, no shrinking; image-tiny, 350 Adam
steps of 11 pictures (132 pairs), balanced accuracy on 300 new pictures (3,600 pairs). The figures of three seeds stand
in docs/systems.md (`python benchmarks/decisive.py relative-position`).
"""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, grid_sample
from torch.testing import assert_close

from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.relative_position import RelativePositionSettings
from coview.objectives.relative_position import OFFSETS
from coview.randomness import normal, uniform

FACTS = Facts(rows=64)
PLAIN = ImageView(size=64, margin=1.0, normalise="none")


def made(**changes):
    return build("relative-position", dataclasses.replace(RelativePositionSettings.tiny(), **changes), FACTS)


def enlarged(plane, by):
    """Return planes (B, 1, S, S) about 1 + by times as large, around the centre."""
    size = plane.shape[-1]
    line = ((torch.arange(size) * 2 + 1) / size - 1) / (1 + by)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(len(plane), -1, -1, -1)
    return grid_sample(plane, grid, align_corners=False, padding_mode="reflection")


def noise(key, grain=3, wider=0.0, planes=(0,)):
    """Return grey noise (B, 3, 64, 64) whose colours `planes` a lens has enlarged."""
    grey = avg_pool2d(normal(key, 1, 1, 63 + grain, 63 + grain), grain, 1)
    moved = enlarged(grey, wider) if wider else grey
    return torch.cat([moved if plane in planes else grey for plane in range(3)], 1)


def rings(key):
    """Return pictures of rings around the middle: which way they bend says where a patch lies."""
    line = torch.arange(64) - 31.5
    far = (line.square()[:, None] + line.square()).sqrt()
    pace, phase = 0.4 + 0.4 * uniform(key, 1, 1, 1, 1), 6.3 * uniform(key, 2, 1, 1, 1)
    return torch.cos(pace * far + phase).expand(-1, 3, -1, -1) + 0.3 * normal(key, 3, 3, 64, 64)


def pictures(x, epoch=0):
    rows = torch.arange(len(x))
    return Batch(views={"image": x}, row=rows, key=sample_keys(0, epoch, rows))


def accuracy(seed=0, draw=noise, colour="drop", gap=4, jitter=1, shrink=0.0, **world):
    """Train on made pictures; returns the balanced accuracy on new ones."""
    torch.manual_seed(seed)
    method = made(image=PLAIN, colour=colour, gap=gap, jitter=jitter, shrink=shrink)
    optimiser = torch.optim.Adam(method.parameters(), 2e-3)

    def batch(size, step):
        key = sample_keys(seed, step, torch.arange(size))
        return dataclasses.replace(pictures(draw(key, **world)), key=key)

    for step in range(350):
        optimiser.zero_grad()
        method(batch(11, step)).loss.backward()
        optimiser.step()
    with torch.no_grad():
        return method.eval()(batch(300, 1_000_000)).parts["accuracy"].item()


@pytest.mark.slow
def test_one_per_cent_of_aberration_is_a_leak_and_dropping_colours_closes_it():
    assert accuracy(colour="keep", wider=0.01) > 0.7
    assert abs(accuracy(wider=0.01) - 1 / 8) < 0.025
    assert abs(accuracy(colour="keep") - 1 / 8) < 0.025, "no lens, no leak"


@pytest.mark.slow
def test_continued_borders_are_a_leak_and_a_gap_closes_it():
    assert accuracy(colour="keep", gap=0, jitter=0, grain=7) > 0.2
    assert abs(accuracy(colour="keep", gap=8, jitter=1, grain=7) - 1 / 8) < 0.025


@pytest.mark.slow
def test_what_bends_says_where_it_lies():
    assert accuracy(draw=rings, gap=6, jitter=2, shrink=0.33) > 0.5


def test_trunk_runs_once_over_the_patches_of_all_grids():
    method, calls = made(grids=3), []
    method.encoders["image"].register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].shape))
    step = method(method.example_batch(4, 0))
    assert calls == [(4 * 3 * 4, 3, 16, 16)]
    assert step.embeddings["image"].shape == (4, 64)


def test_patches_lie_where_the_grid_says():
    method = made(colour="keep", shrink=0.0, jitter=0, image=PLAIN)
    ramp = torch.stack([torch.arange(64.0).expand(64, 64).T, torch.arange(64.0).expand(64, 64), torch.zeros(64, 64)])
    seen = []
    method._colours = lambda patches, key: seen.append(patches) or patches
    method.patches(ramp[None], torch.tensor([7]))
    corners = seen[0][:, :2, 0, 0]
    assert_close(corners - corners[0], torch.tensor([[0.0, 0.0], [0.0, 22.0], [22.0, 0.0], [22.0, 22.0]]))


def test_patches_have_one_scale_and_depend_on_their_own_key_alone():
    method = made()
    batch = method.example_batch(6, 0)
    patches = method.patches(batch.views["image"], batch.key)
    assert_close(patches.square().mean((1, 2, 3)).sqrt(), torch.ones(24))
    alone = method.patches(batch.views["image"][2:3], batch.key[2:3])
    assert_close(alone, patches[8:12])


def test_as_released_is_a_sum_at_another_scale():
    plain, released = (made(as_released=flag, colour="keep") for flag in (False, True))
    released.load_state_dict(plain.state_dict())
    batch = plain.example_batch(4, 0)
    scaled = [method.patches(batch.views["image"], batch.key) for method in (plain, released)]
    assert_close(scaled[1], 50 * scaled[0])
    released.patches = plain.patches
    assert_close(released(batch).loss, plain(batch).loss * 4 * 12)
    assert released.chance_loss(4) is None


def test_projection_takes_the_lens_axis_out_of_stored_colours():
    axis = torch.tensor([-1.0, 2.0, -1.0])[:, None, None]
    for normalise in ("none", "imagenet"):
        method = made(image=ImageView(size=64, margin=1.0, normalise=normalise), colour="project", shrink=0.0)
        fringes = torch.randn(2, 1, 64, 64) * axis / method.scale[:, None, None]
        greys = torch.randn(2, 1, 64, 64) / method.scale[:, None, None]
        patches, both = (method.patches(x, torch.arange(2)) for x in (greys, greys + fringes))
        assert_close(both, patches, rtol=1e-4, atol=1e-5)


def test_a_guess_costs_what_chance_says():
    method = made()
    with torch.no_grad():
        last = method.compare[-1]
        last.weight.zero_()
        last.bias.copy_((method.labels.bincount() / len(method.labels)).log())
    step = method(method.example_batch(8, 0))
    assert step.loss.item() == pytest.approx(method.chance_loss(8), abs=1e-5)
    assert method.chance_loss(8) < math.log(len(OFFSETS))
    assert step.parts["accuracy"] == pytest.approx(1 / 8)


def test_gradient_is_the_finite_difference():
    method = made().double()
    batch = method.example_batch(4, 0)
    batch.views["image"] = batch.views["image"].double()
    generator = torch.Generator().manual_seed(0)
    method(batch).loss.backward()
    ways = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in method.parameters()]
    slope = sum((p.grad * way).sum() for p, way in zip(method.parameters(), ways, strict=True))
    found = []
    with torch.no_grad():
        for step in (1e-9, -2e-9):
            for parameter, way in zip(method.parameters(), ways, strict=True):
                parameter += step * way
            found.append(method(batch).loss)
    assert_close((found[0] - found[1]) / 2e-9, slope, rtol=1e-4, atol=1e-7)


def test_published_trunk_and_patches():
    method = made(image=ImageView(size=384), image_encoder="caffenet-patches", patch=96, gap=48, jitter=7)
    assert method.projectors["image"][0].weight.shape == (64, 2304)
    step = method(method.example_batch(2, 0))
    step.loss.backward()
    assert abs(step.loss.item() - math.log(8)) < 0.5
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize("encoder", ["resnet-18", "resnet-50"])
def test_residual_trunks(encoder):
    method = made(image_encoder=encoder)
    method(method.example_batch(2, 0)).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize("colour", ["drop", "project", "keep"])
@pytest.mark.parametrize("as_released", [False, True])
def test_grey_and_empty_pictures_are_finite(colour, as_released):
    method = made(colour=colour, as_released=as_released)
    x = torch.stack([torch.zeros(3, 64, 64), torch.rand(1, 64, 64).expand(3, -1, -1)])
    step = method(pictures(x))
    step.loss.backward()
    assert step.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_lightness_alone_has_no_lens():
    method = made(image=dataclasses.replace(PLAIN, space="lightness"), colour="keep")
    assert method(method.example_batch(2, 0)).loss.isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": ImageView(size=58)}, "raise image.size to 59"),
        ({"patch": 40}, "smaller than a grid of 2 x 2 patches"),
        ({"patch": 0}, "patch >= 4"),
        ({"shrink": 1.5}, "share"),
        ({"image": ImageView(size=64, space="lightness")}, "use colour=keep"),
        ({"image": ImageView(size=64, normalise="clip")}, "imagenet or none"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RelativePositionSettings.tiny(), **changes)
