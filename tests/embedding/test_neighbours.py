import pytest
import torch

from coview.embedding.neighbours import knn_predict


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
    assert torch.equal(predicted, knn_predict(train, labels, test, 5, block=37))
    assert float((predicted == torch.arange(1000) % 5).double().mean()) == pytest.approx(0.2, abs=0.05)
