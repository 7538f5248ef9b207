"""Words as classes: independent float64 values, the bounds of the softmax over a batch's words, limits, gradients."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.evaluation.word_vectors import analogies, cosines, joined, precision_at, rank_correlation, unit_rows
from coview.objectives.word_targets import (
    drawn_word,
    multi_class,
    one_vs_all,
    one_word,
    picture_chances,
    word_chances,
)
from coview.randomness import make_key

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "weak-captions.npz").items()
}
EXACT = {"rtol": 0.0, "atol": 1e-10}
WORDS = GOLDEN["Y"] > 0
COUNTS = GOLDEN["Y"].sum(0).long()


def test_multi_class_golden():
    weights = GOLDEN["weights"].clone().requires_grad_()
    scores = GOLDEN["features"] @ weights
    torch.testing.assert_close(scores.detach(), GOLDEN["scores"], **EXACT)
    scores.retain_grad()
    loss = multi_class(scores, WORDS).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), GOLDEN["multiclass_loss"], **EXACT)
    torch.testing.assert_close(scores.grad, GOLDEN["multiclass_grad_scores"], **EXACT)
    torch.testing.assert_close(weights.grad, GOLDEN["multiclass_grad_W"], **EXACT)
    torch.testing.assert_close(scores.grad.sum(1), torch.zeros(len(scores), dtype=torch.float64), **EXACT)


def test_one_vs_all_golden():
    scores = GOLDEN["scores"].clone().requires_grad_()
    loss = one_vs_all(scores, WORDS, COUNTS, len(WORDS)).sum()
    loss.backward()
    torch.testing.assert_close(loss.detach(), GOLDEN["one_vs_all_loss"], **EXACT)
    torch.testing.assert_close(scores.grad, GOLDEN["one_vs_all_grad_scores"], **EXACT)


def test_one_vs_all_leaves_out_words_of_no_caption_and_of_every_caption():
    words = torch.tensor([[True, False, True], [True, False, False]])
    scores = torch.randn(2, 3, dtype=torch.float64).requires_grad_()
    one_vs_all(scores, words, torch.tensor([2, 0, 1]), 2).sum().backward()
    assert not scores.grad[:, :2].any() and scores.grad[:, 2].all()


def test_chances_golden():
    row, word = WORDS.nonzero().T
    chances = picture_chances(row, word, COUNTS, len(WORDS))
    torch.testing.assert_close(chances, GOLDEN["image_sampling_prob"], **EXACT)
    torch.testing.assert_close(chances.sum(), torch.tensor(1.0, dtype=torch.float64))
    every = torch.where(WORDS, torch.arange(WORDS.shape[1]), -1)
    joint = chances[:, None] * word_chances(every, COUNTS).nan_to_num()
    torch.testing.assert_close(joint, GOLDEN["joint_prob"], **EXACT)
    torch.testing.assert_close(joint.sum(0), GOLDEN["target_sampling_prob"], **EXACT)


def test_words_are_drawn_as_often_as_their_chances_say():
    words = torch.tensor([[-1, 4, 2, 0]]).expand(20000, -1)
    chances = word_chances(words, torch.tensor([6, 1, 3, 1, 2]))
    found = drawn_word(words, chances, make_key(0, torch.arange(20000)), 0).bincount(minlength=5) / 20000
    # Four standard errors of a share of 20,000 draws are below .015.
    torch.testing.assert_close(found, torch.tensor([1 / 6, 0, 1 / 3, 0, 1 / 2]), rtol=0, atol=0.015)


def test_one_word_golden():
    x, weights = GOLDEN["features"][GOLDEN["batch_index"]], GOLDEN["weights"].T
    target = GOLDEN["batch_targets"]
    assert torch.equal(target.unique(), GOLDEN["subset"])
    sampled, full = one_word(x, weights, target), one_word(x, weights, target, subset=False)
    torch.testing.assert_close(sampled.mean(), GOLDEN["sampled_loss"], **EXACT)
    torch.testing.assert_close(full.mean(), GOLDEN["full_single_target_loss"], **EXACT)
    assert (sampled <= full).all()


def log_sums(scores, size):
    """Return log sum_C exp(s) of every C of this size, as the loss of a target has it: its score plus the loss."""
    one, column = torch.ones(1, 1, dtype=scores.dtype), scores[:, None]
    sums = []
    for chosen in map(torch.tensor, itertools.combinations(range(len(scores)), size)):
        loss = one_word(one.expand(size, 1), column, chosen)
        sums.append((loss + scores[chosen]).mean())
    return torch.stack(sums)


@pytest.mark.parametrize("name", ["bound", "shift"])
def test_bounds_of_the_normaliser_golden(name):
    scores, size = GOLDEN["bound_scores"], int(GOLDEN["bound_csz"])
    if name == "shift":  # every exp(s) is then at least 1, which the lower bound needs
        scores = scores - scores.min()
    sums, log_z = log_sums(scores, size), scores.logsumexp(0)
    torch.testing.assert_close(log_z, GOLDEN[f"{name}_logZ"], **EXACT)
    torch.testing.assert_close(sums.mean(), GOLDEN[f"{name}_E_log"], **EXACT)
    likely = (sums.exp() / size >= log_z.exp() / len(scores)).double().mean()
    torch.testing.assert_close(likely, GOLDEN["bound_P"], **EXACT)
    lower = likely * (math.log(size / len(scores)) + log_z)
    torch.testing.assert_close(lower, GOLDEN[f"{name}_lower"], **EXACT)
    assert lower <= sums.mean() <= log_z


def test_the_printed_lower_bound_fails_where_scores_are_below_zero():
    scores = GOLDEN["counter_scores"]
    sums, log_z = log_sums(scores, 1), scores.logsumexp(0)
    torch.testing.assert_close(sums.mean(), GOLDEN["counter_E_log"], **EXACT)
    likely = (sums.exp() >= log_z.exp() / 2).double().mean()
    torch.testing.assert_close(likely * (math.log(1 / 2) + log_z), GOLDEN["counter_lower"], **EXACT)
    assert sums.mean() < GOLDEN["counter_lower"]


def test_limits():
    x, weights = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    every = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(one_word(x, weights, every), one_word(x, weights, every, subset=False))
    single = torch.nn.functional.one_hot(every, 5).bool()
    torch.testing.assert_close(multi_class(x @ weights.T, single), one_word(x, weights, every))
    torch.testing.assert_close(multi_class(x @ weights.T + 7, single), multi_class(x @ weights.T, single))
    assert not one_word(x, weights, torch.full((5,), 2)).any(), "one target alone has nothing to be told from"
    untrained = one_word(x, torch.zeros(1000, 3, dtype=torch.float64), every, subset=False)
    torch.testing.assert_close(untrained, torch.full_like(untrained, math.log(1000)))


def test_no_dense_matrix_of_scores():
    """100,000 words and 128 pictures: the scores that are kept for the gradient are (128, 128) at most."""
    kept = []
    weights, x = torch.zeros(100_000, 4, requires_grad=True), torch.randn(128, 4)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        one_word(x, weights, torch.arange(0, 128 * 700, 700)).sum()
    assert max(size for size in kept if size != weights.numel()) <= 128 * 128


def on_a_rank(x, weights, word, sizes):
    start = sum(sizes[: parallel.rank()])
    share = slice(start, start + sizes[parallel.rank()])
    weights.requires_grad_()
    loss = parallel.mean_over_world(one_word(x[share], weights, word[share]))
    loss.backward()
    return loss.detach(), weights.grad


@pytest.mark.parametrize("sizes", [[4, 4], [3, 0, 4, 1]])
def test_processes_equal_one(sizes):
    x, weights = torch.randn(8, 3, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    word = torch.tensor([0, 8, 3, 3, 5, 0, 1, 7])
    expected = on_a_rank(x, weights.clone(), word, [8])
    results = worlds.run(len(sizes), on_a_rank, x, weights, word, sizes)
    for index in (0, 1):
        torch.testing.assert_close(sum(result[index] for result in results) / len(sizes), expected[index])


def test_gradchecks():
    x, weights = (torch.randn(n, 3, dtype=torch.float64).requires_grad_() for n in (4, 6))
    word, words = torch.tensor([0, 5, 2, 2]), torch.rand(4, 6) < 0.4
    counts = torch.tensor([1, 2, 3, 4, 5, 6])
    assert torch.autograd.gradcheck(lambda x, w: one_word(x, w, word), (x, weights))
    assert torch.autograd.gradcheck(lambda x, w: multi_class(x @ w.T, words), (x, weights))
    assert torch.autograd.gradcheck(lambda x, w: one_vs_all(x @ w.T, words, counts, 9), (x, weights))


def test_word_vectors_golden():
    vectors = GOLDEN["weights"].T.numpy()
    assert analogies(vectors, GOLDEN["analogy_queries"].numpy(), block=5).tolist() == GOLDEN["analogy_answers"].tolist()
    similar = cosines(vectors, GOLDEN["sim_pairs"].numpy())
    np.testing.assert_allclose(similar, GOLDEN["sim_cosine"].numpy(), rtol=0, atol=1e-10)
    assert rank_correlation(similar, GOLDEN["sim_human"].numpy()) == pytest.approx(
        float(GOLDEN["sim_spearman"]), abs=1e-10
    )
    precision = precision_at(GOLDEN["scores"].numpy(), WORDS.numpy(), 3).mean()
    assert precision == pytest.approx(float(GOLDEN["precision_at_3"]), abs=1e-10)


def test_word_vectors_limits():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(unit_rows(vectors), [[0.6, 0.8], [0, 0], [0, 1]])
    assert joined(vectors, np.ones((3, 1))).shape == (3, 3)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 8, 27])) == pytest.approx(1)
    assert math.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
