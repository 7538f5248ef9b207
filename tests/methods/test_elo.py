"""ELo: what its card says must hold."""

import dataclasses

import pytest
import torch
import worlds

from coview import parallel
from coview.data.views import FeaturesView
from coview.errors import SettingsError, UsageError
from coview.methods.contract import Facts
from coview.methods.elo import ELo, ELoSettings
from coview.settings import from_dict, to_dict

FLAT = ELoSettings(views={"x": FeaturesView(dim=6), "y": FeaturesView(dim=4)}, links=1, code=5, embedding=3)


def make(settings=FLAT, seed=0, training=True, **changes):
    torch.manual_seed(seed)
    return ELo(dataclasses.replace(settings, **changes), Facts(rows=40, training=training))


def test_tasks_of_the_card_have_names():
    known = ELoSettings().tasks()
    assert {name.partition("/")[0] for name in known} == {
        "reconstruct", "next", "order", "direction", "predict", "align", "distil"
    }  # fmt: skip
    assert {"predict/grey/video", "next/video", "align/video/audio", "distil/audio/4"} <= set(known)
    assert not {"next/audio", "align/grey/audio", "distil/video/1"} & set(known)
    assert from_dict(ELoSettings, to_dict(ELoSettings())) == ELoSettings()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"weights": {"order/audio": 1.0}}, "no order/audio"),
        ({"weights": {"order/video": 1.5}}, "between 0 and 1"),
        ({"views": {"text": {"stream": "text"}}}, "clips, pictures, sounds and stored vectors"),
    ],
)
def test_impossible_settings_are_refused(wrong, why):
    with pytest.raises(SettingsError, match=why):
        from_dict(ELoSettings, wrong)


def test_more_links_than_stages_are_refused():
    with pytest.raises(UsageError, match="has 1 stages, and 2"):
        make(links=2)


def test_no_weight_at_all_is_refused_before_anything_is_learnt():
    with pytest.raises(UsageError, match="nothing would be learnt"):
        make(others=0.0)


def test_what_has_no_weight_is_neither_read_nor_built():
    method = make(others=0.0, weights={"reconstruct/x": 0.5})
    assert list(method.views) == list(method.encoders) == ["x"] and not len(method.projectors)
    assert list(method.heads) == ["reconstruct/x"]
    assert not len(make(training=False).heads)


def test_every_loss_is_one_at_first_and_then_what_is_left_of_it():
    method = make()
    batch = method.example_batch(8, 0)
    first = method(batch)
    assert float(first.loss.detach()) == pytest.approx(len(FLAT.tasks()))
    assert all(float(part) == 1 for part in first.parts.values())
    method.after_step()
    batch.views["y"] = 10 * batch.views["y"]
    again = method(batch)
    assert float(again.parts["reconstruct/y"]) > 10 and float(again.parts["reconstruct/x"]) == 1
    start = method.start.clone()
    method.after_step()
    assert torch.equal(method.start, start)


def test_weights_weigh():
    whole = make()(make().example_batch(8, 0))
    half = make(weights={"align/x/y": 0.25})(make().example_batch(8, 0))
    assert float((whole.loss - half.loss).detach()) == pytest.approx(0.75)


def test_a_task_that_no_recording_had_begins_later():
    method = make(others=0.0, weights={"reconstruct/x": 1.0, "align/x/y": 1.0})
    batch = method.example_batch(8, 0)
    batch.present = batch.present | {"y": torch.zeros(8, dtype=torch.bool)}
    step = method(batch)
    assert float(step.loss.detach()) == 1 and step.parts["align/x/y"] == 0
    step.loss.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    method.after_step()
    assert method.start[0] > 0 == method.start[1]
    assert method(method.example_batch(8, 0)).parts["align/x/y"] == 1


def test_nothing_flows_into_what_is_taken_over_unless_it_is_asked_for():
    for both in (False, True):
        method = make(others=0.0, weights={"distil/y/1": 1.0}, teach_both=both)
        method(method.example_batch(8, 0)).loss.backward()
        assert bool(method.encoders["y"].layers[0].weight.grad.any()) is both
        assert method.encoders["x"].layers[0].weight.grad.any()


def on_a_rank():
    method = make().double()
    batch = method.example_batch(8, 0)
    share = 8 // parallel.world_size()
    batch = batch.select(slice(parallel.rank() * share, (parallel.rank() + 1) * share))
    batch.views = {name: view.double() for name, view in batch.views.items()}
    method(batch)
    method.after_step()
    return method.start


def test_the_start_is_that_of_all_processes():
    expected = on_a_rank()
    for found in worlds.run(2, on_a_rank):
        torch.testing.assert_close(found, expected)
