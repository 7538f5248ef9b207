"""The context encoder's decisive experiments, its two players, and what a hole lets through.

Stripes of random direction, width and phase, 32 x 32, a hole of 16 x 16 in the middle, seen by an encoder whose
features see 4 x 4 pixels each: the four pixels in the middle of the hole are 7 away from anything known, and only a
middle that mixes places can fill them. And holes that are black or white with equal odds, which nothing around tells:
the squared error asks for grey, the critic for one of the two. The figures of three seeds stand in docs/systems.md
(`python benchmarks/decisive.py context-encoder`).
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from coview import encoders
from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView
from coview.encoders import Encoder
from coview.encoders.strided import Critic
from coview.errors import UsageError
from coview.methods import build, load_method
from coview.methods.context_encoder import ContextEncoderSettings
from coview.methods.contract import Facts
from coview.model import Model
from coview.objectives.inpainting import centre_mask, hole_error, real_or_made, taken_for_real
from coview.randomness import normal, uniform

FACTS = Facts(rows=64)
PLAIN = ImageView(size=32, margin=1.0, normalise="none")
GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "context-encoder.npz").items()
}


def made(**changes):
    return build("context-encoder", dataclasses.replace(ContextEncoderSettings.tiny(), **changes), FACTS)


def pictures(x, epoch=0, step=0):
    rows = torch.arange(len(x))
    return Batch(views={"image": x}, row=rows, key=sample_keys(0, epoch, rows), epoch=epoch, step=step)


class Patches(Encoder):
    """Squares of 4 pixels, each by itself."""

    dim, stages = 128, ("conv",)

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(channels, 128, 4, 4), nn.BatchNorm2d(128), nn.ReLU())

    def feature_maps(self, x):
        return {"conv": self.conv(x)}

    def pool(self, maps):
        return maps.mean((2, 3))


def stripes(key):
    line = torch.arange(32) - 15.5
    angle, width, phase = (math.pi * uniform(key, stream, 1, 1) for stream in range(3))
    along = angle.cos() * line[:, None] + angle.sin() * line
    wave = torch.cos(2 * math.pi / (6 + 4 * width / math.pi) * along + 2 * phase)
    return (0.5 + 0.4 * wave)[:, None].expand(-1, 3, -1, -1)


def black_or_white(key):
    around = 0.5 + 0.05 * normal(key, 1, 3, 32, 32)
    return torch.where(centre_mask(32), (uniform(key, 2, 1, 1, 1) < 0.5).float(), around)


def fill(draw, seed=0, steps=200, **changes):
    """Train on made pictures; returns true and made tones of new ones, (128, 3, 32, 32), and their holes."""
    encoders.IMAGE["patches"] = Patches
    torch.manual_seed(seed)
    method = made(image=PLAIN, image_encoder="patches", hole="centre", **changes)
    groups = [{**group, "lr": 2e-3 * group["lr_scale"]} for group in method.parameter_groups(0.0)]
    optimiser = torch.optim.Adam(groups, betas=(0.5, 0.999))

    def batch(size, step):
        key = sample_keys(seed, step, torch.arange(size))
        return dataclasses.replace(pictures(draw(key)), key=key)

    for step in range(steps):
        optimiser.zero_grad()
        method(batch(16, step)).loss.backward()
        optimiser.step()
    new = batch(128, 1_000_000)
    x, holes = new.views["image"], method.eval().holes(new)
    del encoders.IMAGE["patches"]
    return method.tones(x), method.tones(method.sketch(x, holes)), holes


def left_over(seed=0, **changes):
    """Return the error that stripes leave, as a share of the mean colour's: in the hole, and in its middle."""
    true, found, holes = fill(stripes, seed, adversary=0.0, **changes)
    inner = centre_mask(32, 7).expand_as(holes)
    return [float(hole_error(true, found, m).mean() / hole_error(true, 0 * true, m).mean()) for m in (holes, inner)]


def boldness(seed=0, **changes):
    """Return how far from grey (0) the holes are filled that are black (-1) or white (1)."""
    _, found, _ = fill(black_or_white, seed, steps=100, **changes)
    return float(found[:, :, 9:23, 9:23].abs().mean())


@pytest.mark.slow
def test_stripes_are_continued_only_where_places_are_mixed():
    assert left_over()[1] < 0.4
    assert abs(left_over(steps=100, middle="local")[1] - 1) < 0.1


@pytest.mark.slow
def test_the_critic_moves_what_cannot_be_known_from_grey_to_a_side():
    assert boldness(adversary=0.0) < 0.3
    assert boldness(adversary=0.9, critic=16, critic_rate=0.5) > 0.5


def test_golden_loss_and_gradient_of_one_backward_pass():
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.pred = nn.Parameter(GOLDEN["pred"].clone())

        def forward(self, maps):
            return nn.functional.pad(self.pred, (8, 8, 8, 8)) + 0 * maps.sum()

    class Bright(nn.Module):
        def forward(self, x):
            return 3 * x.mean((1, 2, 3))

    method = made(image=PLAIN, hole="centre", overlap=4, adversary=float(1 - GOLDEN["wtl2"])).double()
    method.makers["image"], method.critic = Given(), Bright()
    x = nn.functional.pad((GOLDEN["target"] + 1) / 2, (8, 8, 8, 8))
    step = method(pictures(x))
    told = real_or_made(3 * GOLDEN["target"].mean((1, 2, 3)), 3 * GOLDEN["pred"].mean((1, 2, 3))).mean()
    assert_close(step.loss.detach() - told, GOLDEN["total_weighted"], rtol=0, atol=1e-9)
    assert_close(step.parts["fooled"], GOLDEN["adv_g"], rtol=0, atol=1e-9)
    step.loss.backward()
    assert_close(method.makers["image"].pred.grad, GOLDEN["grad"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("hole", ["centre", "blocks"])
def test_each_player_learns_from_its_own_terms_alone(hole):
    method = made(hole=hole, adversary=0.2).double()
    batch = method.example_batch(4, 0)
    batch.views["image"] = batch.views["image"].double()
    method(batch).loss.backward()
    both = {name: p.grad.clone() for name, p in method.named_parameters()}
    x, holes = batch.views["image"], method.holes(batch)
    maps = method.encoders["image"].feature_maps(method.dug(x, holes))["conv4"]
    filled, true = method.makers["image"](maps), method.tones(x)
    error = hole_error(true, filled, holes).mean()
    seen, real = (method._middle(y) for y in (torch.where(holes, filled, true), true))
    mine = 0.8 * error + 0.2 * taken_for_real(method.critic(seen)).mean()
    theirs = real_or_made(method.critic(real), method.critic(seen.detach())).mean()
    for loss, ours in ((mine, False), (theirs, True)):
        chosen = {name: p for name, p in method.named_parameters() if name.startswith("critic.") is ours}
        found = torch.autograd.grad(loss, list(chosen.values()), retain_graph=True)
        assert_close(dict(zip(chosen, found, strict=True)), {name: both[name] for name in chosen})


def test_the_critic_has_its_own_rate_and_stays_at_home(tmp_path):
    method = made(critic_rate=0.25).eval()
    groups = method.parameter_groups(0.0)
    assert {group["lr_scale"] for group in groups} == {1.0, 0.25}
    critic = {id(p) for p in method.critic.parameters()}
    assert {id(p) for group in groups if group["lr_scale"] == 0.25 for p in group["params"]} == critic
    about = {"collection": {"name": "made", "fingerprint": "", "rows": 64}, "classes": []}
    Model(method, Preprocess(method.views, PRESETS["none"]), about).save(tmp_path)
    kept = Model.from_run(tmp_path).method.eval()
    assert kept.critic is None
    batch = method.example_batch(2, 0)
    x, holes = batch.views["image"], method.holes(batch)
    assert torch.equal(kept.sketch(x, holes), method.sketch(x, holes))


@pytest.mark.parametrize("hole", ["centre", "blocks", "free"])
def test_nothing_of_the_hole_reaches_what_is_made(hole):
    method = made(hole=hole).eval()
    batch = method.example_batch(4, 0)
    x, holes = batch.views["image"], method.holes(batch)
    other = torch.where(holes, 7.0, x)
    assert not torch.equal(x, other)
    first, second = (method.sketch(y, holes) for y in (x, other))
    assert torch.equal(first, second)
    assert torch.equal(torch.where(holes, 0.0, first), torch.where(holes, 0.0, x))
    assert torch.equal(method.dug(x, holes)[holes.expand_as(x)], torch.zeros(int(holes.sum()) * 3)), "the mean colour"


def test_no_hole_changes_nothing_and_nothing_but_hole_is_refused():
    method = made().eval()
    x = method.example_batch(2, 0).views["image"]
    assert torch.equal(method.sketch(x, torch.zeros(2, 1, 32, 32, dtype=torch.bool)), x)
    holes = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    holes[1] = True
    with pytest.raises(UsageError, match="a hole covers its whole picture"):
        method.sketch(x, holes)


def test_as_released():
    plain, released = made(), made(as_released=True)
    batch = plain.example_batch(4, 0)
    x, holes, one = batch.views["image"], plain.holes(batch), released.holes(batch)
    assert not torch.equal(holes[0], holes[1])
    assert torch.equal(one, one[:1].expand_as(one))
    assert not torch.equal(released.holes(dataclasses.replace(batch, step=1)), one)
    fill = released.tones(released.fill.expand(1, 3, 1, 1)).flatten()
    assert_close((fill + 1) / 2 * 255, torch.tensor([117.0, 104.0, 123.0]))
    judged, weight = released._judged(one)
    assert judged.all()
    assert weight is None
    _, weight = made(as_released=True, overlap=4)._judged(one)
    assert torch.equal(weight, torch.where(one, 1.0, 10.0))
    assert released(batch).loss.isfinite()
    assert x.shape == released.sketch(x, one).shape


def test_border_of_the_middle_counts_tenfold():
    method = made(hole="centre", overlap=3)
    judged, weight = method._judged(method.holes(method.example_batch(2, 0)))
    assert judged[0].sum() == 16**2
    assert (weight[0, 0] == 10).sum() == 16**2 - 10**2
    odd = made(image=ImageView(size=35, margin=1.0), hole="centre", overlap=2)
    assert odd(odd.example_batch(2, 0)).loss.isfinite()


@pytest.mark.parametrize(
    ("encoder", "middle"),
    [("resnet-18", "channelwise"), ("resnet-50", "local"), ("strided", "dense"), ("caffenet", "channelwise")],
)
def test_trunks_and_middles(encoder, middle):
    size = 32 if encoder.startswith("resnet") else 128
    method = made(image=ImageView(size=size, margin=1.0), image_encoder=encoder, middle=middle)
    method(method.example_batch(2, 0)).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize("space", ["rgb", "lightness", "colour"])
def test_empty_pictures_are_finite_in_every_space(space):
    method = made(image=dataclasses.replace(PLAIN, space=space))
    step = method(pictures(torch.zeros(2, *method.views["image"].shape)))
    step.loss.backward()
    assert step.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_critic_of_the_released_size():
    critic = Critic((3, 64, 64))
    assert [p.shape[:2] for p in critic.parameters() if p.ndim == 4] == [(64, 3), (128, 64), (256, 128), (512, 256)]
    assert sum(p.numel() for p in critic.parameters()) == 2_765_568
    assert critic(torch.zeros(2, 3, 64, 64)).shape == (2,)


def test_without_a_critic_there_is_none():
    method = made(adversary=0.0)
    step = method(method.example_batch(4, 0))
    assert set(step.parts) == {"error"}
    assert_close(step.loss.detach(), step.parts["error"])
    assert method.critic is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversary": 1.0}, "0 <= adversary < 1"),
        ({"critic_rate": 0.0}, "critic_rate > 0"),
        ({"hole": "centre", "overlap": 8}, "nothing would be left of the hole"),
        ({"overlap": 2}, "overlap is for the hole in the centre"),
        ({"image": ImageView(size=32, normalise="clip")}, "imagenet or none"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(load_method("context-encoder").Settings.tiny(), **changes)
