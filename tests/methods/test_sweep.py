"""One test for all methods: a new one is swept as soon as it stands in METHODS, without code here.

Processes are real gloo processes, wrapped in DistributedDataParallel as in training.
"""

import copy
import dataclasses

import pytest
import torch
import worlds
from torch.nn.parallel import DistributedDataParallel

from coview import batchnorm, parallel
from coview.data.views import FeaturesView
from coview.methods import METHODS, build, load_method
from coview.methods.contract import Facts, Method
from coview.methods.xid import HardNegatives

FACTS = Facts(rows=40, classes=4)
HARD = HardNegatives(start_epoch=0, nearest=8, between=6, towards=4)
WORDS = {"video": FeaturesView(dim=12), "audio": FeaturesView(dim=9), "text": FeaturesView(dim=7, steps=5)}
STEPS = {"video": FeaturesView(dim=12, steps=5), "audio": FeaturesView(dim=9, steps=4)}
CASES = {slug: (slug, {}) for slug in METHODS} | {
    "supervised-av per-view": ("supervised-av", {"fusion": "per-view"}),
    "classifier beside": ("classifier", {"beside": True}),
    "classifier of marks": ("classifier", {"marks": 3}),
    "stage-probes average": ("stage-probes", {"form": "average"}),
    "infonce sound and caption": ("infonce", {"views": ("audio", "text"), "positives": "label"}),
    "infonce two clips": ("infonce", {"views": ("video", "video_later")}),
    "infonce two crops": ("infonce", {"views": ("image", "image_2")}),
    "infonce still and caption": ("infonce", {"views": ("image", "text")}),
    "vicreg picture and caption": ("vicreg", {"views": ("video", "text")}),
    "stica one clip": ("stica", {"elsewhere": False}),
    "xid in-batch": ("xid", {"variant": "in-batch"}),
    "xid labels": ("xid", {"variant": "in-batch", "positives": "label"}),
    "l3 distance": ("l3", {"head": "distance"}),
    "avid joint": ("avid", {"within": 1.0}),
    "cma all": ("cma", {"within": 1.0, "cross_positives": 1.0}),
    "mcn features": ("mcn", {"views": WORDS}),
    "cloven features": ("cloven", {"views": WORDS, "hidden": (16,), "by_variation": True, "between_views": True}),
    "cca kernel": ("cca", {"form": "kernel", "landmarks": 6}),
    "vae-cca published": ("vae-cca", {"variant": "published-code"}),
    "vae-cca released": ("vae-cca", {"variant": "published-code", "as_released": True}),
    "steady-features labels": ("steady-features", {"labelled": 0.7, "negatives": 2, "distance": "drlim"}),
    "split-brain picture and depth": ("split-brain", {"pair": "rgb-d"}),
    "split-brain shared": ("split-brain", {"shared": 1 / 3}),
    "weak-captions all words": ("weak-captions", {"sampling": "picture", "objective": "multi-class"}),
    "weak-captions one against all": ("weak-captions", {"sampling": "picture", "objective": "one-vs-all"}),
    "physical-prediction places": ("physical-prediction", {"motion": "dna", "uses": ("actions",)}),
    "physical-prediction maps": ("physical-prediction", {"motion": "stp", "uses": ()}),
    "uavm sequences": ("uavm", {"views": STEPS, "loss": "sigmoid"}),
    "uavm separate": ("uavm", {"views": STEPS, "shared_depth": 0}),
    "uavm concatenated": ("uavm", {"views": STEPS, "form": "concatenated", "own_depth": 0}),
    "xid hard": ("xid", {"hard": HARD, "negatives": 2}),
}
# A method that sees one view in a step: steps in which each is seen.
TURNS = {"uavm": 4}
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


# Every method by default, its other forms with the slow tests.
@pytest.fixture(params=[name if name in METHODS else pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def case(request):
    return CASES[request.param]


@pytest.fixture(params=["cpu", CUDA])
def device(request):
    return request.param


def make(case, seed=0):
    slug, changes = case
    torch.manual_seed(seed)
    return build(slug, dataclasses.replace(load_method(slug).Settings.tiny(), **changes), FACTS)


def draw(method, size=8, seed=0, dtype=torch.float32):
    batch = method.example_batch(size, seed)
    views = {name: view.to(dtype) if view.is_floating_point() else view for name, view in batch.views.items()}
    # Two clips of one recording in a batch, and a collection's rows in no order.
    row = torch.tensor([5, 0, 7, 1, 5, 30, 2, 3])[:size]
    return dataclasses.replace(batch, views=views, row=row, epoch=1, epochs=3)


def without(batch, fill=0.0):
    """Take a view away from samples 1, 4 and 5; of four processes with two samples each, the third keeps none."""
    first, last = next(iter(batch.views)), list(batch.views)[-1]  # one and the same where there is a single view
    present = {name: torch.ones(len(batch), dtype=torch.bool) for name in batch.views}
    present[first][1] = present[last][4] = present[last][5] = False
    views = {name: view.clone() for name, view in batch.views.items()}
    for name, view in views.items():
        view[~present[name]] = fill if view.is_floating_point() else 7
    return dataclasses.replace(batch, views=views, present=present)


def learn(method, batch):
    """Run one forward and backward pass and what follows a step; returns loss, parts, gradients and all state."""
    step = method(batch)
    step.loss.backward()
    inner = method.module if isinstance(method, DistributedDataParallel) else method
    inner.after_step()
    gradients = {name: parameter.grad for name, parameter in inner.named_parameters() if parameter.requires_grad}
    state = {name: value for name, value in inner.state_dict().items() if not name.endswith("num_batches_tracked")}
    return step.loss.detach(), step.parts, gradients, state


def on_a_rank(case, missing):
    method = make(case).double()
    batch = draw(method, dtype=torch.float64)
    batch = without(batch) if missing else batch
    world = parallel.world_size()
    if world > 1:
        method = batchnorm.synchronise(method)
        method = DistributedDataParallel(method, broadcast_buffers=False)
        share = len(batch) // world
        batch = batch.select(slice(parallel.rank() * share, (parallel.rank() + 1) * share))
    loss, parts, gradients, state = learn(method, batch)
    average = [parallel.sum_with_grad(value) / world for value in (loss, *parts.values())]
    return average, gradients, state


@pytest.mark.parametrize("missing", [False, True], ids=["all-present", "missing-views"])
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_world_size_is_one_process_on_the_joined_batch(case, world, missing):
    expected = on_a_rank(case, missing)
    for result in worlds.run(world, on_a_rank, case, missing):
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_a_classifier_with_two_losses_is_one_process_too():
    case = "classifier", {"joint": 0.5}
    expected = on_a_rank(case, True)
    for result in worlds.run(2, on_a_rank, case, True):
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)


def test_declarations(case):
    method = make(case)
    assert isinstance(method, Method)
    assert method.about.slug == case[0]
    assert all((method.about.title, method.about.paper, method.about.family, method.about.state))
    assert method.coupling in ("none", "negatives", "statistics", "bank", "assignment")
    assert set(method.encoders) <= set(method.views)
    assert set(method.projectors) <= set(method.views)
    assert all(encoder.dim > 0 for encoder in method.encoders.values())
    assert method.negatives(64) is None or method.negatives(64) > 0
    groups = method.parameter_groups(0.1)
    assert sum(len(group["params"]) for group in groups) == sum(
        parameter.requires_grad for parameter in method.parameters()
    )


def test_example_batch_is_a_function_of_the_seed(case):
    first, again, other = (
        make(case, seed).example_batch(4, batch_seed) for seed, batch_seed in ((0, 3), (1, 3), (0, 4))
    )
    assert set(first.views) == set(make(case).views)
    for name, view in first.views.items():
        assert torch.equal(view, again.views[name])
        assert not torch.equal(view, other.views[name])
    assert torch.equal(first.key, again.key)


def test_forward_and_backward_are_finite(case, device):
    method = make(case).to(device)
    for autocast in (False, True):
        method.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            step = method(draw(method).to(device))
        step.loss.backward()
        method.after_step()
        assert not step.idle
        assert step.loss.shape == ()
        assert step.loss.dtype == torch.float32
        for value in (step.loss, *step.parts.values(), *step.embeddings.values(), *method.buffers()):
            assert value.isfinite().all()
        for name, parameter in method.named_parameters():
            assert (parameter.grad is not None) is parameter.requires_grad, name
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
        for value in (*step.parts.values(), *step.embeddings.values()):
            assert not value.requires_grad


def test_absent_views_influence_nothing(case, device):
    batch = draw(make(case))
    keep = without(batch).present
    complete = torch.stack([keep[name] for name in make(case).needs(batch)]).all(0)
    results = []
    for chosen in (without(batch).select(complete), without(batch), without(batch, torch.nan)):
        results.append(learn(make(case).to(device), chosen.to(device)))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)
    assert all(gradient.isfinite().all() for gradient in results[2][2].values())


def test_a_batch_without_any_complete_sample_teaches_nothing(case, device):
    method = make(case).to(device)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    batch = draw(method)
    batch.present = {name: torch.zeros_like(present) for name, present in batch.present.items()}
    assert method(batch.to(device)).idle
    loss, _, gradients, _ = learn(method, batch.to(device))
    assert loss == 0
    assert all(gradient is not None and not gradient.any() for gradient in gradients.values())
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)


def test_saved_and_loaded_gives_the_same_outputs(case, device, tmp_path):
    method, other = (make(case, seed).to(device) for seed in (0, 1))
    learn(method, draw(method).to(device))
    torch.save(method.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True, map_location=device), strict=True)
    steps = [m.eval()(draw(m, seed=1).to(device)) for m in (method, other)]
    assert torch.equal(steps[0].loss, steps[1].loss)
    torch.testing.assert_close(steps[1].embeddings, steps[0].embeddings, rtol=0, atol=0)


def advance(method, optimiser, device, steps):
    losses = []
    for number in steps:
        optimiser.zero_grad()
        step = method(draw(method, seed=number).to(device))
        step.loss.backward()
        optimiser.step()
        method.after_step()
        losses.append(step.loss.item())
    return losses


def test_stopped_and_resumed_gives_the_same_losses_to_the_bit(case, device):
    method = make(case).to(device)
    optimiser = torch.optim.Adam(method.parameters(), 1e-3)
    advance(method, optimiser, device, range(2))
    saved = copy.deepcopy((method.state_dict(), optimiser.state_dict()))
    straight = advance(method, optimiser, device, range(2, 4))
    resumed = make(case, seed=9).to(device)
    optimiser = torch.optim.Adam(resumed.parameters(), 1e-3)
    resumed.load_state_dict(saved[0])
    optimiser.load_state_dict(saved[1])
    assert advance(resumed, optimiser, device, range(2, 4)) == straight


def test_a_step_changes_what_has_a_gradient_and_nothing_frozen(case, device):
    method = make(case).to(device)
    frozen = next(iter(method.encoders.values()))
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in method.named_parameters()}
    optimiser = torch.optim.SGD(method.parameter_groups(0.0), lr=0.1)
    advance(method, optimiser, device, range(TURNS.get(case[0], 1)))
    moved = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    learning = {name for name, value in method.named_parameters() if value.requires_grad}
    assert moved <= learning
    # A bias in front of batch normalisation has a gradient of rounding size: it may or may not move.
    assert {name for name in learning - moved if not name.endswith("bias")} == set()


def test_evaluation_leaves_no_trace(case, device):
    method = make(case).to(device).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():
        method(draw(method).to(device))
    method.after_step()
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)
