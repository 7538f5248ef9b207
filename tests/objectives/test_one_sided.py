"""One-sided InfoNCE and crops of maps: published STiCA values, processes, limits, places."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview import parallel
from coview.objectives.feature_crops import crop_space, crop_time, draw_start
from coview.objectives.infonce import in_batch_scores, infonce
from coview.objectives.one_sided import crop_contrast, mean_of_terms, one_sided

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "stica.npz").items()
}


def golden(name):
    return GOLDEN[name].double()


def both_sided(f, g, temperature):
    """G(f, g), mean over the samples of all processes."""
    own = sum(parallel.row_counts(f)[: parallel.rank()]) + torch.arange(len(f))
    all_f, all_g = parallel.gather(f), parallel.gather(g)
    return parallel.mean_over_world(one_sided(f, all_g, own, temperature) + one_sided(g, all_f, own, temperature)) / 2


def test_between_views_golden():
    v, a = (golden(name).requires_grad_() for name in "va")
    own = torch.arange(8)
    loss = both_sided(v, a, 0.1)
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden("av_loss_T01"), rtol=0, atol=1e-9)
    torch.testing.assert_close(v.grad, golden("grad_v"), rtol=0, atol=1e-9)
    torch.testing.assert_close(a.grad, golden("grad_a"), rtol=0, atol=1e-9)
    one = one_sided(a, v, own, 0.1).mean()
    torch.testing.assert_close(one.detach(), golden("av_loss_onedir_T01"), rtol=0, atol=1e-9)
    other = both_sided(v, a, float(GOLDEN["temp"]))
    torch.testing.assert_close(other.detach(), golden("av_loss_symmetric_T"), rtol=0, atol=1e-9)


def test_the_value_is_symmetric_infonce_and_the_gradient_is_not():
    v, a = (golden(name).requires_grad_() for name in "va")
    expected = sum(infonce(*pair).mean() for pair in in_batch_scores(v, a, 0.1)) / 2
    torch.testing.assert_close(both_sided(v, a, 0.1), expected)
    full, _ = torch.autograd.grad(expected, (v, a))
    relative = (golden("grad_v") - full).abs().max() / full.abs().max()
    assert 0.5 < relative < 0.8


def on_a_rank(v, a):
    per = 8 // parallel.world_size()
    share = slice(parallel.rank() * per, (parallel.rank() + 1) * per)
    v, a = v[share].requires_grad_(), a[share].requires_grad_()
    loss = both_sided(v, a, 0.1)
    loss.backward()
    return loss.detach(), v.grad, a.grad


@pytest.mark.parametrize("world", [2, 4])
def test_processes_golden(world):
    results = worlds.run(world, on_a_rank, golden("v"), golden("a"))
    if world == 2:
        halves = [golden(f"av_loss_rank{rank}_of2") for rank in range(2)]
        torch.testing.assert_close([result[0] for result in results], halves, rtol=0, atol=1e-9)
    torch.testing.assert_close(sum(result[0] for result in results) / world, golden("av_loss_T01"), rtol=0, atol=1e-9)
    for index, name in ((1, "grad_v"), (2, "grad_a")):
        joined = torch.cat([result[index] for result in results]) / world
        torch.testing.assert_close(joined, golden(name), rtol=0, atol=1e-9)


def test_crop_terms_golden():
    own, sums, terms = torch.arange(8), [], []
    for kind in ("space", "time"):
        large = [golden(f"clip{clip}.{kind}.large") for clip in (1, 2)]
        small = golden(f"clip2.{kind}.small")[:2]
        found = [term.mean() for term in crop_contrast(tuple(large), small, tuple(large), own, 0.5)]
        between = len(large[0]) - 1
        sums += [sum(found[:between], torch.zeros(())), sum(found[between:])]
        terms += found
    assert len(terms) == int(GOLDEN["crop_counts"].sum())
    torch.testing.assert_close(torch.stack(sums).double(), golden("crop_losses_sum"), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.stack(terms).mean(), golden("crop_loss_mean"), rtol=1e-6, atol=0)


def test_small_crops_alone_get_the_gradient_of_their_terms():
    large = [torch.randn(1, 4, 6).requires_grad_() for _ in range(2)]
    small = torch.randn(2, 4, 6).requires_grad_()
    torch.stack(crop_contrast(tuple(large), small, tuple(large), torch.arange(4), 0.5)).sum().backward()
    assert small.grad.any()
    assert large[0].grad is None
    assert large[1].grad is None


def test_without_terms_the_mean_is_zero():
    assert torch.equal(mean_of_terms([], torch.randn(3)), torch.zeros(3))
    nothing = torch.empty(0, 4, 6)
    assert crop_contrast((nothing, nothing), nothing, (nothing, nothing), torch.arange(4), 0.5) == []


def test_limits():
    x = normalize(torch.randn(1, 6, dtype=torch.float64), dim=1)
    assert one_sided(x, -x, torch.zeros(1, dtype=torch.int64), 0.1) == 0
    same = x.expand(5, -1)
    value = one_sided(same, same, torch.arange(5), 0.1)
    torch.testing.assert_close(value, torch.full_like(value, math.log(5)))


def test_gradcheck():
    x = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    keys = torch.randn(5, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: one_sided(x, keys, torch.tensor([0, 4, 2]), 0.5), (x,))


def test_crops_golden():
    maps = golden("map")
    expected = {name: golden(f"map.{name}") for name in ("space_crop_0to6_pooled", "time_crop_0to3_resized")}
    torch.testing.assert_close(crop_space(maps, 6, 0, 0), expected["space_crop_0to6_pooled"], rtol=0, atol=1e-9)
    torch.testing.assert_close(crop_time(maps, 3, 0), expected["time_crop_0to3_resized"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("size", "window"), [(7, 6), (7, 4), (4, 3), (4, 4)])
def test_places_are_uniform_and_the_released_ones_miss_the_last(size, window):
    draws = [draw_start(torch.tensor(key), 0, size, window) for key in range(4000)]
    counts = torch.bincount(torch.tensor(draws)).double()
    places = size - window + 1
    expected = 4000 / places
    assert len(counts) == places
    assert ((counts - expected).square() / expected).sum() < 3 * places + 5  # chi squared: about p = .001
    released = [draw_start(torch.tensor(key), 0, size, window, as_released=True) for key in range(200)]
    assert max(released) == max(places - 2, 0)
