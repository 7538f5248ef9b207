import pytest
import torch

from coview.embedding.neighbours import knn_predict
from coview.errors import UsageError


def test_equals_votes_counted_by_hand() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    test = torch.tensor([[1.0, 0.05], [0.05, 2.0]])
    assert knn_predict(train, labels, test, 2, neighbours=3).tolist() == [0, 1]
    assert knn_predict(train, labels, test, 2, neighbours=20).tolist() == [1, 1]  # all five vote


def test_equal_votes_go_to_the_more_similar_class_then_to_the_lower() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert knn_predict(train, torch.tensor([0, 1]), torch.tensor([[0.4, 0.6]]), 2, neighbours=2).tolist() == [1]
    assert knn_predict(train, torch.tensor([1, 0]), torch.tensor([[0.5, 0.5]]), 2, neighbours=2).tolist() == [0]


def test_random_features_score_chance_and_blocks_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(500, 16, generator=generator), torch.randn(1000, 16, generator=generator)
    labels = torch.arange(500) % 5
    predicted = knn_predict(train, labels, test, 5)
    others = knn_predict(train, labels, test, 5, block=37)
    assert float((predicted == others).double().mean()) > 0.995  # sums of another shape may decide between near equals
    assert float((predicted == torch.arange(1000) % 5).double().mean()) == pytest.approx(0.2, abs=0.05)


def test_rows_that_are_not_finite_have_no_vote_and_get_no_class() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(300) % 3
    train = torch.eye(3)[labels] + 0.1 * torch.randn(300, 3, generator=generator)
    test = torch.eye(3).repeat(10, 1)
    expected = knn_predict(train, labels, test, 3)
    assert torch.equal(expected, torch.arange(30) % 3)
    train[:5] = torch.nan
    train[5, 1] = torch.inf
    assert torch.equal(knn_predict(train, labels, test, 3), expected)
    test[4] = torch.nan
    predicted = knn_predict(train, labels, test, 3)
    assert predicted[4] == -1 and torch.equal(predicted[5:], expected[5:])
    with pytest.raises(UsageError, match="no training row"):
        knn_predict(torch.full((4, 3), torch.nan), labels[:4], test, 3)


def test_random_rows_with_a_tenth_nan_score_chance() -> None:
    generator = torch.Generator().manual_seed(2)
    x, labels = torch.randn(600, 8, generator=generator), torch.arange(600) % 3
    x[::10] = torch.nan
    predicted = knn_predict(x[:300], labels[:300], x[300:], 3)
    assert float((predicted == labels[300:]).double().mean()) < 0.42
