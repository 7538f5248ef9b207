"""L3-Net: what its card says must hold, beyond the sweep over all methods; and its decisive small experiment.

Eight classes of 64 recordings: colour and stripes of the picture, harmonic spacing of the sound; the rest is noise.
A false pair shares its class in one case of eight, so 1 - 1/16 = .94 of the answers can be right.
Measured when written, 200 steps of 32, seeds 0, 1, 2; accuracy on new clips against a fixed list of false pairs:

    concat            .94 .94 .94      frozen random encoders   .91 .91 .84
    distance          .94 .94 .94      shuffled sounds          .55 .49 .51

The sound's class is read from its features at .99 to 1.00 in every row, random and shuffled ones too: on this toy the
probe separates nothing, and it is the accuracy that tells. Shuffled answers vary by more than their number of 1024
says, since a network answers alike for all pairs of two classes.
"""

import dataclasses
import math

import pytest
import torch

from coview.data.source import sample_keys
from coview.data.views import Batch
from coview.methods.contract import Facts
from coview.methods.l3 import L3, L3Settings

CLASSES, PER_CLASS, NOISE = 8, 64, 0.3


def make(seed=0, rows=512, **changes):
    torch.manual_seed(seed)
    return L3(dataclasses.replace(L3Settings.tiny(), **changes), Facts(rows=rows))


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_size_and_maps():
    with torch.device("meta"):
        method = L3(L3Settings(), Facts(rows=2))
        assert size(method.encoders["video"]) == 4_689_216
        assert size(method.encoders["audio"]) == 4_688_066
        assert size(method.fusion) == 131_458
        video = method.encoders["video"].feature_maps(torch.randn(2, 3, 1, 224, 224))["block4"]
        audio = method.encoders["audio"].feature_maps(torch.randn(2, 1, 257, 199))["block4"]
    assert video.shape == (2, 512, 1, 28, 28)
    assert audio.shape == (2, 512, 32, 24)
    assert method.views["audio"].shape == (1, 200, 257)
    assert method.encoders["audio"].pool(audio).shape == (2, 512)


def test_untrained_answers_are_chance():
    method = make()
    with torch.no_grad():
        method.fusion[-1].weight.zero_()
        method.fusion[-1].bias.zero_()
    loss = method(method.example_batch(16, 0)).loss
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)


def test_two_clips_of_one_recording_are_never_a_false_pair():
    method = make()
    batch = method.example_batch(4, 0)
    alone = dataclasses.replace(batch, row=torch.full((4,), 3))
    step = method(alone)
    video, audio = (method.features(name, batch.views[name]) for name in ("video", "audio"))
    expected = torch.nn.functional.cross_entropy(method.fuse(video, audio), torch.ones(4, dtype=torch.int64))
    torch.testing.assert_close(step.loss, expected)  # no false pair is left


def test_frozen_encoders_do_not_change():
    method = make(frozen=True).train()
    before = {name: value.clone() for name, value in method.encoders.state_dict().items()}
    optimiser = torch.optim.SGD(method.parameter_groups(0.0), lr=0.1)
    method(method.example_batch(8, 0)).loss.backward()
    optimiser.step()
    torch.testing.assert_close(method.encoders.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in method.encoders.parameters())
    assert all(parameter.grad.any() for parameter in method.fusion.parameters())


def clips(label, generator):
    """Pictures of one frame (B, 3, 1, 16, 16) and sounds (B, 1, 40, 16) whose class is `label` (B,)."""
    period = 3 * 4 ** (label[:, None] / (CLASSES - 1))  # 3 to 12 pixels or bands
    colour = torch.cos(2 * math.pi * (label[:, None] / CLASSES + torch.arange(3) / 3))
    stripes = torch.cos(2 * math.pi * torch.arange(16) / period)
    video = (colour[:, :, None] + stripes[:, None])[:, :, None, None].expand(-1, -1, 1, 16, -1)
    audio = torch.cos(2 * math.pi * torch.arange(40) / period)[:, None, :, None].expand(-1, -1, -1, 16)
    return {
        name: view + NOISE * torch.randn(view.shape, generator=generator)
        for name, view in (("video", video), ("audio", audio))
    }


def train(seed=0, steps=200, shuffled=False, **changes):
    """Train on the toy; returns accuracy on new recordings and the probe of the frozen sound features."""
    method, generator = make(seed, **changes), torch.Generator().manual_seed(seed)
    label = torch.arange(CLASSES * PER_CLASS) % CLASSES
    optimiser = torch.optim.Adam(method.parameters(), 1e-3)
    for step in range(steps):
        row = torch.randperm(len(label), generator=generator)[:32]
        heard = label[torch.randperm(len(label), generator=generator)[:32] if shuffled else row]
        views = {"video": clips(label[row], generator)["video"], "audio": clips(heard, generator)["audio"]}
        batch = Batch(views=views, row=row, key=sample_keys(seed, step, torch.arange(32)))
        optimiser.zero_grad()
        method(batch).loss.backward()
        optimiser.step()
    return measure(method.eval(), label)


@torch.no_grad()
def measure(method, label):
    generator = torch.Generator().manual_seed(900)
    train_views, test_views = clips(label, generator), clips(label, generator)
    row = torch.arange(len(label))
    test = Batch(views=test_views, row=row, key=sample_keys(900, 0, row))
    accuracy = method(test).parts["accuracy"].item()
    features, new = (method.encoders["audio"](views["audio"]) for views in (train_views, test_views))
    centres = torch.stack([features[label == number].mean(0) for number in range(CLASSES)])
    probe = (torch.cdist(new, centres).argmin(1) == label).float().mean().item()
    return accuracy, probe


@pytest.mark.slow
@pytest.mark.parametrize("head", ["concat", "distance"])
def test_l3_learns_which_sound_belongs(head):
    accuracy, probe = train(head=head)
    assert 0.8 < accuracy < 0.97
    assert probe > 0.95


@pytest.mark.slow
def test_shuffled_sounds_teach_nothing():
    accuracy, _ = train(shuffled=True)
    assert 0.4 < accuracy < 0.6
