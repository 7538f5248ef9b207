"""The supervised baseline: labels it may use, labels it must not."""

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
