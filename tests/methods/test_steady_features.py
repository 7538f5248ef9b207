"""Slow and steady features: a bright spot on a circle goes on as it went; labels are optional; frames follow seconds.

The decisive experiment of the card: 45 films of 12 pictures of 16 x 16, a spot that moves round a circle at constant
speed, in both directions, under a brightness that changes at random; 256-64-4 perceptron, squared distance, margins of
2, Adam at 2e-3, 600 steps. Measured: in how many per cent of the pictures of other films lie nearer to 2 z_m - z_l than
the true next one.
"""

import contextlib
import dataclasses
import math
import sys

import pytest
import torch
from torch import nn

from coview import encoders
from coview.data.source import sample_keys
from coview.data.views import Batch, VideoView
from coview.encoders import Wrapped
from coview.errors import UsageError
from coview.evaluation.extrapolation import extrapolation_ranks
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.objectives import steadiness

FILMS, FRAMES, SIZE = 45, 12, 16


def films(count, seed, radius=5.0, noise=0.0):
    """Return (count, 1, FRAMES, SIZE, SIZE): half of them turn the other way."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, count, 1, generator=generator)
    turn = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)[:, None]
    angle = 2 * math.pi * (start + turn * (0.02 + 0.04 * speed) * torch.arange(FRAMES))
    bright = 0.7 + 0.6 * torch.rand(count, FRAMES, generator=generator)
    y, x = ((SIZE / 2 - 0.5 + radius * part(angle))[..., None, None] for part in (torch.sin, torch.cos))
    grid = torch.arange(float(SIZE))
    spot = torch.exp(-((grid[:, None] - y) ** 2 + (grid - x) ** 2) / (2 * 1.5**2))
    grain = noise * torch.randn(count, FRAMES, SIZE, SIZE, generator=generator)
    return (bright[..., None, None] * spot + grain)[:, None]


def made(facts=None, **changes):
    kind = load_method("steady-features")
    return build("steady-features", dataclasses.replace(kind.Settings.tiny(), **changes), facts or Facts(rows=FILMS))


def toy_network(channels):
    return Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(channels * SIZE * SIZE, 64), nn.ReLU()), dim=64)


@contextlib.contextmanager
def flipped():
    """Take one of the two differences the wrong way round, the commonest mistake."""
    module, right = sys.modules["coview.methods.steady_features"], steadiness.steady
    module.steady = lambda l, m, n, *rest: steadiness.contrast(l - m, n - m, *rest)  # noqa: E741
    try:
        yield
    finally:
        module.steady = right


def learn(seed, shown, label, steps, **changes):
    """Return a method trained on films and labels (-1: none) for a number of steps."""
    encoders.IMAGE["toy"] = toy_network
    torch.manual_seed(seed)
    view = VideoView(frames=FRAMES, fps=12.0, size=SIZE, margin=1.0, space="lightness")
    margins = {"distance": "sq", "slow_margin": 2.0, "steady_margin": 2.0}
    facts = Facts(rows=len(shown), classes=4)
    method = made(facts, video=view, image_encoder="toy", window=0.25, **margins, **changes)
    optimiser = torch.optim.Adam(method.parameters(), 2e-3)
    for step in range(steps):
        row = torch.randperm(len(shown), generator=torch.Generator().manual_seed(1000 * seed + step))
        key = sample_keys(seed, step, torch.arange(len(row)))
        optimiser.zero_grad()
        method(Batch(views={"video": shown[row]}, row=row, key=key, label=label[row])).loss.backward()
        optimiser.step()
    return method


def features(method, shown):
    with torch.no_grad():
        return method.projectors["video"](method.encoders["video"].each(shown))


def toy(seed, steady=1.0, steps=600):
    """Train on made films; return the mean rank of the true next picture, in per cent."""
    label = torch.full((FILMS,), -1)
    method = learn(seed, films(FILMS, seed), label, steps, embedding=4, steadiness=steady)
    return 100 * float(extrapolation_ranks(features(method, films(40, 500 + seed))).mean())


def few_labels(seed, weight, steady=1.0):
    """Train on 80 films, of which two of each class have a label; return the accuracy on the pictures of new ones.

    The class is the radius of the circle, of four.
    """
    kind = torch.arange(80) % 4
    radius = 2.5 + 1.2 * kind[:, None]
    label = torch.where(torch.arange(80) < 8, kind, -1)
    changes = {"embedding": 8, "weight": weight, "steadiness": steady, "labelled": 1.0}
    method = learn(seed, films(80, seed, radius, 0.2), label, 300, **changes)
    found = method.classes(features(method, films(80, 900 + seed, radius, 0.2))).argmax(-1)
    return float((found == kind[:, None]).float().mean())


@pytest.mark.slow
def test_the_steady_term_makes_what_comes_next_foreseeable():
    slow_alone, both, untrained = toy(0, steady=0.0), toy(0), toy(0, steps=0)
    assert both < 1.6 < 1.8 < slow_alone < untrained


@pytest.mark.slow
def test_films_without_labels_help_a_few_labels():
    assert few_labels(0, weight=1e-9) + 0.02 < few_labels(0, weight=0.3)


def test_pairs_and_triplets_follow_seconds_not_frames():
    for fps, window, reach in ((8.0, 0.5, 4), (12.5, 0.5, 6), (30.0, 0.1, 3), (10.0, 0.3, 3)):
        view = VideoView(frames=13, fps=fps, size=32)
        method = made(video=view, window=window)
        assert int((method.triplets[:, 1] - method.triplets[:, 0]).max()) == min(reach, 6) == method.settings.reach
        assert torch.equal(method.triplets.diff(dim=1)[:, 0], method.triplets.diff(dim=1)[:, 1])


def batch_of(method, label, rows=None):
    batch = method.example_batch(len(label), 0)
    return dataclasses.replace(batch, label=torch.tensor(label), row=torch.arange(len(label)) if rows is None else rows)


def test_labels_are_optional():
    """None at all, some, or every one; what is not labelled is learnt from all the same."""
    method = made(Facts(rows=8, classes=3), labelled=1.0)
    none, some = method(batch_of(method, [-1] * 6)), method(batch_of(method, [0, 2, -1, -1, 1, -1]))
    assert none.parts["supervised"] == 0 and some.parts["supervised"] > 0.5
    torch.testing.assert_close(none.parts["slow"], some.parts["slow"])
    none.loss.backward()
    assert not method.classes.weight.grad.any()
    assert not hasattr(made(Facts(rows=8, classes=3)), "classes")


def test_a_share_of_the_labels_is_learnt_and_always_the_same():
    method, rows = made(Facts(rows=400, classes=2), labelled=0.3), torch.arange(400)
    used = method.uses_label(rows)
    assert torch.equal(used[100:140], method.uses_label(rows[100:140])) and 0.22 < used.float().mean() < 0.38
    for among, learnt in ((rows[used][:4], True), (rows[~used][:4], False)):
        assert bool(method(batch_of(method, [0, 1, 0, 1], among)).parts["supervised"] > 0) == learnt


def test_labels_that_are_not_there_are_told():
    with pytest.raises(UsageError, match="asks for two classes or more, the collection has 0"):
        made(labelled=0.5)
    made(Facts(rows=8, training=False), labelled=0.5)  # to embed, no labels are needed


def test_another_clip_of_the_same_recording_is_no_negative():
    method = made(window=1.0, distance="sq", slow_margin=1e6, steady_margin=1e6)
    same = method(batch_of(method, [-1] * 4, torch.zeros(4, dtype=torch.int64)))
    other = method(batch_of(method, [-1] * 4))
    assert same.parts["slow"] < 1e3 < other.parts["slow"]


def test_a_clip_is_embedded_as_the_mean_of_its_frames():
    method = made().eval()
    batch = method.example_batch(3, 0)
    encoder = method.encoders["video"]
    each = encoder.each(batch.views["video"])
    torch.testing.assert_close(method.embed(batch, "backbone")["video"], each.mean(1))
    torch.testing.assert_close(method.embed(batch)["video"], method.projectors["video"](each).mean(1))
    maps = encoder.feature_maps(batch.views["video"])[encoder.stages[-1]]
    assert maps.shape[:3] == (3, maps.shape[1], 8)


@pytest.mark.parametrize(
    "changes",
    [{"window": 0.01}, {"video": VideoView(frames=2)}, {"slow_margin": 0.0}, {"negatives": 0}, {"labelled": 1.5}],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match=r"steady features need|labelled"):
        dataclasses.replace(load_method("steady-features").Settings.tiny(), **changes)
