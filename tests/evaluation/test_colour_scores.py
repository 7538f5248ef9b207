"""Scores of colouring: golden values, and for every failure the two ends of its scale."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from coview.evaluation.colour_scores import (
    bleeding,
    chroma_share,
    hue_confusion,
    in_one_direction,
    passed,
    rarity_of,
    regions_of,
    tint,
    unevenness,
)
from coview.objectives.colour_bins import colour_bins, smoothed_prior

GOLDEN = {
    name: torch.from_numpy(np.asarray(value))
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz").items()
}


def ratio(sums: torch.Tensor) -> torch.Tensor:
    return sums[0] / sums[1]


def auc(errors: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    return ratio(passed(errors, weight))


def one_direction(ab: torch.Tensor) -> torch.Tensor:
    return in_one_direction(tint(ab))


def colours(seed: int = 0, side: int = 12) -> torch.Tensor:
    return 40 * torch.randn(2, 2, side, side, generator=torch.Generator().manual_seed(seed))


def test_golden_area_under_the_curve_of_errors() -> None:
    assert_close(auc(GOLDEN["auc_err"]), GOLDEN["auc"], rtol=0, atol=1e-9)
    assert_close(auc(GOLDEN["auc_err"], GOLDEN["auc_w"]), GOLDEN["auc_weighted"], rtol=0, atol=1e-9)


def test_the_curve_ends_at_150_and_counts_what_is_just_there() -> None:
    assert float(auc(torch.zeros(3))) == 1
    assert float(auc(torch.tensor([150.5]))) == 0
    assert_close(auc(torch.tensor([150.0])), torch.tensor(1 / 151).double())


def test_rare_colours_count_more() -> None:
    grey, red = torch.zeros(99, 2), torch.tensor([[70.0, 50.0]])
    weight = rarity_of(torch.cat([grey, red]))
    assert float(weight[-1]) > 50 * float(weight[0])
    prior = smoothed_prior(torch.cat([grey, red]), colour_bins())
    assert_close(rarity_of(red, prior), weight[-1:])
    assert bool(torch.isfinite(rarity_of(torch.tensor([[-60.0, 60.0]]), prior)).all())  # a colour that was never seen


def test_too_grey() -> None:
    true = colours()
    assert float(ratio(chroma_share(torch.zeros_like(true), true))) == 0
    assert_close(ratio(chroma_share(0.5 * true, true)), torch.tensor(0.5).double())


def test_one_tint() -> None:
    strength = torch.rand(2, 1, 9, 9)
    sepia = strength * torch.tensor([10.0, 30.0])[None, :, None, None]
    assert_close(one_direction(sepia), torch.tensor(1.0).double())
    turn = torch.linspace(0, 2 * torch.pi, 101)[:-1].double()
    assert_close(one_direction(30 * torch.stack([turn.cos(), turn.sin()])[None, :, None]), torch.tensor(0.5).double())
    assert bool(one_direction(torch.zeros(1, 2, 4, 4)).isnan())


def test_red_for_blue() -> None:
    true = colours()
    assert float(ratio(hue_confusion(true, true))) == 0
    assert float(ratio(hue_confusion(-true, true))) == 1
    assert float(hue_confusion(torch.zeros_like(true), true)[1]) == 0


def test_colour_past_an_edge() -> None:
    lightness, ab = torch.full((1, 1, 20, 20), 30.0), torch.zeros(1, 2, 20, 20)
    lightness[..., 10:], ab[..., 10:] = 80, 50
    assert float(ratio(bleeding(ab, lightness))) == 0
    assert float(ratio(bleeding(ab.roll(5, dims=-1)[..., 3:17], lightness[..., 3:17]))) == 1
    assert float(ratio(bleeding(ab, torch.zeros_like(lightness)))) == 1
    assert float(bleeding(torch.zeros_like(ab), lightness)[1]) == 0


def test_uneven_regions() -> None:
    regions = torch.zeros(1, 8, 8, dtype=torch.int64)
    regions[:, 4:], regions[:, :, 7] = 1, -1
    flat = torch.where(regions[:, None] == 1, torch.tensor([30.0, 5.0])[None, :, None, None], 20.0)
    for value in unevenness(flat, regions):
        assert_close(ratio(value), torch.tensor(0.0).double(), rtol=0, atol=1e-9)
    halves = flat.clone()
    halves[..., :4, 0:3], halves[..., :4, 3:6] = 20.0, -20.0  # three against three, and one column of each sign more
    halves[..., :4, 6] = 0.0
    strength, hue = unevenness(halves, regions)
    assert float(ratio(strength)) > 1
    assert_close(ratio(hue), torch.tensor(24 / (24 + 28)).double())
    grey, none = unevenness(torch.zeros_like(flat), regions)
    assert float(ratio(grey)) == 0 and float(none[1]) == 0
    assert all(float(value[1]) == 0 for value in unevenness(flat, torch.full_like(regions, -1)))


def test_regions_are_connected_and_not_small() -> None:
    lab = torch.full((2, 3, 10, 10), 5.0)
    lab[:, 1, :, 5:] = 45  # two halves of one lightness
    lab[1, 1, 0, 0] = -45  # a spot
    regions = regions_of(lab)
    assert regions.unique().tolist() == [-1, 0, 1, 2, 3]
    assert int((regions == -1).sum()) == 1 and int(regions[1, 0, 0]) == -1
    assert int((regions[0] == regions[0, 0, 0]).sum()) == 50
