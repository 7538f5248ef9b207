"""Noisy two-view digits: the same pairs always, other digits of the same class, splits apart, features or pictures."""

import pytest
import torch

from coview.data.open import open_source
from coview.data.synthetic.noisy_digits import NoisyDigits, rotate
from coview.data.views import FeaturesView, ImageView, VideoView
from coview.errors import UsageError


@pytest.fixture(scope="module")
def digits():
    return NoisyDigits("validation", 300)


def test_pairs_are_a_function_of_seed_split_and_index(digits):
    again, other, longer = (NoisyDigits("validation", count, seed) for count, seed in ((300, 0), (300, 1), (400, 0)))
    assert torch.equal(again.pixels["noisy"], digits.pixels["noisy"])
    assert not torch.equal(other.labels, digits.labels)
    torch.testing.assert_close(longer.pixels["rotated"][:300], digits.pixels["rotated"])
    assert len({source.fingerprint for source in (digits, other, longer)}) == 3


def test_pixels(digits):
    for view in digits.pixels.values():
        assert view.shape == (300, 16, 16)
        assert 0 <= view.min() <= view.max() <= 1
    assert set(digits.labels.tolist()) == set(range(10))
    assert digits.pixels["noisy"].mean() > 2 * digits.pixels["rotated"].mean()


def test_views_are_features_or_pictures(digits):
    batch = digits.read(torch.tensor([5, 2]), torch.zeros(2, dtype=torch.int64))
    assert torch.equal(batch.views["rotated"], digits.pixels["rotated"][[5, 2]].flatten(1))
    assert not batch.mirrorable.any()
    views = {"rotated": ImageView(size=32, margin=1.0), "noisy": FeaturesView(dim=256)}
    pictures = open_source("noisy-digits", views, split="validation").read_window(torch.tensor([5]), 0, 1)
    assert pictures.views["rotated"].shape == (1, *views["rotated"].raw_shape)
    assert pictures.views["rotated"].dtype == torch.uint8


def test_turning_by_a_quarter():
    picture = torch.zeros(1, 48, 48)
    picture[0, 10:20, 22:26] = 1
    turned = rotate(picture, torch.tensor([torch.pi / 2]))
    assert torch.allclose(turned, torch.rot90(picture, 1, (1, 2)), atol=1e-4)


@pytest.mark.parametrize(
    "views", [{"rotated": VideoView()}, {"left": FeaturesView(dim=256)}, {"noisy": FeaturesView(dim=64)}]
)
def test_other_views_are_refused(views):
    with pytest.raises(UsageError, match="noisy-digits has the views rotated and noisy"):
        NoisyDigits(views=views)


def test_other_splits_and_counts_are_refused():
    with pytest.raises(UsageError, match="no split 'dev'"):
        NoisyDigits("dev")
    with pytest.raises(UsageError, match="at least 1"):
        NoisyDigits(count=0)
