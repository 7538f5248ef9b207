"""Split-brain: halves that share nothing, both forms, RGB and depth, and the decisive experiment.

Six classes, each a texture in lightness and a hue, in pairs: every texture goes with two hues and every hue with two
textures, so that one of them alone tells the class half of the time. 32-pixel pictures, tiny trunk, 150 steps of 64;
linear probe, 600 pictures to learn from and 600 new ones, seeds 0, 1, 2; what came out stands in docs/systems.md. The
card asks that both halves together beat either half and the autoencoder of Lab, and that where lightness alone says
the class, the half that sees colour stays near chance.
"""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot
from torch.testing import assert_close

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import Batch
from coview.evaluation.stages import known_stages, stage_features, stages_of
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.split_brain import SplitBrainSettings
from coview.model import Model
from coview.objectives.cross_channel import CLASSES, NUMBERS, half_squared, known_half_squared, lightness_cost

FACTS = Facts(rows=64)
STEPS = 150
PAIRS = torch.tensor([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 0)])


def test_golden_squared_error():
    golden = np.load(Path(__file__).parents[1] / "golden" / "split-brain.npz")
    y = torch.from_numpy(golden["y"])
    true = torch.ones_like(y)
    assert_close(half_squared(y, true).sum(), torch.from_numpy(golden["l2_loss"]), rtol=0, atol=1e-9)
    assert_close(known_half_squared(y, true), half_squared(y, true), rtol=0, atol=0)


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return build("split-brain", dataclasses.replace(SplitBrainSettings.tiny(), **changes), FACTS)


def learn(method, batches, lr=1e-3):
    optimiser = torch.optim.Adam(method.parameters(), lr)
    for batch in batches:
        optimiser.zero_grad()
        step = method(batch)
        step.loss.backward()
        optimiser.step()
    return method.eval()


def textured(texture, hue, generator):
    """Return lightness and colour of pictures of textures and hues 0, 1, 2 (B,), with noise."""
    count = len(texture)
    phase = 2 * math.pi * torch.rand(2, count, 1, 1, generator=generator)
    line = 2 * math.pi * torch.arange(32) / 8
    rows, columns = torch.sin(line[:, None] + phase[0]), torch.sin(line + phase[1])
    waves = torch.stack([rows.expand(-1, 32, 32), columns.expand(-1, 32, 32), rows * columns * 1.4])
    lightness = 0.4 * waves[texture, torch.arange(count)][:, None]
    angle = 2 * math.pi * hue / 3 + 0.3 * torch.randn(count, generator=generator)
    colour = 0.4 * torch.stack([angle.cos(), angle.sin()], 1)[:, :, None, None].expand(-1, -1, 32, 32)
    noise = {"lightness": 0.3, "colour": 0.1}
    return {
        name: view + noise[name] * torch.randn(view.shape, generator=generator)
        for name, view in {"lightness": lightness, "colour": colour}.items()
    }


def drawn(seed, number, coloured=True, size=64):
    """Return a batch of the six classes; without `coloured` the class is the texture, and the hue any."""
    generator = torch.Generator().manual_seed(100_000 * seed + number)
    label = torch.randint(6 if coloured else 3, (size,), generator=generator)
    hue = torch.randint(3, (size,), generator=generator)
    views = textured(*(PAIRS[label].T if coloured else (label, hue)), generator)
    rows = torch.arange(size)
    return Batch(views=views, row=rows, key=sample_keys(seed, number, rows), label=label)


def probe(features, label):
    """Return the accuracy on the second half of a ridge regression on the first."""
    count = len(features) // 2
    x = (features - features[:count].mean(0)) / (features[:count].std(0) + 1e-6)
    x = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    fitted = torch.linalg.solve(
        x[:count].T @ x[:count] + 10.0 * torch.eye(x.shape[1]).double(), x[:count].T @ one_hot(label[:count]).double()
    )
    return ((x[count:] @ fitted).argmax(1) == label[count:]).double().mean().item()


@torch.no_grad()
def probed(method, seed, coloured=True):
    batch = drawn(seed, 9999, coloured, size=1200)
    return {name: probe(value, batch.label) for name, value in method.embed(batch).items()}


def experiment(seed, coloured=True, **changes):
    """Return the accuracy of a probe of each half and of both; chance 1/6, or without `coloured` 1/3."""
    method = learn(made(seed, **changes), (drawn(seed, number, coloured) for number in range(STEPS)))
    return probed(method, seed, coloured)


def autoencoder(seed):
    """Return the accuracy of a probe of an autoencoder of the three channels together."""
    from coview.methods.denoising_autoencoder import DenoisingSettings

    torch.manual_seed(seed)
    method = build("denoising-autoencoder", dataclasses.replace(DenoisingSettings.tiny(), strength=0.0), FACTS)

    def joined(number, size=64):
        batch = drawn(seed, number, size=size)
        return dataclasses.replace(batch, views={"image": torch.cat(list(batch.views.values()), 1)}, present={})

    learn(method, (joined(number) for number in range(STEPS)))
    batch = joined(9999, 1200)
    with torch.no_grad():
        return probe(method.embed(batch)["image"], batch.label)


@pytest.mark.slow
def test_both_halves_know_what_neither_does():
    found = experiment(0)
    assert found["joint"] > max(found["lightness"], found["colour"]) + 0.2


@pytest.mark.slow
def test_colour_says_nothing_of_a_class_of_lightness():
    assert experiment(0, coloured=False)["colour"] < 0.42


def test_no_half_sees_the_other_and_no_gradient_crosses():
    method = made().double()
    batch = method.example_batch(4, 0)
    batch.views = {name: view.double() for name, view in batch.views.items()}
    other = dataclasses.replace(batch, views={**batch.views, "colour": batch.views["colour"].flip(0)})
    before, after = (method.embed(each) for each in (batch, other))
    assert torch.equal(before["lightness"], after["lightness"])
    assert not torch.equal(before["colour"], after["colour"])
    method.zero_grad()
    method.encoders["lightness"].requires_grad_(False)
    method.makers["lightness"].requires_grad_(False)
    method(batch).loss.backward()
    assert all(p.grad is None for p in method.encoders["lightness"].parameters())
    wide = method.encoders["lightness"].dim + method.encoders["colour"].dim
    assert before["joint"].shape == (4, wide)


def test_together_is_apart_to_the_bit():
    both = made()
    alone = {half: made(halves=half) for half in ("first", "second")}
    for method in alone.values():
        method.load_state_dict({k: v for k, v in both.state_dict().items() if k in method.state_dict()})
    batches = [drawn(0, number, size=8) for number in range(3)]
    learn(both, batches)
    for method in alone.values():
        learn(method, batches)
        for name, value in method.state_dict().items():
            assert torch.equal(value, both.state_dict()[name]), name


def tied(shared, form):
    """Return two halves whose weights are those of one network for both, as each of them sees it."""
    apart = made(form=form)
    for name, other in (("lightness", "colour"), ("colour", "lightness")):
        state = shared.encoders[name].whole.state_dict()
        first = next(iter(state))
        state[first] = state[first][:, :1] if name == "lightness" else state[first][:, 1:]
        apart.encoders[name].load_state_dict(state)
        head = shared.makers["joint"].state_dict()
        wide = apart.makers[name][other][-1].out_channels
        last = slice(0, wide) if other == "lightness" else slice(-wide, None)
        apart.makers[name][other].load_state_dict(
            {k: v[last] if k.startswith(str(len(shared.makers["joint"]) - 1)) else v for k, v in head.items()}
        )
    return apart


@pytest.mark.parametrize("form", ["classification", "regression"])
def test_one_network_for_both_halves_has_the_halves_as_a_limit(form):
    half, mixed = made(shared=0.5, form=form).eval(), made(shared=1 / 3, form=form).eval()
    apart, batch = tied(half, form).eval(), drawn(0, 0, size=4)
    one, two = half(batch), apart(batch)
    assert set(one.parts) == {"lightness", "colour", "grey"}
    assert_close(one.loss, two.loss / 2)
    for name in ("lightness", "colour"):
        assert_close(one.parts[name], two.parts[name])
        assert_close(one.embeddings[name], two.embeddings[name])
    parts = mixed(batch).parts
    said = mixed.look_through(torch.cat([batch.views["lightness"], batch.views["colour"]], 1))[1]
    both = sum(mixed.cost(mixed.aims(name)[name], said[name], batch.views[name]).mean() for name in said)
    assert_close(parts["joint"], both)
    assert_close(mixed(batch).loss, (parts["lightness"] + parts["colour"] + parts["joint"]) / 3)
    assert_close(made(shared=0.0, form=form).eval()(batch).loss, parts["joint"])


def test_one_network_sees_both_halves_together_and_paints():
    method = made(shared=1 / 3).eval()
    batch = drawn(0, 0, size=4)
    found = method.embed(batch)
    assert_close(found["joint"], method.whole()(torch.cat([batch.views["lightness"], batch.views["colour"]], 1)))
    batch.present["colour"] = torch.tensor([True, False, True, True])
    some = method.embed(batch)
    assert not some["joint"][1].any() and not some["colour"][1].any()
    assert_close(some["joint"][2:], found["joint"][2:])
    assert method.paint(torch.rand(1, 3, 40, 50)).shape == (1, 3, 40, 50)
    depth = made(pair="rgb-d", shared=1 / 3)
    step = depth(depth.example_batch(4, 0))
    assert set(step.parts) == {"image", "depth", "joint", "grey"} and step.loss.isfinite()


def test_gradient_of_the_mixed_loss():
    method = made(shared=1 / 3).double().eval()
    batch = drawn(0, 0, size=2)
    batch.views = {name: view.double() for name, view in batch.views.items()}
    generator = torch.Generator().manual_seed(0)
    ways = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in method.parameters()]

    def moved(step):
        with torch.no_grad():
            for p, way in zip(method.parameters(), ways, strict=True):
                p += step * way
            return method(batch).loss

    moved(0.02)  # where nothing is 0 at the bend of a ReLU
    method(batch).loss.backward()
    slope = sum((p.grad * way).sum() for p, way in zip(method.parameters(), ways, strict=True))
    change = moved(1e-7) - moved(-2e-7)
    assert_close(change / 2e-7, slope, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("encoder", "form"),
    [("image-tiny", "classification"), ("image-tiny", "regression"), ("resnet-18", "classification"),
     ("alexnet-half", "classification")],
)  # fmt: skip
def test_forms_and_trunks(encoder, form):
    small = dataclasses.replace(SplitBrainSettings.tiny().image, size=64)
    method = made(form=form, encoder=encoder, image=small, head=((16, 1),))
    step = method(method.example_batch(2, 0))
    step.loss.backward()
    assert step.loss.isfinite()
    painted = method.eval().paint(torch.rand(1, 3, 70, 90))
    assert painted.shape == (1, 3, 70, 90) and painted.isfinite().all()


def test_classes_are_one_bin_each_and_unweighted():
    scores = torch.randn(6, 50, dtype=torch.float64)
    lightness = torch.tensor([-1.0, -0.99, 0.0, 0.5, 0.99, 1.0], dtype=torch.float64)[:, None]
    bins = torch.tensor([0, 0, 25, 37, 49, 49])
    assert_close(lightness_cost(scores, lightness), torch.nn.functional.cross_entropy(scores, bins, reduction="none"))


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in (NUMBERS, CLASSES) for n in t])
def test_gradient_of_every_cost(table, name):
    aim = table[name]
    true = torch.rand(5, {"colour": 2, "hha": 3}.get(name, 1), dtype=torch.float64) - 0.2
    said = torch.randn(5, aim.width, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: aim.cost(x, true), said)


def test_unknown_depth_is_no_error_and_teaches_nothing():
    method = made(pair="rgb-d", halves="first")
    batch = method.example_batch(4, 0)
    batch.views["image"] = batch.views["image"].sigmoid()
    batch.views["depth"] = torch.zeros_like(batch.views["depth"])
    step = method(batch)
    step.loss.backward()
    assert step.loss == 0
    assert not any(p.grad.any() for p in method.parameters())


def test_what_a_crop_mixed_of_known_and_unknown_depth_counts_as_unknown():
    depth = torch.full((1, 1, 16, 16), 2.0)
    depth[:, :, 8:] = 0
    depth[:, :, 7] = 0.3
    said = made(pair="rgb-d").truth("depth", depth)["disparity"]
    assert_close(said[:, :, :6], torch.full((1, 1, 6, 16), 0.5))
    assert not said[:, :, 6:].any()


def test_depth_as_hha_is_predicted_where_it_is_known():
    hha = dataclasses.replace(SplitBrainSettings.tiny().depth, form="hha")
    method = made(pair="rgb-d", depth=hha, halves="first")
    batch = method.example_batch(4, 0)
    assert batch.views["depth"].shape == (4, 3, 32, 32)
    batch.views["image"] = batch.views["image"].sigmoid()
    batch.views["depth"][:, :, :16] = 0
    step = method(batch)
    step.loss.backward()
    assert 0 < step.loss < torch.inf and set(method.makers["image"]) == {"hha"}
    floor = torch.tensor([[0.5, 0.0, math.pi], [0.0, 0.0, 0.0]])
    cost = NUMBERS["hha"].cost(torch.full((2, 3), 1.0), floor)
    assert_close(cost, torch.tensor([0.5 * (0.25 + 1 + (math.pi - 1) ** 2), 0.0]))
    batch.views["depth"] = torch.zeros(4, 3, 32, 32)
    assert method(batch).loss == 0


def test_picture_and_depth():
    method = made(pair="rgb-d")
    assert method.views["depth"].with_ == "image"
    assert set(method.makers["depth"]) == {"lightness", "colour"} and set(method.makers["image"]) == {"disparity"}
    batch = method.example_batch(4, 0)
    batch.views["image"] = batch.views["image"].sigmoid()
    whole = method(batch).parts["depth"]
    lighter = copy.deepcopy(method)
    lighter.settings = dataclasses.replace(method.settings, colour_weight=0.0)
    assert lighter(batch).parts["depth"] < whole
    with pytest.raises(Exception, match="only a split-brain of lightness and colour paints"):
        method.paint(torch.rand(1, 3, 32, 32))


def test_stages_of_both_halves_are_probed_from_one_picture():
    method = made()
    model = Model(method, Preprocess(method.views, PRESETS["none"]), {})
    rows = torch.arange(2)
    raw = Batch(views={"lightness": torch.zeros(2, 3, 1, 32, 32, dtype=torch.uint8)}, row=rows, key=rows)
    assert known_stages(model, "joint") == ()
    asked = {"colour": stages_of(model, "colour", ["conv3"])}
    found = stage_features(model, asked)(raw)
    assert {name: value.shape for name, value in found.items()} == {"colour/conv3:max:1:standardise": (2, 64)}


@pytest.mark.parametrize(
    "changes", [{"colour_weight": -1.0}, {"temperature": 0.0}, {"shared": 0.6}, {"shared": 0.3, "halves": "first"}]
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(SplitBrainSettings.tiny(), **changes)
