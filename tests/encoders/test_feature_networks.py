"""Networks of vectors, the map fitted in closed form, features of a kernel, and statistics of stored features."""

import pytest
import torch
from torch.testing import assert_close

from coview.correlation.kernel import kernel_matrix
from coview.correlation.linalg import whitener
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic.noisy_digits import NoisyDigits
from coview.data.views import FeaturesView
from coview.encoders.features import FeatureDecoder, FeatureEncoder, FittedMap, NystroemFeatures
from coview.errors import UsageError


def test_an_encoder_flattens_and_a_decoder_shapes():
    encoder, decoder = FeatureEncoder((2, 3), (5,), 4, "tanh"), FeatureDecoder(4, (5,), (2, 3), "sigmoid")
    code = encoder(torch.randn(7, 2, 3))
    assert code.shape == (7, encoder.dim)
    assert decoder(code).shape == (7, 2, 3)
    linear = FeatureEncoder((3,), (), 2)
    x = torch.randn(5, 3)
    assert_close(linear(2 * x) - linear(x), linear(x) - linear(torch.zeros_like(x)))


def test_a_fitted_map():
    x, weight, mean = torch.randn(6, 4), torch.randn(4, 2), torch.randn(4)
    own = FittedMap(4, 2)
    assert_close(own(x), x[:, :2])
    assert not list(own.parameters())
    own.set(mean, weight)
    assert_close(own(x), (x - mean) @ weight)
    assert own(x.double()).dtype == torch.float64
    with pytest.raises(UsageError, match=r"a map of \(2, 4\) was planned, found \(3, 4\)"):
        own.set(mean, torch.randn(4, 3))
    assert [name for name, _ in FittedMap(4, 2, learnt=True).named_parameters()] == ["weight"]


def test_features_at_every_row_give_the_kernel_back():
    rows = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = kernel_matrix(rows, rows, 0.5)
    features = NystroemFeatures(3, 20).double()  # room for more landmarks than there are
    features.set(rows, whitener(kernel), 0.5)
    found = features(rows)
    assert found.shape == (12, 20)
    assert_close(found @ found.T, kernel, rtol=0, atol=1e-8)


def test_stored_features_are_standardised_by_statistics_of_the_source():
    views = {"rotated": FeaturesView(dim=256, normalise="statistics"), "noisy": FeaturesView(dim=256)}
    source = NoisyDigits("validation", 200, views=views)
    preprocess = Preprocess(views, AugmentSettings())
    raw = source.read_window(torch.arange(200), 0, 1)
    assert_close(preprocess(raw, train=True).views["rotated"], raw.views["rotated"])
    preprocess.fit_features(source)
    values = preprocess(raw, train=False).views
    assert_close(values["rotated"].mean(0), torch.zeros(256), rtol=0, atol=1e-5)
    moving = raw.views["rotated"].std(0) > 0
    assert_close(values["rotated"].std(0, correction=0)[moving], torch.ones(int(moving.sum())))
    assert not values["rotated"][:, ~moving].any()
    assert torch.equal(values["noisy"], raw.views["noisy"])
