import numpy as np
import pytest
import torch

from coview.data.order import _mix, permute, rows_of
from coview.randomness import mix


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000, 4097])
def test_every_epoch_is_a_permutation(count):
    moved = permute(torch.arange(count), count, seed=3, epoch=5)
    assert moved.sort().values.equal(torch.arange(count))


def test_a_piece_is_the_same_piece_of_the_whole_and_epochs_and_seeds_differ():
    whole = permute(torch.arange(1000), 1000, 0, 0)
    assert permute(torch.arange(300, 320), 1000, 0, 0).equal(whole[300:320])
    for seed, epoch in ((0, 1), (1, 0)):
        other = permute(torch.arange(1000), 1000, seed, epoch)
        assert (other == whole).float().mean() < 0.02


def test_every_place_is_equally_likely_and_neighbours_are_independent():
    count, epochs = 10, 800
    moved = torch.stack([permute(torch.arange(count), count, 7, epoch) for epoch in range(epochs)])
    shares = torch.stack([(moved == value).double().mean(0) for value in range(count)])
    assert (shares - 0.1).abs().max() < 5 * (0.1 * 0.9 / epochs) ** 0.5
    rises = (moved[:, 1:] > moved[:, :-1]).double().mean()
    assert abs(rises - 0.5) < 0.03


def test_every_recording_is_read_equally_often_in_an_epoch():
    rows = rows_of(torch.arange(35), rows=7, clips_per_recording=5, seed=0, epoch=2)
    assert rows.bincount().tolist() == [5] * 7


def test_memory_does_not_grow_with_the_epoch():
    rows = rows_of(torch.arange(8), rows=10**12, clips_per_recording=5, seed=0, epoch=0)
    assert len(rows.unique()) == 8
    assert rows.max() > 10**11


def test_the_mixer_is_that_of_all_other_random_numbers():
    words = torch.tensor([0, 1, -1, 2**62 + 12345, -(2**63)])
    assert mix(words).tolist() == _mix(words.numpy().view(np.uint64)).view(np.int64).tolist()


def test_the_order_is_the_one_of_earlier_runs():
    assert permute(torch.arange(8), 8, 1, 2).tolist() == [7, 1, 5, 4, 3, 2, 6, 0]


def test_scattered_positions_and_blocks_agree():
    whole = permute(torch.arange(9000), 9000, 1, 1)
    for some in ([8999, 3, 4500], [1023, 1024], []):
        assert permute(torch.tensor(some, dtype=torch.int64), 9000, 1, 1).tolist() == whole[some].tolist()
