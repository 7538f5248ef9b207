"""Ranking of tracked patches: the compiled official layer (tests/golden/video-triplet.npz), invariants, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives.track_ranking import choose, directed, ranking

GOLDEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "video-triplet.npz").items()
}


def of(case):
    return {name.removeprefix(f"{case}_"): value for name, value in GOLDEN.items() if name.startswith(f"{case}_")}


def ranked(features, known, draws=None, **changes):
    first, last = features.view(-1, 2, features.shape[1]).unbind(1)
    film = known["labels"][::2].long()
    draws = torch.rand(len(film), len(features), generator=torch.Generator().manual_seed(0)) if draws is None else draws
    told = {"margin": float(known["margin"]), "count": int(known["neg_num"]), "hard": float(known["hard_ratio"])}
    return ranking(first, last, film, draws, **(told | {"released": True} | changes))


@pytest.mark.parametrize("case", ["all", "hard", "mix"])
def test_the_released_form_is_the_compiled_layer(case):
    """Loss, gradient and choice; what the layer draws at random is told by draws that favour its own choice."""
    known = of(case)
    features = known["features"].clone().requires_grad_()
    torch.testing.assert_close(directed(known["features_raw"]), known["features"], rtol=0, atol=1e-5)
    torch.testing.assert_close(1 - features @ features.T, known["cosine_distance"], rtol=0, atol=1e-12)
    chosen = known["selected_mask"][::2].bool()
    loss, hinges = ranked(features, known, draws=torch.where(chosen, 0.25, 0.75))
    assert torch.equal(hinges > 0, chosen)
    torch.testing.assert_close(loss.mean(), known["loss"], rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(loss.mean(), features)
    torch.testing.assert_close(gradient, known["grad"], rtol=0, atol=1e-12)
    # Euler: every hinge is bilinear in the features, plus the margin.
    active = (hinges > 0).sum() + (_second(features, known) * chosen > 0).sum()
    share = float(known["margin"]) * int(active) / (int(known["neg_num"]) * len(features))
    torch.testing.assert_close((features * gradient).sum(), 2 * (loss.mean() - share), rtol=0, atol=1e-12)


def _second(features, known):
    distance = 1 - features.detach() @ features.detach().T
    return (float(known["margin"]) + distance[::2, 1::2].diagonal()[:, None] - distance[1::2]).relu()


@pytest.mark.parametrize("case", ["all", "hard", "mix"])
def test_the_papers_form_equals_independent_hinges(case):
    known = of(case)
    loss, hinges = ranked(known["features"], known, margin=0.5, count=4, hard=1.0, released=False)
    torch.testing.assert_close(loss.mean(), known["hard4_loss_margin_0p5"], rtol=0, atol=1e-12)
    found = hinges.topk(4).values
    torch.testing.assert_close(found, known["hinge_margin_0p5"].gather(1, known["hard4_index"]), rtol=0, atol=1e-12)
    every, hinges = ranked(known["features"], known, margin=0.5, count=50, released=False)
    torch.testing.assert_close(every.mean(), known["all_neg_loss_margin_0p5"], rtol=0, atol=1e-12)
    torch.testing.assert_close(hinges, known["hinge_margin_0p5"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("released", [True, False])
def test_gradients_are_those_of_differences(released):
    known = of("mix")

    def loss(raw):
        return ranked(directed(raw), known, released=released, margin=1.0)[0]

    assert torch.autograd.gradcheck(loss, known["features_raw"].clone().requires_grad_())


def test_length_and_order_of_tracks_do_not_matter():
    known = of("hard")
    loss, _ = ranked(known["features"], known)
    scaled, _ = ranked(directed(known["features_raw"] * torch.arange(1.0, 17.0)[:, None]), known)
    torch.testing.assert_close(scaled, loss, rtol=0, atol=1e-5)
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    rows = torch.stack([2 * order, 2 * order + 1], 1).flatten()
    moved, _ = ranked(known["features"][rows], known | {"labels": known["labels"][rows]})
    torch.testing.assert_close(moved, loss[order], rtol=0, atol=1e-12)


def test_separate_classes_and_no_features_cost_and_teach_what_they_should():
    film, draws = torch.arange(4), torch.rand(4, 8)
    apart = torch.eye(4)
    told = {"count": 4, "hard": 1.0}
    assert not ranking(apart, apart, film, draws, margin=0.0, released=True, **told)[0].any()
    zero = torch.zeros(4, 4, requires_grad=True)
    unit = directed(zero)
    loss, _ = ranking(unit, unit, film, draws, margin=0.5, released=False, **told)
    loss.sum().backward()
    assert torch.equal(loss, torch.full((4,), 0.5)) and not zero.grad.any()
    assert not ranking(apart, apart, torch.zeros(4), draws, margin=1.0, released=True, **told)[0].any()


def test_negatives_are_drawn_as_told():
    """Half from the nearest, half from the rest; all at random; all of a few."""
    distance = torch.arange(200.0).expand(300, -1)
    draws = torch.rand(300, 200, generator=torch.Generator().manual_seed(1))
    allowed = torch.arange(200).expand(300, -1) >= 50
    half = choose(distance, allowed, draws, 8, 0.5)
    assert not (half & ~allowed).any() and (half.sum(1) == 8).all() and (half[:, 50:58].sum(1) >= 4).all()
    assert half[:, 50:58].float().mean(0).std() < 0.05  # any of the nearest
    everywhere = choose(distance, allowed, draws, 8, 0.0)[:, 50:].float().mean(0)
    assert (everywhere.view(5, 30).mean(1) - 8 / 150).abs().max() < 0.01
    assert torch.equal(choose(distance, allowed, draws, 150, 1.0), allowed)


@pytest.mark.parametrize("hard, count", [(0.8, 10), (0.9, 10), (0.29, 100)])
def test_shares_that_are_no_binary_fractions_are_whole_negatives(hard, count):
    draws = torch.rand(2, 200, generator=torch.Generator().manual_seed(1))
    chosen = choose(torch.arange(200.0).expand(2, -1), torch.ones(2, 200, dtype=torch.bool), draws, count, hard)
    assert (chosen.sum(1) == count).all()


@pytest.mark.parametrize("released", [True, False])
def test_features_that_are_no_numbers_are_no_loss_of_zero(released):
    nothing = torch.full((4, 3), torch.nan)
    told = {"margin": 1.0, "count": 4, "hard": 1.0, "released": released}
    loss, _ = ranking(nothing, nothing, torch.arange(4), torch.rand(4, 8), **told)
    assert bool(loss.isnan().all())
