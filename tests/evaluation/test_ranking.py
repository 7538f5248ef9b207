"""Average precision, reciprocal rank, precision: published values, three denominators, ties, chance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from coview.evaluation.ranking import RankedRelevance, rank_by_cosine, rank_relevance

STORED = np.load(Path(__file__).parents[1] / "golden" / "retrieval-metrics.npz")
GOLDEN = {name: torch.from_numpy(np.asarray(value)) for name, value in STORED.items()}
RELEVANT = GOLDEN["q_label"][:, None] == GOLDEN["g_label"][None]
RANKED = rank_relevance(GOLDEN["sim"], RELEVANT, ties="stable")


def close(value, name):
    assert_close(value.double(), GOLDEN[name].double(), rtol=0, atol=1e-12)


def test_average_precision_and_its_denominators():
    close(RANKED.average_precision(), "ap_all")
    filled = RANKED.counts > 0
    close(RANKED.average_precision().mean(), "map_incl_empty")
    close(RANKED.average_precision()[filled].mean(), "map_excl_empty")
    for k in (5, 10):
        for denominator, name in (("hits", "hits"), ("reachable", "min"), ("relevant", "total")):
            close(RANKED.average_precision(k, denominator), f"ap_at_{k}_{name}")


def test_first_places():
    close(RANKED.reciprocal_rank(), "rr_first")
    close(RANKED.reciprocal_rank().mean(), "mrr_incl_empty")
    for k in (1, 5, 10):
        close(RANKED.precision(k).mean(), f"precision_at_{k}")
        close(RANKED.hits(k).double().mean(), f"recall_hit_at_{k}")
    close(RANKED.interpolated_precision(), "pr11")


def test_the_published_metric():
    one, other, label = GOLDEN["peer_v1"], GOLDEN["peer_v2"], GOLDEN["peer_label"].long()
    close(rank_by_cosine(one, other, label, label).average_precision().mean(), "peer_map")
    close(rank_by_cosine(other, one, label, label, block=7).average_precision().mean(), "peer_map_rev")
    ranked = rank_by_cosine(one, other, label, label)
    close(ranked.average_precision(10, "hits").mean(), "peer_map_at_10")
    assert ranked.average_precision(10, "hits").mean() > ranked.average_precision(10).mean()


def test_every_supervised_space_has_the_published_map():
    stored = np.load(Path(__file__).parents[1] / "golden" / "supervised-dcca.npz")
    data = {name: torch.from_numpy(np.asarray(value)) for name, value in stored.items()}
    x, y = data["X_test"] - data["X"].mean(0), data["Y_test"] - data["Y"].mean(0)
    label = data["y_test"].long()
    for name in ("pair", "cluster", "mixed"):
        a, b = x @ data[f"{name}_Wx"], y @ data[f"{name}_Wy"]
        found = [
            rank_by_cosine(*pair, label, label, ties="stable").average_precision().mean() for pair in ((a, b), (b, a))
        ]
        assert_close(torch.stack(found), data[f"{name}_map"], rtol=0, atol=1e-12)


def test_without_ties_it_is_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20, 30, generator=generator, dtype=torch.float64)
    relevant = torch.rand(20, 30, generator=generator) < 0.3
    relevant[:, 0] = True
    expected = [average_precision_score(r, s) for r, s in zip(relevant.numpy(), scores.numpy(), strict=True)]
    assert_close(rank_relevance(scores, relevant).average_precision(), torch.tensor(expected, dtype=torch.float64))


def test_a_collapsed_space_scores_by_the_rule_of_ties():
    relevant = torch.tensor([[True, False, True, False]])
    same = torch.ones(1, 4, dtype=torch.float64)
    values = {
        ties: rank_relevance(same, relevant, ties).average_precision().item() for ties in ("optimistic", "stable")
    }
    worst = rank_relevance(same, relevant).average_precision().item()
    assert values["optimistic"] == 1.0
    assert values["stable"] == pytest.approx((1 + 2 / 3) / 2)
    assert worst == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_chance_is_the_mean_over_random_orders():
    generator = torch.Generator().manual_seed(1)
    relevant = torch.zeros(4000, 25, dtype=torch.bool)
    relevant[:, :3] = True
    ranked = rank_relevance(torch.rand(4000, 25, generator=generator), relevant)
    measured = ranked.average_precision().mean()
    assert float(ranked.chance()[0]) == pytest.approx(float(measured), abs=0.01)
    assert float(ranked.chance()[0]) > 3 / 25
    first = ranked.reciprocal_rank().mean()
    assert float(ranked.chance_reciprocal_rank()[0]) == pytest.approx(float(first), abs=0.015)
    assert RankedRelevance(torch.zeros(1, 5, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)).chance() == 0


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "stable"])
def test_what_is_not_finite_comes_last_in_a_whole_ranking(ties):
    similarity = torch.tensor([[float("nan"), 0.1, float("inf"), 0.3], [float("nan")] * 4]).double()
    relevant = torch.tensor([[True, False, False, True], [True, True, False, False]])
    found = rank_relevance(similarity, relevant, ties)
    assert found.relevant.tolist() == [[True, False, False, True], [False, False, True, True]]
    assert found.reciprocal_rank().tolist() == [1.0, 1 / 3]
