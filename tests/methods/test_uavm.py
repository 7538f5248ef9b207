"""UAVM: the official network's values, and what its card says must hold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.parallel import DistributedDataParallel

from coview import parallel
from coview.data.source import sample_keys
from coview.data.views import Batch, FeaturesView
from coview.errors import SettingsError
from coview.methods.contract import Facts
from coview.methods.uavm import UAVM, UAVMSettings, sequence
from coview.objectives.mixup import soft_binary, soft_cross_entropy
from coview.settings import from_dict, to_dict

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "uavm.npz").items()
    if value.dtype.kind != "U"
}
UNSEEN = np.load(Path(__file__).parents[1] / "golden" / "uavm.npz")["params_without_grad_after_audio_step"].tolist()
SIZES = {key.removeprefix("cfg."): int(value) for key, value in GOLDEN.items() if key.startswith("cfg.")}
VIEWS = {name: FeaturesView(dim=SIZES["din"], steps=SIZES["T"]) for name in ("audio", "video")}
SMALL = UAVMSettings(
    views=VIEWS,
    own_depth=SIZES["depth_i"],
    shared_depth=SIZES["depth_s"],
    embedding=SIZES["embed"],
    shared_embedding=SIZES["s_embed"],
    heads=SIZES["heads"],
    mixed=0.0,
    rolled=False,
)
PLACES = {  # the reference's names of what we have
    "a_trans": "encoders.audio",
    "v_trans": "encoders.video",
    "s_trans": "projectors.audio",
    "in_layernorm": "enter",
    "in_proj": "widen",
    "pos_embed": "positions",
    "attn.": "",
    "mlp.": "",
}


def make(seed=0, classes=SIZES["classes"], **changes):
    torch.manual_seed(seed)
    return UAVM(dataclasses.replace(SMALL, **changes), Facts(rows=64, classes=classes))


def ours(name, shared="projectors.audio"):
    """Return our name of the reference's parameter."""
    if name.startswith("s_trans.mlp_head."):
        return name.replace("s_trans.mlp_head", "makers.classifier")
    for theirs, own in PLACES.items():
        name = name.replace(theirs, own)
    return name.replace("projectors.audio", shared)


def of(**views):
    row = torch.arange(len(next(iter(views.values()))))
    return Batch(views=views, row=row, key=row)


def official(prefix="w", shared="projectors.audio", **changes):
    """Build the official network; what is never used there does not exist here."""
    method = make(**changes).double().eval()
    state = {ours(key.removeprefix(f"{prefix}."), shared): key for key in GOLDEN if key.startswith(f"{prefix}.")}
    known = dict(method.named_parameters())
    left = {key for name, key in state.items() if name not in known}
    assert {key.removeprefix(f"{prefix}.") for key in left} == {
        name for name in UNSEEN if ("in_proj" in name and name.startswith("s_trans")) or "a_trans.mlp_head" in name
    } | {f"v_trans.mlp_head.{part}" for part in ("0.weight", "0.bias", "1.weight", "1.bias")}
    with torch.no_grad():
        for name, parameter in known.items():
            parameter.copy_(GOLDEN[state[name]].double().reshape(parameter.shape))
    return method


def test_logits_golden():
    logits = official().logits(of(audio=GOLDEN["x_a"].double(), video=GOLDEN["x_v"].double()))
    for name, key in (("audio", "logits_a"), ("video", "logits_v"), ("joint", "logits_av")):
        torch.testing.assert_close(logits[name], GOLDEN[key], rtol=0, atol=1e-10)
    single = official().float().logits(of(audio=GOLDEN["x_a"]))["audio"]
    torch.testing.assert_close(single.double(), GOLDEN["logits_a"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "key"), [("audio", "a"), ("video", "v")])
def test_features_after_every_block_golden(name, key):
    method = official()
    own = method.encoders[name].layers(sequence(of(**{name: GOLDEN[f"x_{key}"].double()}), name))
    shared = method.projectors[name].layers(own[-1])
    # The shared transformer's entry, its own norm and positions, is no layer there.
    for index, found in enumerate([*own, *shared[1:]]):
        torch.testing.assert_close(found, GOLDEN[f"feat_{key}.{index}"], rtol=0, atol=1e-10)


def test_attention_golden_without_the_norm_that_the_forward_pass_has():
    method = official()
    own = method.encoders["audio"]
    shared = method.projectors["audio"]
    first = own.layers(sequence(of(audio=GOLDEN["x_a"].double()), "audio"))
    inputs = [*zip(own.blocks, first[:-1], strict=True)]
    inputs += [*zip(shared.blocks, shared.layers(first[-1])[:-1], strict=True)]
    for index, (block, x) in enumerate(inputs):
        maps, _ = block.attention(x)
        torch.testing.assert_close(maps, GOLDEN[f"att_a_nonorm.{index}"], rtol=0, atol=1e-10)
        real, _ = block.attention(block.norm1(x))
        torch.testing.assert_close(real.sum(3), torch.ones_like(real[..., 0]))
        assert (real - maps).abs().max() > 1e-3


def test_losses_and_gradients_golden():
    method = official()
    x = GOLDEN["x_a"].double().requires_grad_()
    logits = method._read({"audio": x})[1]["audio"]  # of length 1 already, to the precision of float32
    loss = soft_cross_entropy(logits, GOLDEN["soft_targets"]).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), GOLDEN["loss_ce_audio"], rtol=1e-9, atol=0)
    torch.testing.assert_close(x.grad, GOLDEN["grad_x_a_ce"], rtol=0, atol=1e-10)
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    for key in (key for key in GOLDEN if key.startswith("grad_ce.")):
        found = gradients[ours(key.removeprefix("grad_ce."))]
        torch.testing.assert_close(found, GOLDEN[key].reshape(found.shape), rtol=0, atol=1e-10)
    unseen = {ours(name) for name in UNSEEN}
    assert {name for name, gradient in gradients.items() if gradient is None} == unseen & set(gradients)
    video = method.logits(of(video=GOLDEN["x_v"].double()))["video"]
    loss = soft_binary(video, GOLDEN["soft_targets"]).mean()
    torch.testing.assert_close(loss.detach(), GOLDEN["loss_bce_video"], rtol=1e-9, atol=0)


def test_concatenation_golden():
    method = official("fullatt", "makers.joint", form="concatenated")
    views = {"audio": GOLDEN["x_a"].double(), "video": GOLDEN["x_v"].double()}
    torch.testing.assert_close(method.logits(of(**views))["joint"], GOLDEN["fullatt_logits"], rtol=0, atol=1e-10)


def test_a_step_teaches_one_view_and_what_is_shared():
    seen = set()
    for seed in range(8):
        method = make(mixed=0.5, rolled=True)
        batch = method.example_batch(8, seed)
        (name,) = method.needs(batch)
        (other,) = set(VIEWS) - {name}
        step = method(batch)
        step.loss.backward()
        assert set(step.parts) == {f"accuracy/{name}"} and set(step.embeddings) == {name}
        assert not any(parameter.grad.any() for parameter in method.encoders[other].parameters())
        assert all(parameter.grad.any() for parameter in method.encoders[name].parameters())
        assert all(parameter.grad.any() for parameter in method.projectors[name].parameters())
        seen.add(name)
    assert seen == set(VIEWS)


def test_without_a_shared_part_there_are_two_models():
    method = make(shared_depth=0)
    method.logits(of(audio=GOLDEN["x_a"]))["audio"].sum().backward()
    with_gradient = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert with_gradient == {name for name, _ in method.named_parameters() if "audio" in name}
    assert not len(method.projectors)


def test_order_of_steps_is_known_by_positions_alone():
    method, order = official(), torch.tensor([3, 0, 5, 1, 4, 2])
    x = GOLDEN["x_a"].double()
    logits = [method.logits(of(audio=each))["audio"] for each in (x, x[:, order])]
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    with torch.no_grad():
        for part in (method.encoders["audio"], method.projectors["audio"]):
            part.positions.zero_()
    logits = [method.logits(of(audio=each))["audio"] for each in (x, x[:, order])]
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(method.logits(of(audio=7 * x))["audio"], logits[0])


def test_mixtures_come_before_the_turn_and_zeros_stay_zero():
    method = make(mixed=1.0, rolled=True)
    x = torch.zeros(4, 6, 3)
    x[torch.arange(4), torch.arange(4), 0] = 1.0
    place, share, key = (
        torch.tensor([1, 2, 3, 0]),
        torch.tensor([0.5, 0.25, 0.75, 1.0]),
        sample_keys(0, 0, torch.arange(4)),
    )
    varied = method._varied(x, place, share, key)
    for row in range(4):
        mixed = share[row] * x[row] + (1 - share[row]) * x[place[row]]
        assert any(torch.equal(varied[row], mixed.roll(shift, 0)) for shift in range(6))
    short = of(audio=torch.ones(2, 6, 3))  # as features are that were brought to mean 0 behind their end too
    short.length["audio"] = torch.tensor([2, 6])
    assert sequence(short, "audio").norm(dim=2).sum(1).tolist() == pytest.approx([2, 6])
    assert not sequence(of(audio=torch.zeros(2, 6, 3)), "audio").any()


def test_classes_are_drawn_equally_often():
    class Source:
        labels = torch.tensor([0, 0, 0, 1, -1, 2, 2])

    method = UAVM(SMALL, Facts(rows=7, classes=3))
    assert method.chances() is None
    method.study(Source())
    torch.testing.assert_close(method.chances(), torch.tensor([1 / 3] * 3 + [1, 0, 0.5, 0.5], dtype=torch.float64))


def lacking_on_a_rank(view):
    """Make a step in which the second of two processes has no sample with the view that is seen, nor any with both."""
    world, rank = parallel.world_size(), parallel.rank()
    for seed in range(20):
        method = make(mixed=0.5, rolled=True).double()
        batch = method.example_batch(8, seed)
        if method.needs(batch) == [view]:
            break
    batch = dataclasses.replace(batch, views={name: value.double() for name, value in batch.views.items()})
    batch.present[view][4:] = False
    wrapped = method
    if world > 1:
        batch = batch.select(slice(4 * rank, 4 * rank + 4))
        wrapped = DistributedDataParallel(method, broadcast_buffers=False)
    optimiser = torch.optim.Adam(method.parameters(), 1e-3, (0.95, 0.999), weight_decay=5e-7)
    losses = []
    for _ in range(2):
        optimiser.zero_grad()
        step = wrapped(batch)
        step.loss.backward()
        optimiser.step()
        losses.append(parallel.sum_with_grad(step.loss.detach()) / world)
    return losses, {name: value.detach().clone() for name, value in method.named_parameters()}


@pytest.mark.parametrize("view", ["audio", "video"])
def test_a_process_without_the_view_hinders_none(view):
    expected = lacking_on_a_rank(view)
    for result in worlds.run(2, lacking_on_a_rank, view):
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)


def test_a_recording_needs_the_view_that_is_seen_alone():
    method = make()
    batch = method.example_batch(8, 0)
    (name,) = method.needs(batch)
    (other,) = set(VIEWS) - {name}
    whole = method(batch).loss
    batch.present[other][:] = False
    torch.testing.assert_close(method(batch).loss, whole, rtol=0, atol=0)
    batch.present[name][:] = False
    assert method(batch).idle


def test_embeddings_of_every_form():
    views = {"audio": GOLDEN["x_a"], "video": GOLDEN["x_v"]}
    batch = of(**views)
    batch.present["video"] = torch.tensor([True, False, True])
    unified = make(shared_embedding=8).eval().embed(batch)
    assert {name: value.shape[1] for name, value in unified.items()} == {"audio": 8, "video": 8}
    assert not unified["video"][1].any() and unified["audio"].any(1).all()
    assert make(own_depth=0).embed(batch, "backbone")["audio"].shape == (3, 16)
    joint = make(form="concatenated").embed(batch)
    assert set(joint) == {"joint"} and not joint["joint"][1].any()
    assert make(form="concatenated").embed(Batch(views={"audio": views["audio"]}, row=batch.row, key=batch.key)) == {}


def test_published_shapes():
    with torch.device("meta"):
        method = UAVM(UAVMSettings(), Facts(rows=2, classes=309))
        separate = UAVM(dataclasses.replace(UAVMSettings(), shared_depth=0, own_depth=6), Facts(rows=2, classes=309))
    count = {each: sum(p.numel() for p in each.parameters()) for each in (method, separate)}
    assert count[method] / count[separate] == pytest.approx(0.75, abs=0.02)  # the authors' own: about 76 %
    assert method.encoders["audio"].positions.shape == (30, 1024)
    assert isinstance(method.encoders["audio"].widen, torch.nn.Identity)
    assert from_dict(UAVMSettings, to_dict(UAVMSettings())) == UAVMSettings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 3},
        {"first_share": 1.0},
        {"views": {}},
        {"views": {"audio": {"stream": "features", "dim": 4}, "text": {"stream": "text"}}},
        {"views": {"audio": {"stream": "features", "dim": 4}, "joint": {"stream": "features", "dim": 4}}},
        {"form": "concatenated", "shared_depth": 0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(UAVMSettings, wrong)
