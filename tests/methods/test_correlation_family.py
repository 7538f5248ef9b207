"""The correlation family beyond the sweep: refusals, the final maps, more than two views, raw views, and the cards'
decisive experiments.

On the circle, t uniform, x = (cos t, sin t) R1 + noise and y = (cos 2t, sin 2t) R2 + noise: nothing linear in x follows
from y, and everything of y from x. On classes, supervised methods need nothing of who is whose partner.
"""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from coview.correlation.cca import CCA
from coview.data.source import sample_keys
from coview.data.views import AudioView, Batch, FeaturesView, VideoView
from coview.errors import SettingsError, UsageError
from coview.evaluation.ranking import rank_by_cosine
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO
from coview.settings import from_dict, to_dict

VIEWS = {"left": FeaturesView(dim=10), "right": FeaturesView(dim=8)}


def circle(rows, seed):
    generator = torch.Generator().manual_seed(0)
    turns = [torch.randn(2, spec.dim, generator=generator) for spec in VIEWS.values()]
    generator = torch.Generator().manual_seed(seed)
    t = 2 * torch.pi * torch.rand(rows, generator=generator)
    views = []
    for (name, spec), angle, turn in zip(VIEWS.items(), (t, 2 * t), turns, strict=True):
        noise = 0.1 * torch.randn(rows, spec.dim, generator=generator)
        views.append((name, torch.stack([angle.cos(), angle.sin()], 1) @ turn + noise))
    return Batch(views=dict(views), row=torch.arange(rows), key=sample_keys(seed, 0, torch.arange(rows)))


def make(slug, seed=0, facts=None, **changes):
    torch.manual_seed(seed)
    settings = dataclasses.replace(load_method(slug).Settings.tiny(), **{"views": VIEWS, **changes})
    return build(slug, settings, facts or Facts(rows=1000, classes=10))


def embedder(method, batch):
    """Stand in for what the loop passes to `finish`: the networks' outputs for the whole source."""

    def embed(space):
        method.eval()
        with torch.no_grad():
            values = {name: encoder(batch.views[name]) for name, encoder in method.encoders.items()}
        return SimpleNamespace(values=values, present=batch.present, labels=batch.label)

    return embed


def train(method, batch, steps, rate=1e-2):
    optimiser = torch.optim.Adam(method.parameters(), rate)
    for _ in range(steps):
        optimiser.zero_grad()
        method.train()
        step = method(batch)
        step.loss.backward()
        optimiser.step()
        method.after_step()
    method.finish(embedder(method, batch))
    return step


@torch.no_grad()
def project(method, batch):
    method.eval()
    return [method.projectors[name](encoder(batch.views[name])).double() for name, encoder in method.encoders.items()]


def correlations(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt()


@pytest.mark.parametrize("slug", ["dcca", "dccae", "dgcca", "supervised-dcca", "cca"])
def test_a_batch_below_twice_the_dimension_is_refused_with_the_reason(slug):
    wide = {"components": 4} if slug == "cca" else {"dimension": 4}
    method = make(slug, facts=Facts(rows=40, classes=4), **wide)
    assert method.least_batch == 8
    method(method.example_batch(8, 0))
    with pytest.raises(UsageError, match=r"7 complete samples .* 4 dimensions.*batch_size of at least 8"):
        method(method.example_batch(7, 0))


@pytest.mark.parametrize("slug", ["noi", "corrae", "distae", "splitae", "vcca"])
def test_others_learn_from_small_batches(slug):
    method = make(slug, facts=Facts(rows=40, classes=4), dimension=6)
    assert method(method.example_batch(4, 0)).loss.isfinite()


@pytest.mark.parametrize(
    ("slug", "wrong"),
    [
        ("dcca", {"ridge": 0.0}),
        ("dcca", {"components": 11}),
        ("dccae", {"reconstruction": 0.0}),
        ("noi", {"rho": 1.0}),
        ("supervised-dcca", {"beta": 1.5}),
        ("vae-cca", {"as_released": True}),
        ("tnn-c-cca", {"views": {"a": to_dict(VideoView()), "b": to_dict(AudioView())}}),
        ("vcca", {"deviation": 0.0}),
        ("cca", {"components": 600}),
        ("dcca", {"views": {"a": to_dict(VideoView())}}),
    ],
)
def test_impossible_settings_are_refused(slug, wrong):
    with pytest.raises(SettingsError):
        from_dict(load_method(slug).Settings, wrong)


@pytest.mark.parametrize("slug", ["supervised-dcca", "vae-cca", "tnn-c-cca"])
def test_labels_are_needed(slug):
    with pytest.raises(UsageError, match="this collection has"):
        make(slug, facts=Facts(rows=40, classes=0))


def test_settings_survive_their_way_through_a_file():
    settings = dataclasses.replace(load_method("dcca").Settings.tiny(), hidden=(4, 3))
    assert from_dict(type(settings), to_dict(settings)) == settings


def test_raw_views_of_any_kind():
    method = make(
        "dcca", views={"v": TINY_VIDEO, "a": TINY_AUDIO}, video_encoder="video-tiny", audio_encoder="audio-tiny"
    )
    step = method(method.example_batch(6, 0))
    step.loss.backward()
    assert {name: tuple(value.shape) for name, value in step.embeddings.items()} == {"v": (6, 2), "a": (6, 2)}
    flat = make(
        "dccae", views={"v": TINY_VIDEO, "a": TINY_AUDIO}, video_encoder="mlp", audio_encoder="mlp", hidden=(4,)
    )
    assert flat(flat.example_batch(6, 0)).loss.isfinite()


@pytest.mark.parametrize("slug", ["dcca", "dccae", "dgcca"])
def test_three_views(slug):
    method = make(slug, views={**VIEWS, "third": FeaturesView(dim=5)})
    batch = method.example_batch(40, 0)
    assert method(batch).loss.isfinite()
    method.finish(embedder(method, batch))
    x, y, z = project(method, batch)
    for scores in (x, y, z):
        assert torch.allclose(scores.T.cov().diagonal(), torch.ones(2).double(), atol=0.05)


def test_the_final_maps_are_linear_cca_of_the_outputs():
    method, batch = make("dcca"), circle(200, 1)
    train(method, batch, 3)
    outputs = [method.encoders[name](batch.views[name]).detach().double().numpy() for name in VIEWS]
    expected = CCA(2, ridge=1e-4).fit(outputs)
    x, y = project(method, batch)
    assert torch.allclose(x, torch.from_numpy(expected.project(outputs[0], 0)), atol=1e-4)
    assert torch.allclose(correlations(x, y), torch.from_numpy(expected.correlations_), atol=1e-4)
    assert not any("projectors" in name for name, _ in method.named_parameters())


def test_linear_networks_reach_the_closed_form():
    batch = circle(300, 1)
    batch.views["right"] = batch.views["right"] + batch.views["left"][:, :8]
    exact = CCA(2, ridge=1e-4).fit([view.double().numpy() for view in batch.views.values()])
    method = make("dcca", hidden=()).double()
    batch.views = {name: view.double() for name, view in batch.views.items()}
    step = train(method, batch, 600, rate=2e-2)
    assert float(step.parts["correlation"]) == pytest.approx(float(exact.singular_values_.sum()), abs=2e-3)


@pytest.mark.parametrize("form", ["cca", "gcca", "mcca", "kernel", "robust", "cluster"])
def test_closed_forms(form):
    batch = circle(300, 1)
    batch.views["right"] = batch.views["right"] + batch.views["left"][:, :8]
    batch = dataclasses.replace(batch, label=batch.row % 3)
    method = make("cca", form=form, landmarks=100)
    method.fit_targets(iter([batch]))
    method.finish(embedder(method, batch))
    x, y = project(method, batch)
    assert correlations(x, y).min() > 0.5
    assert method.closed_form


def test_a_kernel_finds_what_no_line_does():
    batch, held = circle(1000, 1), circle(1000, 2)
    means = {}
    for form in ("cca", "kernel"):
        method = make("cca", form=form, landmarks=200)
        method.fit_targets(iter([batch]))
        method.finish(embedder(method, batch))
        means[form] = correlations(*project(method, held)).mean()
    assert means["cca"] < 0.2
    assert means["kernel"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slug", "changes"), [("dcca", {}), ("dccae", {}), ("dcca", {"dimension": 4, "components": 2})]
)
def test_doubled_angle(slug, changes):
    batch, held = circle(1000, 1), circle(1000, 2)
    linear = CCA(2, ridge=1e-4).fit([view.numpy() for view in batch.views.values()])
    assert abs(linear.held_out_correlations([view.numpy() for view in held.views.values()])).max() < 0.15
    method = make(slug, hidden=(64,), activation="tanh", **{"dimension": 2, **changes})
    train(method, batch, 400)
    found = correlations(*project(method, held))
    assert found[:2].min() > 0.99
    assert found[2:].abs().max() < 0.3 if len(found) > 2 else True


@pytest.mark.slow
def test_dimensions_of_corrae_are_copies():
    copies = []
    for seed in range(3):
        method, batch = make("corrae", seed, hidden=(64,), activation="tanh"), circle(1000, 1)
        train(method, batch, 400)
        outputs = method.encoders["left"](batch.views["left"]).detach()
        copies.append(abs(float(torch.corrcoef(outputs.T)[0, 1])))
    assert sorted(copies)[1] > 0.9


@pytest.mark.slow
def test_distae_learns_nothing_at_a_small_weight():
    method, batch = make("distae", hidden=(64,), activation="tanh"), circle(1000, 1)
    train(method, batch, 400)
    assert correlations(*project(method, circle(1000, 2))).max() < 0.3


def classes(rows, seed, permuted=False, wide=(64, 32)):
    """Ten Gaussian classes seen through two random linear maps, with noise; partners may be shuffled within classes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 8, generator=generator)
    maps = [torch.randn(8, dim, generator=generator) for dim in wide]
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 10
    shared = centres[label] + 0.7 * torch.randn(rows, 8, generator=generator)
    x, y = (shared @ m + 2 * torch.randn(rows, m.shape[1], generator=generator) for m in maps)
    if permuted:
        for c in range(10):
            own = torch.nonzero(label == c)[:, 0]
            y[own] = y[own[torch.randperm(len(own), generator=generator)]]
    views = {"left": x / x.std(), "right": y / y.std()}
    return Batch(views=views, row=torch.arange(rows), key=sample_keys(seed, 0, torch.arange(rows)), label=label)


def mean_precision(method, batch):
    x, y = project(method, batch)
    return float(rank_by_cosine(x, y, batch.label, batch.label).average_precision().mean())


def epochs(method, batch, count, rate=1e-3, size=128):
    optimiser = torch.optim.Adam(method.parameters(), rate)
    for epoch in range(count):
        order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(size)[: len(batch) // size]:
            part = dataclasses.replace(batch.select(rows), key=sample_keys(epoch, 1, rows))
            optimiser.zero_grad()
            method.train()
            method(part).loss.backward()
            optimiser.step()
            method.after_step()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["cca", "published-code"])
def test_vae_cca_learns_to_retrieve(variant):
    views = {"left": FeaturesView(dim=64), "right": FeaturesView(dim=32)}
    method = make("vae-cca", views=views, hidden=(128,), dimension=32, variant=variant)
    train_part, test_part = classes(1600, 1), classes(400, 2)
    before = mean_precision(method, test_part)
    epochs(method, train_part, 20)
    assert before < 0.25
    assert mean_precision(method, test_part) > 0.7


@pytest.mark.slow
def test_supervision_does_not_need_partners():
    """Partners shuffled within classes: pairs lose what they shared beyond the class, classes lose nothing."""
    views = {"left": FeaturesView(dim=64), "right": FeaturesView(dim=32)}
    found = {}
    for permuted in (False, True):
        batch, held = classes(1600, 1, permuted), classes(400, 2)
        for beta in (0.0, 1.0):
            method = make("supervised-dcca", views=views, hidden=(32,), dimension=8, beta=beta)
            epochs(method, batch, 5, size=400)
            method.finish(embedder(method, batch))
            found[beta, permuted] = mean_precision(method, held)
    assert found[0.0, True] == pytest.approx(found[0.0, False], abs=0.05)
    assert min(found[0.0, True], found[0.0, False]) > max(found[1.0, True], found[1.0, False]) - 0.05


def test_triplets_across_views():
    views = {"left": FeaturesView(dim=64), "right": FeaturesView(dim=32)}
    method = make("tnn-c-cca", views=views, hidden=(32,), dimension=8)
    batch, held = classes(400, 1), classes(200, 2)
    method.fit_targets(iter(batch.select(rows) for rows in torch.arange(400).split(100)))
    first = mean_precision(method, held)
    epochs(method, batch, 10, size=100)
    assert mean_precision(method, held) > first


def test_orthogonal_iterations_keep_their_moment_through_a_step():
    method, batch = make("noi"), circle(60, 1)
    before = method.get_buffer("scatter").clone()
    steps = [method(part).loss for part in (batch.select(slice(a, b)) for a, b in pairwise((0, 20, 40, 60)))]
    assert torch.equal(method.get_buffer("scatter"), before)
    method.after_step()
    assert not torch.equal(method.get_buffer("scatter"), before)
    assert all(loss.isfinite() for loss in steps)
