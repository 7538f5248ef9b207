"""The supervised baseline: labels it may use, labels it must not."""

import dataclasses

import pytest
import torch

from coview.errors import UsageError
from coview.methods.contract import Facts
from coview.methods.supervised_av import SupervisedAV, SupervisedAVSettings


def test_unlabelled_samples_change_nothing():
    results = []
    for chosen in (slice(0, 6), slice(None)):
        torch.manual_seed(0)
        method = SupervisedAV(SupervisedAVSettings.tiny(), Facts(rows=8, classes=3))
        batch = method.example_batch(8, 0)
        batch.label[6:] = -1
        step = method(batch.select(chosen))
        step.loss.backward()
        results.append((step.loss.detach(), step.parts, [parameter.grad for parameter in method.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_a_collection_without_labels_is_refused():
    with pytest.raises(UsageError, match="at least 2 labels, found 0"):
        SupervisedAV(SupervisedAVSettings.tiny(), Facts(rows=8))


def learnt(method, batch):
    """Return the step's parts and the gradient of the picture's first weight."""
    method.zero_grad()
    step = method(batch)
    step.loss.backward()
    return step.parts, next(method.encoders["video"].parameters()).grad.clone()


@pytest.mark.parametrize("fusion", ["late", "per-view"])
def test_per_view_no_view_leans_on_the_other(fusion):
    torch.manual_seed(0)
    method = SupervisedAV(dataclasses.replace(SupervisedAVSettings.tiny(), fusion=fusion), Facts(rows=8, classes=3))
    one, other = method.example_batch(8, 0), method.example_batch(8, 0)
    other.views["audio"] = method.example_batch(8, 1).views["audio"]
    (parts, gradient), (_, again) = learnt(method, one), learnt(method, other)
    assert torch.equal(gradient, again) == (fusion == "per-view")
    assert set(parts) == ({"accuracy/video", "accuracy/audio"} if fusion == "per-view" else {"accuracy"})


def test_per_view_the_loss_is_the_sum_of_both_cross_entropies():
    torch.manual_seed(0)
    settings = dataclasses.replace(SupervisedAVSettings.tiny(), fusion="per-view")
    method = SupervisedAV(settings, Facts(rows=8, classes=3)).eval()
    batch = method.example_batch(8, 0)
    expected = sum(
        torch.nn.functional.cross_entropy(method.classifiers[name](method.encoders[name](view)), batch.label)
        for name, view in batch.views.items()
    )
    torch.testing.assert_close(method(batch).loss, expected)
