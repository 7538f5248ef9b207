"""k-means: values of scikit-learn and of DeepCluster-v2, invariances, empty clusters, any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.errors import UsageError
from coview.objectives import kmeans_rows as module
from coview.objectives.kmeans import assign, kmeans, seeds

GOLDEN = {name: np.load(Path(__file__).parents[1] / "golden" / f"{name}.npz") for name in ("xdc", "deepclusterv2")}


def golden(name, file="xdc"):
    return torch.from_numpy(np.asarray(GOLDEN[file][name]))


def features(view):
    video, audio = golden("video_feat"), golden("audio_feat")
    return {"video": video, "audio": audio, "joint": torch.cat([video, audio], 1)}[view]


def blobs(rows=300, dim=6, groups=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(groups, dim, generator=generator)
    return centres[torch.arange(rows) % groups] + torch.randn(rows, dim, generator=generator)


@pytest.mark.parametrize("view", ["audio", "video", "joint"])
def test_golden(view):
    x = features(view)
    start = x[golden("init_index")]
    once = kmeans(x, 6, seed=0, start=start, iterations=1)
    assert torch.equal(once.labels, golden(f"{view}_labels_1iter").long())
    found = kmeans(x, 6, seed=0, start=start)
    assert torch.equal(found.labels, golden(f"{view}_labels").long())
    assert found.iterations == int(golden(f"{view}_niter"))
    torch.testing.assert_close(found.centroids, golden(f"{view}_centroids"), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.inertia, float(golden(f"{view}_inertia")), rtol=1e-10, atol=0)
    assert torch.equal(found.counts, torch.bincount(found.labels, minlength=6))


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("head", range(3))
def test_spherical_golden_of_deepcluster_v2(world, head):
    memory = golden("w1_memory", "deepclusterv2")[head % 2]
    rows = golden(f"w{world}_init_rows{head}", "deepclusterv2")
    found = kmeans(memory, len(rows), seed=0, start=memory[rows], iterations=10, spherical=True, empty="keep")
    expected = golden(f"w{world}_centroids{head}", "deepclusterv2")
    torch.testing.assert_close(found.centroids.float(), expected, rtol=1e-5, atol=1e-5)
    by_row = torch.empty_like(found.labels)
    by_row[golden("w1_index", "deepclusterv2")] = found.labels
    assert torch.equal(by_row, golden(f"w{world}_assign", "deepclusterv2")[head])


def test_inertia_never_grows_and_blocks_change_nothing(monkeypatch):
    x = blobs()
    start = x[:7]
    steps = [kmeans(x, 7, seed=0, start=start, iterations=count) for count in range(1, 9)]
    inertia = [found.inertia for found in steps]
    assert inertia == sorted(inertia, reverse=True)
    for found in steps:  # what is compared with moved centroids alone, and with all of them
        assert torch.equal(assign(x, found.centroids)[0], found.labels)
    monkeypatch.setitem(module.BLOCK, "cpu", 13 * x.shape[1])
    again = kmeans(x, 7, seed=0, start=start, iterations=8)
    assert torch.equal(again.labels, steps[-1].labels)
    assert torch.equal(again.centroids, steps[-1].centroids)


def test_permutations():
    x = blobs()
    order, swap = torch.randperm(300), torch.randperm(5)
    found = kmeans(x, 5, seed=0, start=x[:5])
    moved = kmeans(x[order], 5, seed=0, start=x[:5])
    assert torch.equal(moved.labels, found.labels[order])
    assert torch.equal(moved.centroids, found.centroids)
    swapped = kmeans(x, 5, seed=0, start=x[:5][swap])
    assert torch.equal(swap[swapped.labels], found.labels)
    again = kmeans(x[order], 5, seed=3, row=order)
    assert torch.equal(again.labels, kmeans(x, 5, seed=3).labels[order])


def test_seeds_are_rows_far_apart_and_follow_the_seed():
    x = blobs(groups=5).double()
    groups = []
    for seed in range(40):
        chosen = [int(torch.nonzero((x == row).all(1))) for row in seeds(x, 5, seed=seed)]
        assert len(set(chosen)) == 5
        groups.append(len({row % 5 for row in chosen}))
    assert 4.2 < sum(groups) / 40 < 4.6  # of k-means++ 4.42, of rows drawn at random 3.36
    assert torch.equal(seeds(x, 5, seed=2), seeds(x, 5, seed=2))
    assert not torch.equal(seeds(x, 5, seed=0), seeds(x, 5, seed=1))
    assert len(set(kmeans(x, 5, seed=0).labels.tolist())) == 5


def test_seeds_drawn_several_at_once_are_as_good_as_one_by_one():
    """40 clusters, of which up to nine are drawn together: within 3 % of what drawing one after another leaves."""
    x, squares = blobs(rows=500, groups=20).double(), [[], []]
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        one = x[torch.randint(500, (1,), generator=generator)]
        while len(one) < 40:
            nearest = torch.cdist(x, one).square().amin(1)
            one = torch.cat([one, x[torch.multinomial(nearest, 1, generator=generator)]])
        for found, chosen in zip(squares, (seeds(x, 40, seed=seed), one), strict=True):
            found.append(float(torch.cdist(x, chosen).square().amin(1).sum()))
    assert sum(squares[0]) == pytest.approx(sum(squares[1]), rel=0.03)


def test_an_empty_cluster_takes_the_farthest_row_or_keeps_its_centroid():
    x = torch.tensor([[0.0], [1.0], [10.0], [11.0], [40.0]])
    start = torch.tensor([[0.0], [10.0], [1000.0]])
    kept = kmeans(x, 3, seed=0, start=start, iterations=1, empty="keep")
    assert kept.centroids[2] == 1000
    found = kmeans(x, 3, seed=0, start=start)
    assert found.labels.tolist() == [0, 0, 1, 1, 2]
    assert found.centroids.flatten().tolist() == [0.5, 10.5, 40.0]


def test_sums_beyond_the_digits_of_float32_are_exact():
    """One large value and many that a running float32 sum would lose."""
    x = torch.cat([torch.full((1, 1), 2.0**24), torch.ones(4096, 1)])
    found = kmeans(x, 1, seed=0, start=torch.zeros(1, 1))
    assert found.centroids.item() * 4097 == pytest.approx(2.0**24 + 4096, rel=1e-15)


def test_what_cannot_be_clustered_is_refused():
    with pytest.raises(UsageError, match="at least as many"):
        kmeans(torch.zeros(3, 2), 4, seed=0)
    with pytest.raises(UsageError, match="not finite"):
        kmeans(torch.tensor([[0.0], [torch.nan], [1.0]]), 2, seed=0)
    found = kmeans(torch.zeros(8, 2), 3, seed=0)  # all the same: clusters, though of no use
    assert found.inertia == 0


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [1e3, -1e6, 1e9])
def test_a_common_offset_changes_no_label(offset, kind):
    """|x|^2 - 2 x.c loses all digits when what all rows share is a million times what tells them apart."""
    fine = torch.randint(-40, 41, (300, 6), generator=torch.Generator().manual_seed(1)).double() / 64
    x = fine + 8 * torch.eye(6)[torch.arange(300) % 5].double()
    far = (64 * x + 64 * offset).to(kind)
    near = (far.double() - 64 * offset) / 64  # what the type has kept of x
    expected = kmeans(near, 5, seed=0, start=near[:5])
    found = kmeans(far, 5, seed=0, start=far[:5])
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.inertia / 4096, expected.inertia, rtol=1e-6, atol=0)
    labels, distance = assign(far, found.centroids)
    assert torch.equal(labels, found.labels)
    torch.testing.assert_close(distance.sum().item() / 4096, expected.inertia, rtol=1e-6, atol=0)
    assert set(seeds(far, 5, seed=0)[:, 0].tolist()) <= set(far[:, 0].tolist())


def test_what_float32_cannot_tell_is_told_in_float64():
    """Two centroids a few units of float32 apart, and the same ones twice: the nearest, of equals the first."""
    x = torch.tensor([[1.0], [1.0 + 2**-23], [1.0 + 2**-22], [3.0]])
    centroids = torch.tensor([[1.0 + 2**-22], [1.0], [1.0 + 2**-22], [1.0]], dtype=torch.float64)
    labels, _ = assign(x, torch.cat([centroids, torch.tensor([[2.9], [2.9]])]))
    assert labels.tolist() == [1, 0, 0, 4]


@pytest.mark.parametrize("power", [100, -100])
def test_what_float32_cannot_hold_is_clustered_in_float64(power):
    x = blobs(rows=60).double()
    expected, found = kmeans(x, 5, seed=0), kmeans(2.0**power * x, 5, seed=0)
    assert torch.equal(found.labels, expected.labels)
    assert found.inertia * 4.0**-power == pytest.approx(expected.inertia, rel=1e-9)


def test_what_is_given_is_left_as_it_is():
    x = blobs().double()
    kept = x.clone()
    kmeans(x, 5, seed=0)
    assign(x, x[:5])
    assert torch.equal(x, kept)


def share(x, clusters, sizes, spherical, empty_start):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    begin = torch.full((clusters, x.shape[1]), 1000.0) + torch.arange(clusters)[:, None] if empty_start else None
    found = kmeans(x[own], clusters, seed=4, start=begin, spherical=spherical)
    return found.centroids, found.labels, found.counts, found.inertia, found.iterations


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("empty_start", [False, True])
@pytest.mark.parametrize("sizes", [[150, 150], [75, 75, 75, 75], [200, 0, 37, 63]])
def test_world_size_changes_nothing_to_the_bit(spherical, empty_start, sizes):
    x = blobs()
    # On the same number of threads: a process group of one.
    (one,) = worlds.run(1, share, x, 6, [300], spherical, empty_start)
    centroids, labels, counts, inertia, iterations = one
    results = worlds.run(len(sizes), share, x, 6, sizes, spherical, empty_start)
    assert torch.equal(torch.cat([result[1] for result in results]), labels)
    for result in results:
        assert torch.equal(result[0], centroids)
        assert torch.equal(result[2], counts)
        assert result[3] == pytest.approx(inertia, rel=1e-12)
        assert result[4] == iterations


def test_memory_mapped_half_precision(tmp_path):
    x = blobs().half()
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="r+"))
    assert torch.equal(kmeans(mapped, 5, seed=0).labels, kmeans(x, 5, seed=0).labels)
    labels, distance = assign(mapped, x[:5])
    assert distance[:5].max() == 0
    assert labels[:5].tolist() == list(range(5))


def test_mixed_precision_around_it_changes_nothing():
    x = blobs(groups=12)
    plain = kmeans(x, 12, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = kmeans(x, 12, seed=0)
        labels, _ = assign(x, plain.centroids)
    assert torch.equal(mixed.labels, plain.labels) and torch.equal(labels, plain.labels)


def test_joined_features_of_equal_weight():
    video, audio = golden("video_feat"), golden("audio_feat")
    joined = kmeans([video, audio], 6, seed=0)
    assert torch.equal(joined.labels, kmeans(torch.cat([video, audio], 1), 6, seed=0).labels)
    scaled = kmeans([video, 100 * audio], 6, seed=0, unit=True)
    plain = kmeans([video, audio], 6, seed=0, unit=True)
    assert torch.equal(scaled.labels, plain.labels)


def test_some_rows_of_what_is_there():
    x = blobs()
    index = torch.arange(0, 300, 3)
    part = kmeans(x, 5, seed=0, index=index)
    assert torch.equal(part.labels, kmeans(x[index], 5, seed=0, row=index).labels)
    assert part.counts.sum() == 100
