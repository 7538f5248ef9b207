import pytest
import torch
from numbers_source import Numbers

from coview.data.part import Part
from coview.data.source import sample_keys
from coview.errors import DataProblemsError, UsageError

ROWS = torch.tensor([3, 7, 8, 20, 21, 33])


def test_a_part_reads_its_own_recordings_under_their_new_rows() -> None:
    part, whole = Part(Numbers(), ROWS), Numbers()
    assert part.ids == ["n003", "n007", "n008", "n020", "n021", "n033"]
    row = torch.tensor([5, 0, 2])
    key = sample_keys(0, 0, row)
    mine, theirs = part.read(row, key), whole.read(ROWS[row], key)
    assert mine.row.tolist() == [5, 0, 2]
    assert mine.label.tolist() == [1, 1, 0]
    assert all(torch.equal(mine.views[name], theirs.views[name]) for name in whole.views)
    window = part.read_window(row, 1, 3)
    assert torch.equal(window.views["audio"], whole.read_window(ROWS[row], 1, 3).views["audio"])
    assert part.windows(3) == 3
    assert part.fingerprint != Part(Numbers(), ROWS[:-1]).fingerprint != whole.fingerprint


def test_labels_in_another_order_or_none() -> None:
    part = Part(Numbers(), ROWS, classes=["odd"])
    assert part.labels.tolist() == [0, 0, -1, -1, 0, 0]
    assert part.read(torch.arange(6), torch.arange(6)).label.tolist() == part.labels.tolist()
    turned = Part(Numbers(), ROWS, classes=["odd", "even"])
    assert turned.labels.tolist() == [0, 0, 1, 1, 0, 0]


def test_what_replaces_a_damaged_recording_is_of_the_part_too() -> None:
    part = Part(Numbers(bad=[7]), ROWS)  # the source would take 8, which is of the part
    batch = part.read(torch.tensor([1]), torch.tensor([9]))
    assert batch.row.tolist() == [2]
    assert batch.replaced == [(1, "damaged")]
    for key in range(5):
        outside = Part(Numbers(bad=[33]), ROWS)  # the source would take 34, which is not
        batch = outside.read(torch.tensor([0, 5]), torch.tensor([1, key]))
        assert batch.row[0] == 0
        assert ROWS[batch.row[1]] in ROWS
        assert torch.equal(batch.label, outside.labels[batch.row])
        assert (5, "damaged") in batch.replaced


def test_nothing_left() -> None:
    with pytest.raises(UsageError, match="no recording is left"):
        Part(Numbers(), ROWS[:0])
    lost = Part(Numbers(bad=range(40)), torch.tensor([3]))
    with pytest.raises(DataProblemsError, match="could not be read"):
        lost.read(torch.tensor([0]), torch.tensor([0]))
