"""Search by example against plain sums in float64: parts, weights, directions, likes, percentiles, what is far."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from coview.data.stored import Stored
from coview.errors import UsageError
from coview.search.example import Examples, Part
from coview.search.likes import refined

DIM = 12


def made_up(rows: int = 200, windows: int = 3, seed: int = 0) -> Stored:
    """Pictures and sounds around ten common directions; each fifth recording has no sound, each seventh no picture."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(10, 1, DIM, generator=generator)[torch.arange(rows) % 10]
    clips, present, start = {}, {}, {}
    for name, lacking, shift in (("video", 7, 0.0), ("audio", 5, 3.0)):
        noise = torch.randn(rows, windows, DIM, generator=generator)
        clips[name] = normalize(kinds + 0.4 * noise + shift, dim=2).numpy()
        present[name] = np.ones((rows, windows), bool)
        present[name][lacking - 1 :: lacking] = False
        clips[name][~present[name]] = 0
        start[name] = np.tile(2.0 * np.arange(windows), (rows, 1))
    cuts = {name: {"stream": "features", "dim": DIM} for name in clips}
    card = {"views": dict.fromkeys(clips, DIM), "normalised": True, "preprocessing": cuts}
    names = [f"r{row:03d}" for row in range(rows)]
    return Stored(Path("memory"), card, clips, present, start, names, names, [], "")


def plainly(stored: Stored, vectors: dict[str, torch.Tensor], targets: dict[str, float]) -> np.ndarray:
    """Return the scores by the definition: the sample is the whole of a small store."""
    total, weight = np.zeros(len(stored.ids)), np.zeros(len(stored.ids))
    for target, share in targets.items():
        there = stored.present[target].any(1)
        z = np.zeros(len(stored.ids))
        for vector in vectors.values():
            cosine = stored.clips[target].astype(np.float64) @ normalize(vector.double(), dim=0).numpy()
            cosine = np.where(stored.present[target], cosine, -np.inf).max(1)
            z[there] += (cosine[there] - cosine[there].mean()) / cosine[there].std() / len(vectors)
        total[there] += share * z[there]
        weight[there] += share
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, total / weight, -np.inf)


@pytest.mark.parametrize("targets", [{"video": 1.0}, {"audio": 2.0}, {"video": 1.0, "audio": 3.0}], ids=str)
@pytest.mark.parametrize("asked", [["audio"], ["video"], ["audio", "video"]], ids=str)
def test_scores_are_those_of_the_definition(asked, targets):
    stored = made_up()
    generator = torch.Generator().manual_seed(5)
    vectors = {view: torch.randn(DIM, generator=generator) for view in asked}
    found = Examples(stored).find([Part(view, vector) for view, vector in vectors.items()], targets, 30)
    expected = plainly(stored, vectors, targets)
    order = np.argsort(-expected, kind="stable")[:30]
    assert [hit.row for hit in found.hits] == order.tolist()
    assert [hit.score for hit in found.hits] == pytest.approx(expected[order].tolist(), abs=1e-5)
    known = expected[np.isfinite(expected)]
    assert found.among == len(known)
    assert [hit.percentile for hit in found.hits] == pytest.approx(
        [100 * float((known < value - 1e-6).mean()) for value in expected[order]], abs=0.01
    )
    for hit in found.hits:  # a recording without one of the views is scored by the other
        assert set(hit.cosines) == {view for view in targets if stored.present[view][hit.row].any()}
        assert hit.second == max(hit.windows, key=lambda window: window.cosine).start
        assert len(hit.windows) == 3 and max(window.height for window in hit.windows) <= 1


def test_one_direction_is_the_exact_search():
    from coview.search.query import search

    stored = made_up()
    query = torch.randn(DIM, generator=torch.Generator().manual_seed(2))
    plain = search(stored, "video", query, 20)
    found = Examples(stored).find([Part("audio", query)], {"video": 1.0}, 20).hits
    assert [hit.row for hit in found] == [hit.row for hit in plain]
    assert [hit.cosines["video"] for hit in found] == pytest.approx([hit.similarity for hit in plain], abs=1e-9)
    assert [hit.second for hit in found] == [hit.start for hit in plain]


@pytest.mark.parametrize("block", [60, 4000])
def test_hits_do_not_depend_on_the_block(block, monkeypatch):
    stored = made_up()
    stored.clips["video"][50:90] = stored.clips["video"][10:50]  # equals stand in the order of the rows
    asked = [Part("audio", torch.ones(DIM)), Part("video", torch.arange(DIM).float() + 1)]
    whole = Examples(stored).find(asked, {"video": 1.0, "audio": 1.0}, 40).hits
    monkeypatch.setattr("coview.embedding.gallery._BLOCK", block)
    found = Examples(stored).find(asked, {"video": 1.0, "audio": 1.0}, 40).hits
    assert [hit.row for hit in found] == [hit.row for hit in whole]


def test_a_filter_comes_first_and_the_query_itself_is_never_found():
    stored = made_up()
    examples = Examples(stored)
    asked = [Part("video", examples.vector("video", 3))]
    everything = examples.find(asked, {"video": 1.0}, 200)
    assert everything.hits[0].row == 3
    rows = np.arange(200) % 2 == 1
    some = examples.find(asked, {"video": 1.0}, 10, rows=rows, but=[3])
    wanted = [hit for hit in everything.hits if rows[hit.row] and hit.row != 3][:10]
    assert [hit.row for hit in some.hits] == [hit.row for hit in wanted]
    assert [hit.score for hit in some.hits] == pytest.approx([hit.score for hit in wanted])
    assert rows[3]  # the caller's filter is left as it was
    assert examples.find(asked, {"video": 1.0}, 5, rows=np.zeros(200, bool)).hits == []


def test_weights_and_signs():
    stored = made_up()
    examples = Examples(stored)
    dog, rain = (examples.vector("video", row) for row in (0, 1))
    plain = examples.find([Part("video", 7 * dog)], {"video": 1.0}, 200).hits  # lengths do not count
    away = examples.find([Part("video", dog, -1.0)], {"video": 1.0}, 200).hits
    assert away[-1].row == plain[0].row == 0
    without = examples.find([Part("video", dog), Part("video", rain, -0.5)], {"video": 1.0}, 10).hits
    expected = examples.find([Part("video", dog - 0.5 * rain)], {"video": 1.0}, 10).hits
    assert [hit.row for hit in without] == [hit.row for hit in expected]
    with pytest.raises(UsageError, match="cancel out"):
        examples.find([Part("video", dog), Part("video", dog, -1.0)], {"video": 1.0}, 5)
    with pytest.raises(UsageError, match="cancel out"):  # but for rounding, whose direction means nothing
        examples.find([Part("video", dog, weight) for weight in (0.1, 0.2, -0.3)], {"video": 1.0}, 5)


def test_likes_by_the_formula():
    query, liked, disliked = torch.tensor([3.0, 0, 0]), torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1]])
    length = (1 + 0.75**2 + 0.25**2) ** 0.5
    moved = refined(query, liked, disliked)
    assert moved.tolist() == pytest.approx([1 / length, 0.75 / length, -0.25 / length])
    assert refined(query, liked[:0], disliked[:0]).tolist() == [1, 0, 0]


def test_likes_move_the_hits_and_from_five_of_each_a_classifier_decides():
    stored = made_up()
    examples = Examples(stored)
    kind = np.arange(200) % 10
    asked = [Part("video", examples.vector("video", 0))]

    def share(liked, disliked):
        hits = examples.find(asked, {"video": 1.0}, 12, liked=liked, disliked=disliked, but=[*liked, *disliked]).hits
        return np.mean([kind[hit.row] == 4 for hit in hits])

    fours = np.flatnonzero((kind == 4) & stored.present["video"].any(1)).tolist()
    others = [0, 10, 30, 40, 50]
    assert share([], []) < 0.2 <= share(fours[:3], others[:1]) and share(fours[:5], others) > 0.9
    liked, disliked = (torch.stack([examples.vector("video", row) for row in rows]) for rows in (fours[:5], others[:5]))
    plane = refined(torch.ones(DIM), liked, disliked)
    assert torch.equal(plane, refined(-torch.ones(DIM), liked, disliked)) and plane.norm() == pytest.approx(1)
    assert (liked @ plane).min() > (disliked @ plane).max()


def test_what_is_far_from_everything_is_said():
    stored = made_up()
    examples = Examples(stored)
    assert examples.find([Part("video", examples.vector("video", 0))], {"video": 1.0}, 3).remarks == []
    centre = torch.from_numpy(stored.clips["video"].mean((0, 1)))
    basis = torch.linalg.svd(torch.from_numpy(stored.clips["video"].reshape(-1, DIM)))[2]
    assert "far from everything" in examples.find([Part("video", -centre)], {"video": 1.0}, 3).remarks[0]
    assert "far from everything" in examples.find([Part("video", basis[-1])], {"video": 1.0}, 3).remarks[0]
    assert examples.find([Part("words", -centre)], {"video": 1.0}, 3).remarks == []  # none of these are known


def test_spaces_that_cannot_be_compared():
    examples = Examples(made_up(), comparable=lambda one, other: one == other)
    assert examples.find([Part("audio", torch.ones(DIM))], {"audio": 1.0, "video": 1.0}, 3).hits
    with pytest.raises(UsageError, match="different spaces"):
        examples.find([Part("audio", torch.ones(DIM))], {"video": 1.0}, 3)
    for parts, targets, k in (([], {"video": 1.0}, 3), ([Part("video", torch.ones(DIM))], {}, 3)):
        with pytest.raises(UsageError, match="a part at least"):
            examples.find(parts, targets, k)
    with pytest.raises(UsageError, match="no embeddings of 'image'"):
        examples.find([Part("video", torch.ones(DIM))], {"image": 1.0}, 3)


def test_one_recording_and_equal_ones():
    stored = made_up(1)
    found = Examples(stored).find([Part("video", torch.ones(DIM))], {"video": 1.0}, 3)
    assert [hit.row for hit in found.hits] == [0] and found.hits[0].score == pytest.approx(0, abs=1e-6)
    same = made_up(30)
    same.clips["video"][:] = same.clips["video"][0, 0]
    hits = Examples(same).find([Part("video", torch.ones(DIM))], {"video": 1.0}, 3).hits
    assert [hit.row for hit in hits] == [0, 1, 2]
    damaged = dataclasses.replace(stored, clips={**stored.clips, "video": np.full_like(stored.clips["video"], np.nan)})
    assert Examples(damaged).find([Part("video", torch.ones(DIM))], {"video": 1.0}, 3).hits == []


def test_the_curve_of_one_recording():
    stored = made_up()
    examples = Examples(stored)
    query = examples.vector("video", 2)
    windows = torch.from_numpy(stored.clips["video"][2])
    cosine, height = examples.curve([Part("video", query)], "video", 5 * windows, 2)
    assert cosine.tolist() == pytest.approx((windows @ query).tolist(), abs=1e-6)
    assert height.max() == 1 and cosine.argmax() == height.argmax() and height.min() >= 0
