"""DeepCluster-v2 and SeLaVi between epochs: what is remembered, what is balanced, any number of processes."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import worlds

from coview import parallel
from coview.methods import build, load_method
from coview.methods.contract import Facts

ROWS = 40


def method_of(slug, seed=0, **changes):
    torch.manual_seed(seed)
    return build(slug, dataclasses.replace(load_method(slug).Settings.tiny(), **changes), Facts(rows=ROWS))


def embedding(method, dim):
    def embed(space):
        generator = torch.Generator().manual_seed(1)
        values = {view: torch.randn(ROWS, dim, generator=generator) for view in method.encoders}
        present = {view: torch.ones(ROWS, dtype=torch.bool) for view in values}
        next(iter(present.values()))[3] = False
        return SimpleNamespace(values=values, present=present)

    return embed


def test_deepcluster_remembers_an_epoch_and_labels_what_it_saw():
    method = method_of("deepcluster-v2")
    embed = embedding(method, 16)
    method.refresh(0, embed)
    assert method.labels_0[3] == -1
    assert (method.labels_0 >= 0).sum() == ROWS - 1
    assert not method.visited.any()
    torch.testing.assert_close(method.centroids_1.norm(dim=1), torch.ones(8))
    batch = method.example_batch(12, 0)
    method(batch).loss.backward()
    method.after_step()
    assert method.visited.sum() == 12
    for seed in range(1, 4):  # twelve rows each: the first 36 of 40
        method(dataclasses.replace(batch, row=batch.row + 12 * (seed % 3), views=batch.views))
    method.after_step()
    method.refresh(1, embed)
    assert (method.labels_1 >= 0).tolist() == [row < 36 for row in range(ROWS)]
    step = method(dataclasses.replace(batch, row=torch.full((12,), 39)))
    assert step.loss == 0  # not seen in the last epoch


@pytest.mark.parametrize("gaussian", [False, True])
def test_selavi_shares_recordings_over_clusters(gaussian):
    method = method_of("selavi", gaussian=gaussian, clusters=5)
    with torch.no_grad():
        for head in method.heads.values():
            head.weight.mul_(0.1)
    method.refresh(0, embedding(method, 128))
    assert (method.labels[:, 3] == -1).all()
    for labels in method.labels:
        counts = torch.bincount(labels[labels >= 0], minlength=5)
        assert counts.min() >= 3
        assert counts.max() <= 14
    assert not torch.equal(method.labels[0], method.labels[1])


def refreshed(slug, dim):
    method = method_of(slug)
    method.refresh(0, embedding(method, dim))
    return {name: value for name, value in method.state_dict().items() if "encoders" not in name}, parallel.rank()


@pytest.mark.parametrize(("slug", "dim"), [("deepcluster-v2", 16), ("selavi", 128)])
def test_every_world_size_makes_the_same_labels(slug, dim):
    expected, _ = refreshed(slug, dim)
    for world in (2, 4):
        for result, _ in worlds.run(world, refreshed, slug, dim):
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
