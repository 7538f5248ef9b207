from pathlib import Path

import numpy as np
import pytest
import torch

from coview.evaluation.ranking import Ties, best_rank, rank_classes, rank_pairs

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval-metrics.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.mark.parametrize(
    ("ties", "name"),
    [("stable", "pair_rank"), ("optimistic", "pair_rank_optimistic"), ("pessimistic", "pair_rank_pessimistic")],
)
def test_pair_ranks_equal_golden(golden: dict[str, torch.Tensor], ties: Ties, name: str) -> None:
    similarity = golden["pair_sim"]
    rank = best_rank(similarity, torch.eye(similarity.shape[0], dtype=torch.bool), ties=ties)
    assert rank.tolist() == golden[name].tolist()


def test_pair_figures_equal_golden(golden: dict[str, torch.Tensor]) -> None:
    rank = best_rank(golden["pair_sim"], torch.eye(20, dtype=torch.bool), ties="stable").double()
    assert float(rank.quantile(0.5)) == pytest.approx(float(golden["pair_medr"]), abs=1e-12)
    assert float(rank.mean()) == pytest.approx(float(golden["pair_meanr"]), abs=1e-12)
    assert float((1 / rank).mean()) == pytest.approx(float(golden["pair_mrr"]), abs=1e-12)
    for k in (1, 5, 10):
        assert float((rank <= k).double().mean()) == pytest.approx(float(golden[f"pair_R{k}"]), abs=1e-12)


def test_class_hits_equal_golden_under_ties_and_with_an_empty_query(golden: dict[str, torch.Tensor]) -> None:
    relevant = golden["q_label"][:, None] == golden["g_label"][None]
    rank = best_rank(golden["sim"], relevant, ties="stable")
    assert rank[-1] == golden["sim"].shape[1] + 1  # the last query has no relevant item
    for k in (1, 5, 10):
        assert float((rank <= k).double().mean()) == pytest.approx(float(golden[f"recall_hit_at_{k}"]), abs=1e-12)
    reciprocal = torch.where(relevant.any(1), 1 / rank.double(), torch.zeros(()).double())
    assert torch.allclose(reciprocal, golden["rr_first"], atol=1e-12)


def test_tie_rules_on_ties_made_by_hand() -> None:
    similarity = torch.tensor([[0.5, 0.9, 0.5, 0.5]]).double()
    relevant = torch.tensor([[False, False, True, False]])
    ranks = {ties: int(best_rank(similarity, relevant, ties=ties)) for ties in ("optimistic", "stable", "pessimistic")}
    assert ranks == {"optimistic": 2, "stable": 3, "pessimistic": 4}


@pytest.mark.parametrize("block", [7, 512])
def test_ranks_equal_a_plain_numpy_sort(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(60, 8, generator=generator), torch.randn(60, 8, generator=generator)
    labels = torch.arange(60) % 5
    a, b = query.double().numpy(), gallery.double().numpy()
    cosine = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    order = np.argsort(-cosine, axis=1)
    pairs = [int(np.where(order[i] == i)[0][0]) + 1 for i in range(60)]
    assert rank_pairs(query, gallery, block=block).rank.tolist() == pairs
    others = [[j for j in order[i] if j != i] for i in range(60)]
    classes = [next(p for p, j in enumerate(row, 1) if labels[j] == labels[i]) for i, row in enumerate(others)]
    ranking = rank_classes(query, gallery, labels, labels, leave_out_own=True, block=block)
    assert ranking.rank.tolist() == classes
    assert set(ranking.relevant.tolist()) == {11}
    assert set(ranking.gallery.tolist()) == {59}


def test_random_embeddings_score_chance() -> None:
    generator = torch.Generator().manual_seed(1)
    query, gallery = torch.randn(1000, 32, generator=generator), torch.randn(1000, 32, generator=generator)
    labels = torch.arange(1000) % 10
    pairs, classes = rank_pairs(query, gallery), rank_classes(query, gallery, labels, labels)
    assert pairs.chance(10) == pytest.approx(0.01)
    assert pairs.chance_median() == 500.5
    assert float(pairs.hits(10).double().mean()) == pytest.approx(0.01, abs=0.01)
    assert classes.chance(1) == pytest.approx(0.1)
    assert float(classes.hits(1).double().mean()) == pytest.approx(0.1, abs=0.03)
    assert float(classes.hits(5).double().mean()) == pytest.approx(classes.chance(5), abs=0.05)


def test_a_collapsed_embedding_never_beats_chance() -> None:
    point = torch.randn(1, 16, generator=torch.Generator().manual_seed(2)).expand(200, 16)
    labels = torch.arange(200) % 4
    assert rank_pairs(point, point).rank.tolist() == [200] * 200
    assert not rank_classes(point, point, labels, labels).hits(1).any()


def test_unlabelled_items_are_relevant_to_nothing() -> None:
    features = torch.eye(3)
    labels = torch.tensor([-1, -1, 0])
    ranking = rank_classes(features, features, labels, labels)
    assert ranking.relevant.tolist() == [0, 0, 1]
    assert ranking.rank.tolist() == [4, 4, 1]


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "stable"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_finds_nothing_and_is_found_by_nothing(ties: Ties, bad: float) -> None:
    generator = torch.Generator().manual_seed(1)
    rows, labels = torch.randn(40, 8, generator=generator), torch.arange(40) % 4
    broken = rows.clone()
    broken[:5] = bad
    ranks = rank_pairs(broken, rows, ties=ties).rank
    assert ranks[:5].tolist() == [40] * 5
    assert ranks[5:].tolist() == [1] * 35
    ranks = rank_pairs(rows, broken, ties=ties).rank  # the same in the gallery
    assert ranks[:5].tolist() == [40] * 5
    assert ranks[5:].tolist() == [1] * 35
    found = rank_classes(broken, broken, labels, labels, leave_out_own=True, ties=ties)
    assert (found.rank[:5] == 1 + found.gallery[:5] - found.relevant[:5]).all()
    others = rank_classes(rows[5:], rows[5:], labels[5:], labels[5:], leave_out_own=True, ties=ties)
    assert (found.rank[5:] >= others.rank).all()


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "stable"])
def test_an_embedding_of_nothing_but_nan_is_as_bad_as_can_be(ties: Ties) -> None:
    rows = torch.full((30, 4), float("nan"))
    assert rank_pairs(rows, rows, ties=ties).rank.tolist() == [30] * 30
    labels = torch.arange(30) % 3
    found = rank_classes(rows, rows, labels, labels, ties=ties)
    assert not found.hits(1).any()
    assert found.rank.tolist() == [21] * 30
