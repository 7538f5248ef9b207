import pytest
import torch
from numbers_source import Numbers

from coview.data.shuffle import ShuffledPairs
from coview.errors import UsageError


def test_pictures_stay_sounds_move_and_none_keeps_its_own():
    source = Numbers(50)
    shuffled = ShuffledPairs(source, seed=0)
    row, key = torch.arange(50), torch.arange(50) + 7
    batch, true = shuffled.read(row, key), source.read(row, key)
    assert batch.views["video"].equal(true.views["video"]) and batch.label.equal(true.label)
    assert batch.start["video"].equal(true.start["video"])
    heard = (batch.start["audio"] - 0.5).long()
    assert heard.equal(shuffled.partner) and heard.sort().values.equal(row) and (heard != row).all()
    assert batch.views["audio"].equal(source.read(heard, key).views["audio"])
    window = shuffled.read_window(row, 1, 3)
    assert (window.start["audio"] - 0.5).long().equal(shuffled.partner)


def test_the_pairing_is_fixed_by_the_seed_and_known_by_its_fingerprint():
    one, same, other = (ShuffledPairs(Numbers(50), seed) for seed in (0, 0, 1))
    assert one.partner.equal(same.partner) and not one.partner.equal(other.partner)
    assert len({one.fingerprint, other.fingerprint, Numbers(50).fingerprint}) == 3


def test_a_replaced_picture_never_meets_its_own_sound():
    shuffled = ShuffledPairs(Numbers(50, bad=range(0, 50, 2)), seed=3)
    batch = shuffled.read(torch.arange(50), torch.arange(50))
    assert len(batch.replaced) >= 25
    assert (batch.row != (batch.start["audio"] - 0.5).long()).all()


def test_one_recording_cannot_be_shuffled():
    with pytest.raises(UsageError, match="at least two recordings"):
        ShuffledPairs(Numbers(1), seed=0)
