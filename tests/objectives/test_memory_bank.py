"""The memory bank: the same everywhere, last sample of a row wins, exact mining in chunks, published xID values."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview import parallel
from coview.objectives import memory_bank
from coview.objectives.infonce import log_total
from coview.objectives.memory_bank import MemoryBank
from coview.objectives.rince import rince

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "xid-rince.npz")


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def bank(momentum=0.5, memory=None):
    rows, dim = (24, 16) if memory is None else memory.shape
    made = MemoryBank(rows, dim, momentum, seed=0)
    if memory is not None:
        made.memory.copy_(memory)
    return made


@pytest.mark.parametrize("q", ["0", "0.001", "0.1", "0.4", "1"])
def test_whole_xid_criterion_golden(q):
    banks = {name: bank(memory=golden(f"memory_{name}")) for name in ("video", "audio")}
    raw = {name: golden(f"{name}_emb").requires_grad_() for name in banks}
    unit = {name: normalize(x, dim=1) for name, x in raw.items()}
    row, rows = golden("index"), golden("negative_index")
    losses = []
    for query, other in (("video", "audio"), ("audio", "video")):
        positive = banks[other].scores(unit[query], row[:, None])[:, 0] / 0.07
        total = log_total(positive, banks[other].scores(unit[query], rows) / 0.07)
        losses.append(rince(positive, total, float(q), 0.01).mean())
    loss = sum(losses) / 2
    loss.backward()
    loose = 5e-4 if q == "0.001" else 1e-5
    torch.testing.assert_close(loss.detach().double(), golden(f"xid_q{q}_loss"), rtol=1e-5, atol=loose)
    for name, x in raw.items():
        torch.testing.assert_close(x.grad, golden(f"xid_q{q}_grad_{name}"), rtol=1e-3, atol=loose)
        banks[name].update(row, x.detach())
        torch.testing.assert_close(banks[name].memory, golden(f"memory_{name}_after"))


@pytest.mark.parametrize("chunk", [7, 1 << 14])
def test_hard_negatives_golden(chunk, monkeypatch):
    monkeypatch.setattr(memory_bank, "CHUNK", chunk)
    query = normalize(golden("audio_emb"), dim=1)
    found = bank(memory=golden("memory_video")).nearest(query, golden("index"), 5)
    assert torch.equal(found, golden("hard_negative_index_for_audio_queries"))


def test_both_ways_of_scoring_agree():
    made = MemoryBank(100, 8, 0.5, seed=1)
    query = torch.randn(3, 8, requires_grad=True)
    few, many = torch.randint(100, (3, 4)), torch.randint(100, (3, 50))
    for rows in (few, many):
        expected = (query[:, None] * made.memory[rows]).sum(2)
        torch.testing.assert_close(made.scores(query, rows), expected)
    torch.testing.assert_close(made.scores(query[:0], few[:0]), torch.zeros(0, 4))


def test_start_is_random_unit_rows_fixed_by_the_seed(monkeypatch):
    made = MemoryBank(50, 64, 0.5, seed=3)
    torch.testing.assert_close(made.memory.norm(dim=1), torch.ones(50))
    assert made.memory.mean().abs() < 0.01
    torch.testing.assert_close(made.memory[:20], MemoryBank(20, 64, 0.5, seed=3).memory)
    assert not torch.equal(made.memory, MemoryBank(50, 64, 0.5, seed=4).memory)
    monkeypatch.setattr(memory_bank, "CHUNK", 7)
    torch.testing.assert_close(made.memory, MemoryBank(50, 64, 0.5, seed=3).memory)


def test_drawn_rows_are_uniform_over_all_but_the_own():
    made = MemoryBank(10, 4, 0.5, seed=0)
    drawn = made.draw(torch.tensor([11, 12]), torch.tensor([0, 9]), 9000)
    counts = torch.stack([row.bincount(minlength=10) for row in drawn])
    assert counts[0, 0] == 0
    assert counts[1, 9] == 0
    assert counts[0, 1:].min() > 850
    assert counts[0, 1:].max() < 1150
    assert torch.equal(made.draw(torch.tensor([12]), torch.tensor([9]), 9000)[0], drawn[1])


def test_momentum_zero_replaces_and_one_keeps():
    row, embedding = torch.tensor([4, 2]), 5 * torch.randn(2, 16)
    for momentum in (0.0, 1.0):
        made = bank(momentum)
        before = made.memory.clone()
        made.update(row, embedding)
        expected = before.clone()
        if momentum == 0:
            expected[row] = normalize(embedding, dim=1)
        torch.testing.assert_close(made.memory, expected)


def test_last_of_a_row_wins():
    made, once = bank(), bank()
    embedding = torch.randn(4, 16)
    made.update(torch.tensor([3, 5, 3, 5]), embedding)
    once.update(torch.tensor([5, 3]), embedding[[3, 2]])
    torch.testing.assert_close(made.memory, once.memory)


def updated(row, embedding, sizes):
    made = bank()
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    made.update(row[own], embedding[own])
    return made.memory


@pytest.mark.parametrize("sizes", [[6], [2, 4], [1, 0, 3, 2]])
def test_update_is_identical_on_every_process(sizes):
    row, embedding = torch.tensor([7, 1, 7, 0, 1, 7]), torch.randn(6, 16)
    expected = updated(row, embedding, [6])
    memories = worlds.run(len(sizes), updated, row, embedding, sizes)
    for memory in memories:
        assert torch.equal(memory, memories[0])
        torch.testing.assert_close(memory, expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_what_is_not_finite_is_never_kept_and_never_near(bad, momentum):
    bank = MemoryBank(6, 4, momentum, seed=0)
    before = bank.memory.clone()
    embedding = torch.randn(3, 4)
    embedding[1, 2] = bad
    bank.update(torch.tensor([0, 1, 2]), embedding)
    assert bool(bank.memory.isfinite().all()) and torch.equal(bank.memory[1], before[1])
    assert not torch.equal(bank.memory[[0, 2]], before[[0, 2]])
    bank.update(torch.tensor([3, 3]), torch.stack([embedding[0], embedding[1]]))  # the last finite one of a row counts
    assert not torch.equal(bank.memory[3], before[3]) and bool(bank.memory.isfinite().all())
