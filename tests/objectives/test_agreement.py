"""Mining by agreement: published tables, blocks, processes, devices, and the map of draws around the positives."""

from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.functional import normalize

from coview.objectives import agreement as module
from coview.objectives.agreement import agreement, mine_positives, outside

CRITERIA = ["consensus", "union", "video", "audio"]
GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "cma.npz").items()
}
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def memories(rows=101, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(rows, dim, generator=generator), dim=1) for _ in "va"]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_tables_golden(criterion, device):
    video, audio = (GOLDEN[f"memory_{name}"].to(device) for name in ("video", "audio"))
    table = mine_positives(video, audio, 4, criterion)
    assert torch.equal(table.cpu(), GOLDEN[f"positives_{criterion}"].long())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_blocks_give_what_all_pairs_at_once_give(criterion, monkeypatch):
    video, audio = memories()
    scores = agreement(video @ video.T, audio @ audio.T, criterion).fill_diagonal_(-torch.inf)
    expected = scores.topk(7, dim=1).indices.sort(1).values
    assert torch.equal(mine_positives(video, audio, 7, criterion), expected)
    monkeypatch.setattr(module, "QUERIES", 13)
    monkeypatch.setattr(module, "CANDIDATES", 5)
    assert torch.equal(mine_positives(video, audio, 7, criterion), expected)


def mined(video, audio, queries):
    module.QUERIES = queries
    return mine_positives(video, audio, 5, "consensus")


@pytest.mark.parametrize("queries", [13, 200])
def test_every_process_has_the_same_table(queries, monkeypatch):
    monkeypatch.setattr(module, "QUERIES", queries)  # put back what `mined` sets here
    video, audio = memories()
    (expected,) = worlds.run(1, mined, video, audio, queries)  # on the same number of threads
    for world in (2, 4):
        assert all(torch.equal(table, expected) for table in worlds.run(world, mined, video, audio, queries))


def test_one_view_twice_makes_all_criteria_equal():
    video, _ = memories()
    tables = [mine_positives(video, video, 6, criterion) for criterion in CRITERIA]
    assert all(torch.equal(table, tables[0]) for table in tables)


def test_a_recording_is_never_its_own_positive_even_among_copies():
    video = memories(3)[0].repeat_interleave(4, 0)  # rows 4 i to 4 i + 3 are equal
    table = mine_positives(video, video, 3, "consensus")
    rows = torch.arange(12)[:, None]
    assert (table != rows).all()
    assert torch.equal(table // 4, (rows // 4).expand(-1, 3))


def test_nothing_is_mined_for_nothing():
    video, audio = memories(5)
    assert mine_positives(video, audio, 0, "consensus").shape == (5, 0)


def test_negatives_golden():
    rows = outside(GOLDEN["raw_draws"].long(), GOLDEN["positive_index"].long())
    assert torch.equal(rows, GOLDEN["negative_index"].long())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("left_out", [0, 1, 6, 19])
def test_draws_map_one_to_one_onto_what_is_not_left_out(left_out, seed):
    generator = torch.Generator().manual_seed(seed)
    excluded = torch.stack([torch.randperm(20, generator=generator)[:left_out].sort().values for _ in range(3)])
    rows = outside(torch.arange(20 - left_out).expand(3, -1), excluded)
    for mapped, out in zip(rows.tolist(), excluded.tolist(), strict=True):
        assert mapped == sorted(set(range(20)) - set(out))
