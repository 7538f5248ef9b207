"""The decisive experiment of physical prediction, and what its networks promise.

Pushes at 16 x 16 pixels, two pictures shown and two predicted: PSNR of the predictions with actions, without them, and
of the last picture that was shown. The figures of three seeds stand in docs/systems.md.
"""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.synthetic import parse_world
from coview.data.views import Batch
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.objectives.frame_prediction import psnr

FACTS = Facts(rows=1600)
ROWS = torch.arange(1600)


def settings(size=16, frames=4, **changes):
    tiny = load_method("physical-prediction").Settings.tiny()
    tables = {name: dataclasses.replace(getattr(tiny, name), steps=frames) for name in ("actions", "states")}
    video = dataclasses.replace(tiny.video, size=size, frames=frames)
    return dataclasses.replace(tiny, video=video, **tables, **changes)


def made(**changes):
    torch.manual_seed(0)
    return build("physical-prediction", settings(**changes), FACTS)


def dream(seed, steps=180, batch=16, lr=4e-3, **changes):
    """Train on pushes; returns dB of what is predicted and of the last picture shown, means of 256 test clips."""
    torch.manual_seed(seed)
    method = build("physical-prediction", settings(**changes), FACTS)
    prepare = Preprocess(method.views, PRESETS["none"])
    worlds = {split: parse_world("pushes", split, 1600, seed, method.views) for split in ("train", "test")}
    clips = prepare(worlds["train"].read(ROWS, ROWS), train=False)
    optimiser = torch.optim.Adam(method.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        sample = clips.select((torch.arange(batch) + step * batch) % len(clips))
        optimiser.zero_grad()
        method(dataclasses.replace(sample, step=step)).loss.backward()
        optimiser.step()
        schedule.step()
    asked = prepare(worlds["test"].read_window(ROWS[:256], 0, 1), train=False)
    found = method.eval().predict(asked)
    copied = found.last[:, :, None].expand_as(found.true)
    return psnr(found.true, found.made).mean().item(), psnr(found.true, copied).mean().item()


@pytest.mark.slow
def test_actions_tell_more_than_none_and_none_more_than_a_copy():
    told, copied = dream(0)
    untold, _ = dream(0, uses=())
    assert told > untold + 0.3
    assert untold > copied


@pytest.mark.parametrize("motion", ["cdna", "dna", "stp"])
@pytest.mark.parametrize("uses", [("actions", "states"), ("actions",), ()])
def test_masks_are_shares_and_pictures_are_made_of_them(motion, uses):
    method = made(motion=motion, uses=uses).eval()
    batch = method.example_batch(3, 0)
    batch.views["video"] = batch.views["video"].sigmoid()
    found = method.predict(batch)
    assert found.true.shape == found.made.shape == (3, 3, 2, 16, 16)
    assert found.masks.shape == (3, len(method.layers), 2, 16, 16) and found.flow.shape == (3, 2, 2, 16, 16)
    assert_close(found.masks.sum(1), torch.ones(3, 2, 16, 16))
    assert found.made.min() >= 0 and found.made.max() <= 1
    assert method.told == tuple(name for name in uses if name == "actions")
    assert torch.equal(found.last, batch.views["video"][:, :, 1])


def test_predictions_look_at_no_later_picture():
    method = made().eval()
    batch = method.example_batch(3, 0)
    first = method.predict(batch).made
    batch.views["video"] = batch.views["video"].clone()
    batch.views["video"][:, :, 2:] = 0.5
    assert torch.equal(method.predict(batch).made, first)
    batch.views["actions"] = -batch.views["actions"]
    assert not torch.equal(method.predict(batch).made, first)


def test_the_truth_is_seen_in_training_alone_and_early():
    method = made(slowness=1e4)
    batch = method.example_batch(4, 0)
    early, late = (method(dataclasses.replace(batch, step=step)).loss for step in (0, 10**6))
    assert early != late
    assert method.eval()(batch).loss == late


def test_a_kernel_in_the_middle_leaves_the_picture_and_what_is_painted():
    method = made().eval()
    decoder = method.makers["video"]
    with torch.no_grad():
        decoder.head.weight.zero_()
        decoder.head.bias.copy_(torch.eye(25)[12].repeat(decoder.motions))
        decoder.masks.weight.zero_()
        decoder.masks.bias.zero_()
        decoder.painted.weight.zero_()
        decoder.painted.bias.zero_()
    batch = method.example_batch(2, 0)
    batch.views["video"] = batch.views["video"].sigmoid()
    share = 1 / len(method.layers)
    found = method.predict(batch)
    assert_close(found.made[:, :, 0], (1 - share) * found.last + share * 0.5)
    assert_close(found.flow, torch.zeros_like(found.flow), atol=1e-6, rtol=0)


def test_tables_that_end_early_are_not_learnt_from():
    method = made()
    batch = method.example_batch(4, 0)
    length = {name: torch.tensor([4, 3, 4, 4]) for name in ("actions", "states")}
    short = dataclasses.replace(batch, length=length)
    whole = batch.select(torch.tensor([0, 2, 3]))
    assert_close(method(short).loss, method(whole).loss)
    none = Batch(views=batch.views, row=batch.row, key=batch.key, length={"actions": torch.zeros(4, dtype=torch.int64)})
    assert method(none).idle


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"size": 20}, "eights"),
        ({"context": 4}, "context"),
        ({"context": 0}, "context"),
        ({"motions": 0}, "motions"),
        ({"uses": ("actions", "actions")}, "once"),
    ],
)
def test_settings_that_cannot_be(changes, what):
    with pytest.raises(ValueError, match=what):
        settings(**changes)


def test_tables_need_a_step_for_every_picture():
    tiny = load_method("physical-prediction").Settings.tiny()
    with pytest.raises(ValueError, match="5 at 10 per second"):
        dataclasses.replace(tiny, actions=dataclasses.replace(tiny.actions, steps=9))
