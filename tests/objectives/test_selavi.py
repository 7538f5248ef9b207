"""SeLaVi's labels: values of the official function, balance, and any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds

from coview import parallel
from coview.objectives.selavi import agreed_labels, gaussian_marginal
from coview.randomness import make_key

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "selavi.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def case(number):
    logits = {"video": golden(f"c{number}_logits_v"), "audio": golden(f"c{number}_logits_a")}
    marginal = 1 / golden("c2_marginal") if number == 2 else None
    return logits, float(golden(f"c{number}_lamb")), marginal if marginal is None else marginal / marginal.sum()


@pytest.mark.parametrize("number", range(3))
def test_golden(number):
    logits, power, marginal = case(number)
    labels, cost = agreed_labels(logits, power=power, marginal=marginal)
    assert torch.equal(labels, golden(f"c{number}_labels"))
    assert cost == pytest.approx(float(golden(f"c{number}_cost")), rel=1e-8)


def on_a_rank(number, sizes):
    logits, power, marginal = case(number)
    start = sum(sizes[: parallel.rank()])
    own = {view: value[start : start + sizes[parallel.rank()]] for view, value in logits.items()}
    return agreed_labels(own, power=power, marginal=marginal)


@pytest.mark.parametrize("sizes", [[75, 75], [80, 0, 60, 10]])
def test_world_size(sizes):
    ((labels, cost),) = worlds.run(1, on_a_rank, 1, [150])
    results = worlds.run(len(sizes), on_a_rank, 1, sizes)
    assert torch.equal(torch.cat([result[0] for result in results]), labels)
    assert all(result[1] == pytest.approx(cost, rel=1e-12) for result in results)


def test_samples_without_preference_are_shared_evenly_up_to_ties():
    generator = torch.Generator().manual_seed(0)
    logits = {"video": 0.1 * torch.randn(400, 8, generator=generator) + torch.arange(8)}  # all prefer cluster 7
    labels, _ = agreed_labels(logits, power=20.0, tolerance=1e-6)
    assert torch.bincount(labels, minlength=8).min() > 25
    assert torch.bincount(labels, minlength=8).max() < 90


def test_gaussian_sizes_go_to_clusters_of_their_size():
    mass = torch.tensor([5.0, 1.0, 9.0, 3.0])
    share = gaussian_marginal(mass, key=make_key(1), rows=1000)
    assert share.sum() == pytest.approx(1)
    assert torch.equal(share.argsort(), mass.argsort())
    released = gaussian_marginal(mass, key=make_key(1), rows=1000, as_released=True)
    back = 1 / released
    torch.testing.assert_close(back.sort().values / back.sum(), share.sort().values)
