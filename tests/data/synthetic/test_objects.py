"""`objects-av`: the knob shares what it names, pictures do not depend on it, and steps are equal."""

import math

import pytest
import torch

from coview.data.synthetic.objects import ObjectsWorld
from coview.data.synthetic.objects_picture import ACTIONS, Scene, _distances, _path
from coview.data.synthetic.objects_sound import INTERVALS, _ratios
from coview.data.synthetic.signals import Draw
from coview.errors import UsageError


def test_the_sound_copies_exactly_what_is_shared():
    alone, both = ObjectsWorld(("object",), count=600), ObjectsWorld(("action", "object"), count=600)
    assert both.name == "objects-av:object+action"
    for world, actions in ((alone, False), (both, True)):
        columns = world.columns
        assert torch.equal(columns["picture_object"], columns["sound_object"])
        assert torch.equal(columns["picture_action"], columns["sound_action"]) == actions
    agree = (alone.columns["picture_action"] == alone.columns["sound_action"]).float().mean()
    assert 0.15 < agree < 0.35  # by chance one in four


def test_pictures_are_the_same_whatever_is_shared():
    index = torch.arange(12)
    a = ObjectsWorld(("object",), count=12).render(index)
    b = ObjectsWorld(("object", "action", "size", "timing"), count=12).render(index)
    assert torch.equal(a["video"], b["video"]) and not torch.equal(a["audio"], b["audio"])
    assert a["video"].shape == (12, 3, 8, 48, 48) and a["audio"].shape == (12, 16000)
    assert torch.equal(a["picture_object"], b["picture_object"])


def test_unknown_and_repeated_factors_are_refused():
    for shared in (("colour",), ("object", "object")):
        with pytest.raises(UsageError, match="cannot share"):
            ObjectsWorld(shared)


def test_every_step_of_every_action_has_the_same_length():
    key = torch.arange(64)
    action = key % len(ACTIONS)
    timing = torch.linspace(0, 0.999, 64)
    path = _path(Draw(key), Scene(torch.zeros_like(key), action, torch.ones(64), timing))
    step = path.diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(step, step[:, :1].expand_as(step), rtol=1e-4, atol=1e-4)
    assert step.min() >= 1.6 - 1e-4 and step.max() <= 3.2 + 1e-4
    two = (path[:, 2:] - path[:, :-2]).norm(dim=-1) / step[:, :1]
    torch.testing.assert_close(two[action == 0], torch.full_like(two[action == 0], 2.0), rtol=1e-3, atol=1e-3)
    turned = torch.full_like(two[action >= 2], 2 * math.cos(math.pi / 6))
    torch.testing.assert_close(two[action >= 2], turned, rtol=1e-3, atol=1e-3)
    back = two[action == 1]
    assert (((back - 2).abs() < 1e-3) | (back < 1e-3)).all() and (back < 1e-3).any()


def test_objects_have_equal_area_and_equal_spread():
    area = (_distances(torch.device("cpu")) > 0).float().mean((1, 2)) * 16
    torch.testing.assert_close(area, torch.full((6,), math.pi), rtol=0.08, atol=0)
    ratio = _ratios(torch.device("cpu"))
    torch.testing.assert_close(ratio.mean(1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(ratio.std(1, unbiased=False), torch.full((6,), 0.78))
    assert all(sum(intervals) == pytest.approx(6, abs=1e-3) and len(intervals) == 6 for intervals in INTERVALS)
