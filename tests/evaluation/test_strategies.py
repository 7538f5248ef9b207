"""The four ways to use what a model has learnt: what each leaves as it is, and where two of them are one."""

import dataclasses
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from coview.data.augment import PRESETS, AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic.objects import ObjectsWorld
from coview.data.views import raw_views
from coview.errors import UsageError
from coview.evaluation.fine_tune import FineTune, classifier_settings
from coview.evaluation.starts import rescaled, start_from
from coview.evaluation.strategies import STRATEGIES, strategy_of, transfer, wanted_views
from coview.files import read_tensors
from coview.methods import build
from coview.methods.classifier import of_marks
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.model import Model

HOW = FineTune(
    view="lightness", epochs=2, warm_up_epochs=0, lr=0.05, kind="sgd", batch_size=8, clips_per_recording=1, dropout=0.0,
    windows=1, augment=PRESETS["none"], workers=0, milestones=(),
)  # fmt: skip


def world(split: str, count: int, model: Model) -> ObjectsWorld:
    return ObjectsWorld(split=split, count=count, views=raw_views(wanted_views(model, STRATEGIES, HOW)))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        method = build("colorization", ColorizationSettings.tiny(), Facts(rows=16, classes=6))
    return Model.of(method, Preprocess(method.views, AugmentSettings()), ObjectsWorld(count=16, views=method.views))


State = dict[str, torch.Tensor]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")


def trained(model: Model, how: FineTune, steps: int = 2) -> tuple[State, State]:
    """Return the classifier's state before and after a few steps of gradient descent."""
    train = world("train", 24, model)
    settings = classifier_settings(model, how, frozen=how.frozen)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = build("classifier", settings, Facts(rows=24, classes=6))
    start_from(method, model, train, view=how.view, seed=0, reinit_from=how.reinit_from, head_scale=how.head_scale)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    preprocess = Preprocess(method.views, PRESETS["none"])
    optimiser = torch.optim.SGD(method.parameters(), lr=how.lr, momentum=0.9)
    method.train()
    for step in range(steps):
        rows = torch.arange(8) + 8 * step
        loss = method(preprocess(train.read(rows, rows), train=True)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return before, method.state_dict()


@pytest.mark.slow
def test_every_strategy_is_measured_and_freeze_moves_nothing(model: Model, tmp_path: Path) -> None:
    before = model.digest
    result = transfer(model, world("train", 24, model), world("test", 12, model), tmp_path, HOW, name="colour")
    figures = {m.name: m for m in result.results}
    assert {f"lightness_{strategy}/colour" for strategy in STRATEGIES} <= set(figures)
    assert all(m.n == 12 and m.chance == pytest.approx(1 / 6) and m.low is not None for m in result.results[:1])
    assert model.digest == before
    given = model.method.encoders["lightness"].state_dict()
    frozen = weights(tmp_path / "lightness_freeze" / "run" / "model")
    beside = weights(tmp_path / "lightness_augment" / "run" / "model")
    for name, value in given.items():  # parameters and running statistics
        assert torch.equal(frozen[f"encoders.lightness.{name}"], value)
        assert torch.equal(beside[f"encoders.lightness.given.{name}"], value)
    joint = weights(tmp_path / "lightness_joint" / "run" / "model")
    head = {f"makers.base_makers.{name}": value for name, value in model.method.makers.state_dict().items()}
    assert any(not torch.equal(joint[name], value) for name, value in head.items())  # it learnt the old task too
    assert set(head) <= set(joint)
    kept = Model.from_run(tmp_path / "lightness_joint" / "run")
    assert kept.dim == {"lightness": 6}
    first = [weights(tmp_path / f"lightness_{each}" / "start")["projectors.lightness.weight"] for each in STRATEGIES]
    assert all(torch.equal(one[:, :128], first[0]) for one in first)  # all begin with one layer


def test_a_frozen_encoder_stays_to_the_bit(model: Model) -> None:
    before, after = trained(model, strategy_of(HOW, "freeze"))
    for name, value in model.method.encoders["lightness"].state_dict().items():  # running statistics too
        assert torch.equal(after[f"encoders.lightness.{name}"], value)
    assert not torch.equal(after["projectors.lightness.weight"], before["projectors.lightness.weight"])


def test_augment_with_nothing_beside_is_training_alone(model: Model) -> None:
    nothing, alone = deepcopy(model), deepcopy(model)
    for value in nothing.method.encoders["lightness"].state_dict().values():
        value.zero_()
    start, both = trained(nothing, strategy_of(HOW, "augment"))
    prefix = "encoders.lightness.new."
    own = {name.removeprefix(prefix): value for name, value in start.items() if name.startswith(prefix)}
    alone.method.encoders["lightness"].load_state_dict(own)
    first, one = trained(alone, strategy_of(HOW, "init"))
    for name in own:
        assert_close(both[prefix + name], one[f"encoders.lightness.{name}"], rtol=1e-4, atol=1e-6)
    head = "projectors.lightness.weight"
    assert torch.equal(start[head][:, :128], first[head])  # all strategies begin with one layer
    assert_close(both[head][:, :128], one[head], rtol=1e-4, atol=1e-6)
    assert not torch.equal(one[head], first[head])


def test_joint_without_weight_is_init_and_nearly_so_with_little(model: Model) -> None:
    assert strategy_of(HOW, "joint", 0.0) == strategy_of(HOW, "init")
    _, one = trained(model, strategy_of(HOW, "init"))
    _, little = trained(model, strategy_of(HOW, "joint", 1e-9))
    start, much = trained(model, strategy_of(HOW, "joint", 1.0))
    for name, _ in model.method.encoders["lightness"].named_parameters():
        assert_close(little[f"encoders.lightness.{name}"], one[f"encoders.lightness.{name}"], rtol=1e-4, atol=1e-6)
    first = "encoders.lightness.conv1.0.weight"
    assert float((much[first] - one[first]).abs().max()) > 1e-4
    old = [name for name in much if name.startswith("makers.base_makers.colour") and name.endswith("weight")]
    assert old and all(not torch.equal(much[name], start[name]) for name in old)  # the old task is learnt as well


def test_stages_from_which_is_read_learnt_and_begun_anew(model: Model) -> None:
    how = dataclasses.replace(HOW, head_from="conv3", train_from="conv2", reinit_from="conv2", head_scale=0.01)
    start, end = trained(model, how)
    given = model.method.encoders["lightness"].state_dict()
    assert end["projectors.lightness.weight"].shape == (6, 64)
    for name, value in given.items():
        if name.startswith("conv1."):
            assert torch.equal(end[f"encoders.lightness.whole.{name}"], value)
    changed = "encoders.lightness.whole.conv2.0.weight"
    assert not torch.equal(start[changed], given["conv2.0.weight"])
    assert not torch.equal(end[changed], start[changed])
    with pytest.raises(UsageError, match=r"no stage 'conv9'; it has conv1"):
        trained(model, dataclasses.replace(HOW, head_from="conv9"))
    with pytest.raises(ValueError, match="not frozen"):
        trained(model, dataclasses.replace(HOW, beside=True, frozen=True))


@pytest.mark.parametrize("joint", [0.0, 0.5])
def test_what_is_not_read_does_not_wait_for_gradients(model: Model, joint: float) -> None:
    how = dataclasses.replace(HOW, head_from="conv3", joint=joint)
    train = world("train", 8, model)
    method = build("classifier", classifier_settings(model, how, frozen=False), Facts(rows=8, classes=6))
    rows = torch.arange(8)
    method(Preprocess(method.views, PRESETS["none"])(train.read(rows, rows), train=True)).loss.backward()
    # Several processes wait for a gradient of every parameter that learns.
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert any(not p.requires_grad for p in method.encoders.parameters()) is not bool(joint)


def test_stages_are_chosen_in_every_strategy_but_augment(model: Model) -> None:
    how = dataclasses.replace(HOW, train_from="conv2", reinit_from="conv2")
    assert set(wanted_views(model, STRATEGIES, how)) == {"lightness", "colour"}
    start, _ = trained(model, strategy_of(how, "augment"), steps=0)
    for name, value in model.method.encoders["lightness"].state_dict().items():
        assert torch.equal(start[f"encoders.lightness.given.{name}"], value)


def test_what_cannot_be_is_refused_before_anything_is_read() -> None:
    wrong: list[dict[str, Any]] = [{"dropout": 1.0}, {"lr": 0.0}, {"batch_size": 0}, {"windows": 0}]
    for change in wrong:
        with pytest.raises(ValueError, match=next(iter(change))):
            dataclasses.replace(HOW, **change)
    with pytest.raises(ValueError, match="joint a weight"):
        strategy_of(HOW, "joint", -1.0)


def test_marks_that_are_unclear_count_in_nothing() -> None:
    logits = torch.tensor([[2.0, -1.0, 5.0], [1.0, 3.0, 1.0]], requires_grad=True)
    marks = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]])
    losses, right = of_marks(logits, marks)
    expected = torch.nn.functional.softplus(-marks * logits)
    assert_close(losses, torch.stack([expected[0, :2].sum(), expected[1].sum()]))
    assert right.tolist() == pytest.approx([1.0, 2 / 3])
    losses.sum().backward()
    assert logits.grad is not None and float(logits.grad[0, 2]) == 0


def test_rescaling_keeps_what_the_encoder_says_but_for_a_factor(model: Model) -> None:
    train = world("train", 24, model)
    new, old = rescaled(model, train, "lightness", 0), model.method.encoders["lightness"]
    x = model.prepared(train.read_window(torch.arange(8), 0, 1)).views["lightness"]
    with torch.no_grad():
        now, then = new(x), old.eval()(x)
    assert_close(now, then * (now.norm() / then.norm()), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_with_and_without_rescaling_stand_beside_each_other(model: Model, tmp_path: Path) -> None:
    train = world("train", 24, model)
    found = transfer(
        model, train, world("test", 12, model), tmp_path, HOW, ("init", "augment"), name="colour", rescale=True
    )  # fmt: skip
    names = [m.name for m in found.results]
    assert names == ["lightness_init/colour", "lightness_init_rescaled/colour", "lightness_augment/colour"]


def test_a_network_with_branches_is_not_rescaled() -> None:
    settings = dataclasses.replace(ColorizationSettings.tiny(), encoder="resnet-18")
    method = build("colorization", settings, Facts(rows=16))
    model = Model.of(method, Preprocess(method.views, AugmentSettings()), ObjectsWorld(count=16, views=method.views))
    with pytest.raises(UsageError, match="cannot be rescaled: conv1, bn1 is no stage of a chain"):
        rescaled(model, world("train", 8, model), "lightness", 0)
