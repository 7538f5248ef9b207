import pytest
import torch
from torch import Tensor

from coview.errors import UsageError
from coview.evaluation.probe import average_windows, fit_probe, held_out_fifth


def clusters(count: int, spread: float, seed: int, windows: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    noise = torch.randn(count, windows, 6, generator=generator)
    return torch.eye(4, 6)[labels][:, None] + spread * noise, labels


def test_separable_features_are_learned_and_noise_stays_at_chance() -> None:
    train, labels = clusters(400, 0.1, seed=0)
    test, truth = clusters(200, 0.1, seed=1)
    assert (average_windows(fit_probe(train, labels, 4).logits(test)).argmax(1) == truth).all()
    generator = torch.Generator().manual_seed(2)
    noise, unseen = torch.randn(400, 1, 6, generator=generator), torch.randn(1000, 1, 6, generator=generator)
    probe = fit_probe(noise, labels, 4)
    share = (average_windows(probe.logits(unseen)).argmax(1) == torch.arange(1000) % 4).double().mean()
    assert float(share) == pytest.approx(0.25, abs=0.06)
    assert probe.choices["strength"] >= 0.1  # nothing to learn: the strongest penalties win


def test_the_probe_repeats_and_ignores_the_scale_of_features() -> None:
    train, labels = clusters(300, 0.6, seed=3)
    one, two = fit_probe(train, labels, 4), fit_probe(train, labels, 4)
    assert torch.equal(one.weight, two.weight)
    scaled = fit_probe(train * 50 - 7, labels, 4)
    assert torch.allclose(one.logits(train), scaled.logits(train * 50 - 7), atol=1e-3)


def test_two_classes_and_a_class_without_training_rows() -> None:
    train, labels = clusters(80, 0.1, seed=4)
    two = labels < 2
    probe = fit_probe(train[two], labels[two], 3)
    probability = average_windows(probe.logits(train[two]))
    assert (probability.argmax(1) == labels[two]).all()
    assert (probability[:, 2] == 0).all()


def test_a_constant_feature_does_no_harm() -> None:
    train, labels = clusters(80, 0.1, seed=5)
    train[..., 5] = 3.0
    assert torch.isfinite(fit_probe(train, labels, 4).logits(train)).all()


def test_held_out_fifth_is_balanced_keyed_and_a_fifth() -> None:
    labels = torch.arange(500) % 5
    held = held_out_fifth(labels, seed=0)
    assert held.sum() == 100
    assert torch.bincount(labels[held]).tolist() == [20] * 5
    assert torch.equal(held, held_out_fifth(labels, seed=0))
    assert not torch.equal(held, held_out_fifth(labels, seed=1))


def test_windows_are_averaged_after_the_softmax() -> None:
    probability = average_windows(torch.tensor([[[4.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]))
    assert probability[0].tolist() == pytest.approx([0.507, 0.493], abs=1e-3)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="ten labelled"):
        fit_probe(torch.randn(4, 1, 3), torch.arange(4), 4)
