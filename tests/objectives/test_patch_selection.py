"""Descriptors, detectors and seeds of patches; which clusters are kept."""

import itertools

import pytest
import torch

from coview.objectives.cluster_selection import select, total, without_copies
from coview.objectives.patch_descriptors import Whitening, box_overlap, draw_seeds, patch_descriptors, window_of
from coview.randomness import make_key


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_descriptors_are_unit_and_of_the_patch_at_their_place():
    cells = _normal(5, 6, 3)
    found = patch_descriptors(cells, 2)
    assert found.shape == (4, 5, 12)
    patch = cells[1:3, 4:6].flatten()
    torch.testing.assert_close(found[1, 4], patch / patch.norm())
    assert not patch_descriptors(torch.zeros(3, 3, 2), 2).any()  # a plain patch is no number by zero


def test_whitening_makes_what_varies_together_vary_alone():
    x = _normal(4000, 3) @ torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.7]]).double() + 3
    white = Whitening.of(len(x), x.sum(0), x.T @ x)
    spread = ((x - white.mean) @ white.root).T.cov()
    torch.testing.assert_close(spread, torch.eye(3).double(), rtol=0, atol=0.05)  # but for the ridge
    torch.testing.assert_close(white.root, white.root.T)
    scores = (x - white.mean) @ white.detectors(x[:5])
    cosine = white(x) @ white(x[:5]).T
    lengths = ((x - white.mean) @ white.root).norm(dim=1, keepdim=True)
    torch.testing.assert_close(scores, cosine * lengths)


def test_boxes_overlap():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])
    torch.testing.assert_close(box_overlap(boxes[:1], boxes), torch.tensor([[1.0, 1 / 7, 0.0]]))


def test_seeds_lie_where_the_gradient_is_apart_and_follow_from_the_key():
    energy = torch.zeros(20, 30)
    energy[4:8, 4:8], energy[12:16, 20:24] = 100.0, 100.0
    drawn = [draw_seeds([energy, energy[::2, ::2]], [1.0, 2.0], 4, 3, make_key(0, row)) for row in range(40)]
    assert drawn[:5] == [draw_seeds([energy, energy[::2, ::2]], [1.0, 2.0], 4, 3, make_key(0, row)) for row in range(5)]
    assert len({places[0] for places in drawn}) > 10 and {places[0][0] for places in drawn} == {0, 1}
    for places in drawn:
        corners = torch.tensor([[x * 2.0**level, y * 2.0**level] for level, y, x in places])
        sides = torch.tensor([[4 * 2.0**level] for level, _, _ in places])
        boxes = torch.cat([corners, corners + sides], 1)
        apart = box_overlap(boxes, boxes) - torch.eye(len(boxes))
        assert float(apart.max()) <= 0.6 + 1e-6
        for level, y, x in places:
            assert bool([energy, energy[::2, ::2]][level][y : y + 4, x : x + 4].any())
    assert draw_seeds([torch.zeros(9, 9)], [1.0], 4, 3, make_key(0, 0)) == []


def test_chances_are_proportional_to_the_energy():
    energy = torch.zeros(4, 8)
    energy[:, :4], energy[:, 4:] = 1.0, 3.0
    first = [draw_seeds([energy], [1.0], 1, 1, make_key(1, row))[0][2] >= 4 for row in range(150)]
    assert sum(first) / len(first) == pytest.approx(0.75, abs=0.1)


def test_windows_are_cut_with_what_lies_outside_known():
    values = torch.arange(30.0).reshape(5, 6)
    window, inside = window_of(values, 0, 3, 2, 2)
    assert window.shape == (6, 6) and inside.sum() == 4 * 5
    torch.testing.assert_close(window[2:, :5], values[:4, 1:])
    assert not window[~inside].any() and bool((window[2:4, 2:4] == values[:2, 3:5]).all())


def _objective(clusters, chosen):
    pictures = {picture for cluster in clusters for picture in cluster}
    return sum(
        sum(score * 2.0**-rank for rank, score in enumerate(sorted(scores, reverse=True), 1))
        for picture in pictures
        for scores in [[max(clusters[number].get(picture, 0.0), 0.0) for number in chosen]]
    )


def test_selection_is_greedy_on_the_objective():
    draws = torch.rand(12, 5, generator=torch.Generator().manual_seed(1))
    clusters = [{p: float(s) - 0.2 for p, s in enumerate(row) if s > 0.3} for row in draws]
    chosen = select(clusters, 5)
    for step in range(1, 6):
        best = max(
            _objective(clusters, [*chosen[: step - 1], other]) for other in range(12) if other not in chosen[: step - 1]
        )
        assert _objective(clusters, chosen[:step]) == pytest.approx(best)
    best = max(_objective(clusters, pair) for pair in itertools.combinations(range(12), 2))
    assert _objective(clusters, chosen[:2]) >= (1 - 1 / 2.718) * best


def test_selection_takes_what_is_new_first_and_nothing_that_adds_nothing():
    same, other, bad = {0: 5.0, 1: 5.0}, {2: 4.0}, {3: -1.0}
    assert select([same, dict(same), other, bad], 3) == [0, 1, 2]  # half of 10 is more than half of 4
    assert select([same, other, dict(same), {0: 1.0, 1: 1.0}], 2) == [0, 2]
    assert select([bad, same], 2) == [1] and select([bad], 1) == [0] and select([], 3) == []
    assert total({0: 2.0, 1: -5.0, 2: 1.0}) == 3.0


def test_clusters_that_show_what_a_better_one_shows_are_dropped():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    near, far = box + 2, box + 50
    members = [([0, 1], torch.cat([box, box])), ([0, 1], torch.cat([near, near])), ([0, 1], torch.cat([near, far]))]
    assert without_copies(members, 0.2, 1) == [0, 2] and without_copies(members, 0.2, 2) == [0, 1, 2]
    assert without_copies([members[0], ([5, 6], torch.cat([box, box]))], 0.2, 0) == [0, 1]
