import numpy as np
import pytest
import torch

from coview.data.order import Order, _mix, permute
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


def order(rows, clips, batch, batches=1):
    laps = max(laps for laps in range(1, 6) if clips % laps == 0)
    return Order(rows=rows, clips_per_recording=clips, batch_size=batch, laps=laps, window=batch * batches)


def rows_of(order, seed=0, epoch=2):
    return order.rows_of(torch.arange(order.rows * order.clips_per_recording), seed, epoch)


@pytest.mark.parametrize("rows", [1, 7, 24, 61, 64])
@pytest.mark.parametrize("clips", [1, 4, 5, 7, 10])
@pytest.mark.parametrize("batches", [1, 3])
def test_every_recording_is_read_equally_often_in_an_epoch(rows, clips, batches):
    whole = rows_of(order(rows, clips, 8, batches))
    assert whole.bincount(minlength=rows).tolist() == [clips] * rows


@pytest.mark.parametrize("clips", [1, 7])
def test_without_laps_the_epoch_is_one_permutation(clips):
    one = order(20, clips, 4)
    assert one.laps == 1
    assert rows_of(one, 3, 1).equal(permute(torch.arange(20 * clips), 20 * clips, 3, 1) % 20)
    assert one.steps_together(3, 5) == range(3, 4)


@pytest.mark.parametrize(("clips", "laps"), [(1, 1), (2, 2), (4, 4), (5, 5), (6, 3), (7, 1), (8, 4), (10, 5), (50, 5)])
def test_laps_divide_the_clips(clips, laps):
    assert Order.within(10**6, 1000, clips, 8).laps == laps


@pytest.mark.parametrize(
    ("reads", "rows", "clips", "laps", "window"),
    [
        (10**6, 1000, 5, 5, 32 * 8),  # never more than 32 batches
        (200, 1000, 5, 5, 5 * 8),
        (159, 1000, 5, 1, 8),  # no room for four batches of recordings: five steps on one would teach less
        (160, 1000, 4, 4, 5 * 8),
        (159, 1000, 4, 2, 9 * 8),  # four laps would leave a window of one batch over
        (127, 1000, 4, 2, 7 * 8),
        (40, 8, 5, 5, 8),  # there is but one
        (39, 8, 5, 1, 8),
    ],
)
def test_a_window_has_several_batches_of_recordings_or_none_is_made(reads, rows, clips, laps, window):
    assert Order.within(reads, rows, clips, 8) == Order(rows, clips, 8, laps, window)


@pytest.mark.parametrize("reads", [200, 500, 3000, 10**6])
@pytest.mark.parametrize("clips", [2, 4, 5, 10])
def test_no_window_of_an_epoch_is_left_with_a_batch_or_two(reads, clips):
    for rows in range(8 * 8, 8 * 80, 17):
        one = Order.within(reads, rows, clips, 8)
        steps, step = rows * clips // 8, 0
        while one.laps > 1 and step < steps:
            window = one.steps_together(step, steps)
            assert len(window) >= 4 * one.laps or len(window) == steps, (rows, one)
            step = window.stop


@pytest.mark.parametrize(("rows", "windows"), [(61, [16, 16, 16, 13]), (52, [16, 16, 20]), (12, [12])])
def test_a_recording_s_clips_lie_in_one_window_and_never_twice_in_a_batch(rows, windows):
    one = order(rows, 5, 8, 2)
    whole, steps, first = rows_of(one), rows * 5 // 8, 0
    for size in windows:
        window = whole[first : first + 5 * size].view(5, size)
        assert all(lap.unique().numel() == size for lap in window)
        assert window.unique().numel() == size
        if size == 16:
            assert all(batch.unique().numel() == 8 for batch in window.reshape(-1, 8))
        last = (first + 5 * size) // 8
        for step in (first // 8, last - 1):
            assert one.steps_together(step, steps) == range(first // 8, last)
        first += 5 * size


def test_a_recording_stays_in_its_part_of_the_batch_and_laps_differ():
    window = rows_of(order(64, 4, 8, 4))[: 4 * 32].view(4, 4, 8)  # lap, batch, place in the batch
    for place in range(8):
        assert len({frozenset(lap[:, place].tolist()) for lap in window}) == 1
    assert len({tuple(lap.flatten().tolist()) for lap in window}) == 4


def test_pieces_epochs_and_seeds():
    one = order(61, 4, 8, 2)
    whole = rows_of(one)
    for piece in (torch.arange(30, 140), torch.tensor([243, 5, 100, 5])):
        assert one.rows_of(piece, 0, 2).equal(whole[piece])
    for seed, epoch in ((0, 3), (1, 2)):
        assert (rows_of(one, seed, epoch) == whole).float().mean() < 0.1


@pytest.mark.parametrize("clips", [1, 5])
def test_memory_does_not_grow_with_the_epoch(clips):
    rows = order(10**12, clips, 8).rows_of(torch.arange(8), 0, 0)
    assert len(rows.unique()) == 8
    assert rows.max() > 10**11


def test_the_mixer_is_that_of_all_other_random_numbers():
    words = torch.tensor([0, 1, -1, 2**62 + 12345, -(2**63)])
    assert mix(words).tolist() == _mix(words.numpy().view(np.uint64)).view(np.int64).tolist()


def test_the_order_is_the_one_of_earlier_runs():
    assert permute(torch.arange(8), 8, 1, 2).tolist() == [7, 1, 5, 4, 3, 2, 6, 0]


def test_scattered_positions_and_blocks_agree():
    whole = permute(torch.arange(9000), 9000, 1, 1)
    for some in ([8999, 3, 4500], [4095, 4096], []):
        assert permute(torch.tensor(some, dtype=torch.int64), 9000, 1, 1).tolist() == whole[some].tolist()


def test_recordings_are_drawn_by_their_chances():
    chances = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0], dtype=torch.float64)
    order = Order(5, 40, 8, 1, 8).weighted(chances)
    position = torch.arange(200)
    rows = order.rows_of(position, 3, 7)
    assert torch.equal(rows[50:70], order.rows_of(position[50:70], 3, 7))
    assert not torch.equal(rows, order.rows_of(position, 3, 8))
    counts = rows.bincount(minlength=5).double()
    assert not counts[0] and not counts[3], "what has no chance is never drawn"
    assert ((counts - 200 * chances / 8).abs() <= 2).all(), "every epoch is as it is expected to be"
    many = torch.stack([order.rows_of(position, 0, epoch).bincount(minlength=5) for epoch in range(100)]).double()
    torch.testing.assert_close(many.mean(0), 200 * chances / 8, rtol=0, atol=0.3)


def test_the_ends_of_the_unit_interval_fall_on_a_recording_that_has_a_chance():
    order = Order(3, 1000, 8, 1, 8).weighted(torch.tensor([0.0, 1e-3, 0.0], dtype=torch.float64))
    assert (order.rows_of(torch.arange(3000), 0, 0) == 1).all()
