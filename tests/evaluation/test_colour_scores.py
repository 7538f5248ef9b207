"""Scores of colouring: golden values, and for every failure the two ends of its scale."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from coview.evaluation.colour_scores import (
    auc,
    bleeding,
    chroma_share,
    hue_confusion,
    one_direction,
    rarity_of,
    unevenness,
)
from coview.objectives.colour_bins import colour_bins, smoothed_prior

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz").items()
}


def colours(seed: int = 0, side: int = 12) -> torch.Tensor:
    return 40 * torch.randn(2, 2, side, side, generator=torch.Generator().manual_seed(seed))


def test_golden_area_under_the_curve_of_errors() -> None:
    assert_close(auc(GOLDEN["auc_err"]), GOLDEN["auc"], rtol=0, atol=1e-9)
    assert_close(auc(GOLDEN["auc_err"], GOLDEN["auc_w"]), GOLDEN["auc_weighted"], rtol=0, atol=1e-9)


def test_the_curve_ends_at_150_and_counts_what_is_just_there() -> None:
    assert float(auc(torch.zeros(3))) == 1
    assert float(auc(torch.tensor([150.5]))) == 0
    assert_close(auc(torch.tensor([150.0])), torch.tensor(1 / 151))


def test_rare_colours_count_more() -> None:
    grey, red = torch.zeros(99, 2), torch.tensor([[70.0, 50.0]])
    weight = rarity_of(torch.cat([grey, red]))
    assert float(weight[-1]) > 50 * float(weight[0])
    prior = smoothed_prior(torch.cat([grey, red]), colour_bins())
    assert_close(rarity_of(red, prior), weight[-1:])
    assert bool(torch.isfinite(rarity_of(torch.tensor([[-60.0, 60.0]]), prior)).all())  # a colour that was never seen


def test_too_grey() -> None:
    true = colours()
    assert float(chroma_share(torch.zeros_like(true), true)) == 0
    assert_close(chroma_share(0.5 * true, true), torch.tensor(0.5))


def test_one_tint() -> None:
    strength = torch.rand(2, 1, 9, 9)
    sepia = strength * torch.tensor([10.0, 30.0])[None, :, None, None]
    assert_close(one_direction(sepia), torch.tensor(1.0).double())
    turn = torch.linspace(0, 2 * torch.pi, 101)[:-1].double()
    assert_close(one_direction(30 * torch.stack([turn.cos(), turn.sin()])[None, :, None]), torch.tensor(0.5).double())
    assert bool(one_direction(torch.zeros(1, 2, 4, 4)).isnan())


def test_red_for_blue() -> None:
    true = colours()
    assert float(hue_confusion(true, true)) == 0
    assert float(hue_confusion(-true, true)) == 1
    assert bool(hue_confusion(torch.zeros_like(true), true).isnan())


def test_colour_past_an_edge() -> None:
    lightness, ab = torch.full((1, 1, 20, 20), 30.0), torch.zeros(1, 2, 20, 20)
    lightness[..., 10:], ab[..., 10:] = 80, 50
    assert float(bleeding(ab, lightness)) == 0
    assert float(bleeding(ab.roll(5, dims=-1)[..., 3:17], lightness[..., 3:17])) == 1
    assert float(bleeding(ab, torch.zeros_like(lightness))) == 1
    assert bool(bleeding(torch.zeros_like(ab), lightness).isnan())


def test_uneven_regions() -> None:
    regions = torch.zeros(1, 8, 8, dtype=torch.int64)
    regions[:, 4:], regions[:, :, 7] = 1, -1
    flat = torch.where(regions[:, None] == 1, torch.tensor([30.0, 5.0])[None, :, None, None], 20.0)
    for value in unevenness(flat, regions):
        assert_close(value, torch.tensor(0.0).double(), rtol=0, atol=1e-9)
    halves = flat.clone()
    halves[..., :4, 0:3], halves[..., :4, 3:6] = 20.0, -20.0  # three against three, and one column of each sign more
    halves[..., :4, 6] = 0.0
    strength, hue = unevenness(halves, regions)
    assert float(strength) > 1
    assert_close(hue, torch.tensor(24 / (24 + 28)).double())
    grey, none = unevenness(torch.zeros_like(flat), regions)
    assert float(grey) == 0
    assert bool(none.isnan())
    assert all(bool(value.isnan()) for value in unevenness(flat, torch.full_like(regions, -1)))
