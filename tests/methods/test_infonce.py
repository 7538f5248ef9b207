"""InfoNCE and SigLIP between many views: golden values, weights of pairs, views that are missing, queues, pools."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import logsigmoid, normalize
from torch.nn.parallel import DistributedDataParallel

from coview import parallel
from coview.data.views import FeaturesView
from coview.encoders.features import FirstStep, StepMean, WeighedSteps
from coview.errors import UsageError
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.infonce import InfoNCESettings
from coview.objectives.infonce import in_batch_scores, infonce

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = Facts(rows=40, classes=4)
DIMS = {"left": 6, "right": 5, "other": 4}


def make(views=DIMS, seed=0, double=True, **changes):
    """Linear heads on stored vectors: nothing but the loss is between."""
    torch.manual_seed(seed)
    others = {name: FeaturesView(dim=dim) for name, dim in views.items()}
    own = {"hidden": (), "head_batchnorm": False, "embedding": 4} | changes
    method = build("infonce", InfoNCESettings(views=tuple(views), others=others, **own), FACTS)
    return method.double() if double else method


def drawn(method, size=8, seed=0, present=None):
    batch = method.example_batch(size, seed)
    views = {name: x.double() if method.log_scale.dtype == torch.float64 else x for name, x in batch.views.items()}
    return dataclasses.replace(batch, views=views, present=dict(batch.present) | (present or {}))


def mean_loss(x, y, temperature):
    return torch.stack([infonce(*pair) for pair in in_batch_scores(x, y, temperature)]).mean(0)


def load():
    with np.load(GOLDEN / "infonce.npz") as stored:
        return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}


def test_imagebind_golden():
    """The scales of a hub: an embedding times its scale is what ImageBind yields, and the loss of audio's is golden."""
    golden = load()
    kinds = [name.partition(".")[2] for name in golden if name.startswith("imagebind_scale.")]
    fixed = {f"image-{kind}": 1 / float(golden[f"imagebind_scale.{kind}"]) for kind in kinds if kind != "text"}
    method = make(
        {"picture": 12} | {f"the_{kind}": 12 for kind in kinds},
        hub="picture",
        temperatures={f"picture-the_{name.partition('-')[2]}": value for name, value in fixed.items()},
    )
    a, v = (normalize(golden[name].double(), dim=1) for name in "av")
    for place, kind in enumerate(kinds):
        fixed_at = list(method.compared.values())[place][1]
        scale = float(method.log_scale[place].detach().exp()) if fixed_at is None else 1 / fixed_at
        assert scale == pytest.approx(float(golden[f"imagebind_scale.{kind}"]), rel=1e-6)
        torch.testing.assert_close((a * scale).float(), golden[f"imagebind_embed.{kind}"], rtol=1e-5, atol=1e-6)
    batch = drawn(method)
    step = method.step_of(batch, {"picture": v, **{f"the_{kind}": a for kind in kinds}})
    expected = golden["imagebind_sym_infonce_audio_scale20"]
    torch.testing.assert_close(step.parts["loss/picture-the_audio"], expected, rtol=0, atol=1e-9)


def test_pairs_are_weighed_by_what_is_said_and_by_the_samples_they_have():
    method = make(weights={"right-left": 3.0}, temperatures={"left-other": 0.3}, positives="label")
    there = torch.tensor([True, True, True, False, True, False, False, True])
    step = method(drawn(method, present={"other": there}))
    z = {name: value.double() for name, value in step.embeddings.items()}
    part = {name: z[name][there] for name in ("left", "right")}
    groups = drawn(method).label

    def loss(x, y, temperature, rows=slice(None)):
        pairs = in_batch_scores(x, y, temperature, groups[rows])
        return torch.stack([infonce(*pair) for pair in pairs]).mean(0)

    sums = [
        3 * loss(z["left"], z["right"], 0.07).sum(),
        loss(part["left"], z["other"], 0.3, there).sum(),
        loss(part["right"], z["other"], 0.07, there).sum(),
    ]
    torch.testing.assert_close(step.loss.detach(), sum(sums) / (3 * 8 + 5 + 5))
    assert step.used == 8 and len(step.embeddings["other"]) == 5


def test_a_pair_is_what_it_is_among_many():
    """With weight 0 of all others, and with a hub of two views, the loss is that of two views alone."""
    views = {name: DIMS[name] for name in ("left", "right")}
    two, hub = make(views), make(views, hub="right")
    three = make(weights={"left-other": 0.0, "other-right": 0.0})
    for other in (hub, three):
        other.load_state_dict(two.state_dict(), strict=False)
        torch.testing.assert_close(other(drawn(three)).loss, two(drawn(two)).loss)
    three(drawn(three)).loss.backward()
    assert all(p.grad is not None for p in three.parameters() if p.requires_grad)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_loss_at_equal_embeddings_is_chance(form):
    method = make(form=form, bias=1 - 10 - math.log(7) - 1, temperature=0.1)
    x = torch.ones(8, 4, dtype=torch.float64) / 2
    step = method.step_of(drawn(method), dict.fromkeys(DIMS, x))
    assert float(step.loss.detach()) == pytest.approx(method.chance_loss(8))


def test_fixed_scales_stay_and_learnt_ones_are_capped():
    method = make(temperatures={"left-right": 0.2}, temperature=0.0101)
    optimiser = torch.optim.SGD([method.log_scale], 10.0, weight_decay=0.01)
    for seed in range(3):
        optimiser.zero_grad()
        step = method(drawn(method, seed=seed))
        step.loss.backward()
        optimiser.step()
        method.after_step()
        assert float(step.parts["temperature/left-right"]) == pytest.approx(0.2)
        assert float((-method.log_scale.detach()).exp().min()) >= 0.01 - 1e-9
    assert not make(learn_temperature=False).log_scale.requires_grad


def absent(on_all):
    """One process, or none, has the third view at all; returns the loss and gradients of a wrapped step."""
    torch.set_default_dtype(torch.float64)
    try:
        method = make()
        there = torch.zeros(8, dtype=torch.bool)
        there[:4] = not on_all  # the first process of two
        batch, world = drawn(method, present={"other": there}), parallel.world_size()
        if world == 1:
            step = method(batch)
        else:
            per = 8 // world
            wrapped = DistributedDataParallel(method, broadcast_buffers=False)
            step = wrapped(batch.select(slice(parallel.rank() * per, (parallel.rank() + 1) * per)))
        step.loss.backward()
        loss = parallel.sum_with_grad(step.loss.detach()) / world
        return loss, {name: p.grad for name, p in method.named_parameters()}
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("on_all", [False, True], ids=["one process lacks it", "nobody has it"])
@pytest.mark.parametrize("world", [2, 4])
def test_no_process_waits_for_a_view_that_another_lacks(world, on_all):
    loss, gradients = absent(on_all)
    assert all(gradient is not None for gradient in gradients.values())
    assert bool(gradients["projectors.other.0.weight"].any()) is not on_all
    for result in worlds.run(world, absent, on_all):
        torch.testing.assert_close(result, (loss, gradients), rtol=1e-9, atol=1e-12)


def test_modality_dropout_leaves_out_what_nobody_is_compared_with():
    """Under a hub, two views without it teach nothing, and one sample alone of a pair is no pair."""
    method = make(hub="left")
    whole = drawn(method)
    keep = torch.tensor([True, True, True, True, False, False, False, False])
    found = method.usable(drawn(method, present={"left": keep}))
    assert len(found) == 4 and set(found.views) == set(DIMS)
    one = torch.zeros(8, dtype=torch.bool)
    one[0] = True
    found = method.usable(drawn(method, present={"other": one}))
    assert set(found.views) == {"left", "right"} and len(found) == 8
    assert method.usable(drawn(method, present={"left": one})) is None
    assert method.usable(whole).views.keys() == whole.views.keys()


def test_a_pair_that_one_sample_alone_has_is_left_out_though_both_views_are_there():
    method = make()
    there = torch.arange(8)
    present = {"right": there < 5, "other": (there == 0) | (there > 4)}  # the first has all, none else the last two
    step, hub = method(drawn(method, present=present)), make(hub="left")
    assert step.parts.keys() & {"loss/left-right", "loss/left-other", "loss/right-other"} == {
        "loss/left-right", "loss/left-other",
    }  # fmt: skip
    torch.testing.assert_close(step.loss, hub(drawn(hub, present=present)).loss)
    step.loss.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_queues_are_gathered_in_the_order_of_the_views():
    """An order that depended on how a process hashes names would mix one view's queue with another's."""
    views = {f"view_{number}": 3 for number in range(12)}
    method = make(views, queue=4, hub="view_0")
    method(drawn(method))
    assert [name for name, *_ in method.waiting] == list(views)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_queue_is_more_negatives_of_other_recordings(form):
    method = make({"left": 6, "right": 5}, queue=12, form=form, bias=-3.0)
    plain = make({"left": 6, "right": 5}, form=form, bias=-3.0)
    first, second = drawn(method, seed=0), drawn(method, seed=1)
    second.row = torch.tensor([3, 30, 31, 32, 33, 34, 35, 36])  # one recording comes again
    old = method(first)
    torch.testing.assert_close(old.loss, plain(first).loss)
    method.after_step()
    step, alone = method(second), plain(second)
    x, y = alone.embeddings.values()
    apart = first.row != second.row[:, None]
    rows = []
    for anchors, others, remembered in ((x, y, old.embeddings["right"]), (y, x, old.embeddings["left"])):
        scores, further = anchors @ others.T / 0.07, anchors @ remembered.T / 0.07
        if form == "softmax":
            further = further.masked_fill(~apart, -torch.inf)
            rows.append(torch.cat([scores, further], 1).logsumexp(1) - scores.diagonal())
        else:
            target = 2 * torch.eye(8, dtype=torch.float64) - 1
            rows.append(-logsigmoid(target * (scores - 3)).sum(1) - (logsigmoid(3 - further) * apart).sum(1))
    if form == "sigmoid":  # of the batch itself one direction is all there is
        rows[1] = rows[1] + logsigmoid((2 * torch.eye(8) - 1) * (y @ x.T / 0.07 - 3)).sum(1)
        rows[1] = rows[1] - logsigmoid((2 * torch.eye(8) - 1) * (x @ y.T / 0.07 - 3)).sum(1)
    torch.testing.assert_close(step.loss.detach(), sum(rows).mean() / 2, rtol=1e-6, atol=1e-6)
    method.after_step()
    assert method.queues["left"].rows.tolist() == [*second.row.tolist(), *first.row.tolist()][:12]
    assert method.negatives(8) == 19


def test_pools_of_sequences():
    x = torch.randn(3, 5, 4)
    x[0, 3:] = 0
    x[2] = 0
    weighed = WeighedSteps(4)
    torch.testing.assert_close(weighed(x), StepMean(4)(x))  # before anything is learnt
    torch.testing.assert_close(FirstStep(4)(x), x[:, 0])
    torch.nn.init.normal_(weighed.query)
    share = torch.cat([(x[0, :3] @ weighed.query).softmax(0), torch.zeros(2)])
    torch.testing.assert_close(weighed(x)[0], share @ x[0])
    order = torch.tensor([2, 0, 1, 3, 4])
    torch.testing.assert_close(weighed(x[:, order])[0], weighed(x)[0])
    torch.testing.assert_close(weighed(x)[2], torch.zeros(4))
    weighed(x).sum().backward()
    assert bool(weighed.query.grad.isfinite().all())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"views": ("left",)}, "two or more"),
        ({"views": ("left", "left")}, "'left' twice"),
        ({"views": ("left", "nothing")}, "nothing unknown; there are video"),
        ({"others": {"audio": FeaturesView(dim=3)}}, "audio is the name"),
        ({"others": {"a.b": FeaturesView(dim=3)}}, "'a.b' cannot be the name of a view"),
        ({"others": {"keys": FeaturesView(dim=3)}}, "'keys' cannot be the name of a view"),
        ({"hub": "video"}, "hub: 'video' is none"),
        ({"weights": {"left-audio": 1.0}}, "weights: no pair left-audio; left-right, left-other, right-other"),
        ({"temperatures": {"left-right": 0.001}}, "temperature >= 0.01"),
        ({"weights": {"left-right": -1.0}}, "none is below 0"),
        ({"hub": "left", "weights": {"left-right": 0.0, "left-other": 0.0}}, "one pair's at least"),
        ({"queue": 4, "positives": "label"}, "knows recordings"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        make_settings = {"views": tuple(DIMS), "others": {n: FeaturesView(dim=d) for n, d in DIMS.items()}}
        InfoNCESettings(**make_settings | changes)


def test_a_network_without_places_has_nothing_to_attend_to():
    class Flat:
        stages = ("all",)

        def feature_maps(self, x):
            return {"all": x}

    from coview.encoders.attention_pool import PlacesPooled

    with pytest.raises(UsageError, match="no places"):
        PlacesPooled(Flat(), torch.zeros(0, 4))
