import pytest
import torch
from numbers_source import Numbers

from coview.data.shuffle import ShuffledPairs, _kinds
from coview.data.views import AudioView, FeaturesView, ImageView, TextView, VideoView
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


def test_a_third_kind_comes_from_a_third_recording():
    source = Numbers(50)
    source.views = {"audio": source.views["audio"], "words": TextView(), "video": source.views["video"]}
    shuffled = ShuffledPairs(source, seed=0)
    row = torch.arange(50)
    second, third = shuffled._others(row)
    assert second.equal(shuffled.partner) and third.equal(shuffled.partner[shuffled.partner])
    assert (third != row).all() and (third != second).all() and third.sort().values.equal(row)


def test_a_replaced_picture_never_meets_its_own_sound():
    shuffled = ShuffledPairs(Numbers(50, bad=range(0, 50, 2)), seed=3)
    batch = shuffled.read(torch.arange(50), torch.arange(50))
    assert len(batch.replaced) >= 25
    assert (batch.row != (batch.start["audio"] - 0.5).long()).all()


def test_one_recording_cannot_be_shuffled():
    with pytest.raises(UsageError, match="at least 2 recordings"):
        ShuffledPairs(Numbers(1), seed=0)


@pytest.mark.parametrize(
    ("streams", "kinds"),
    [
        ("video audio", [0, 1]),
        ("audio video", [1, 0]),
        ("video video audio", [0, 0, 1]),  # a second clip of the picture would be a true pair with the sound
        ("audio image video text", [1, 0, 0, 2]),
        ("video video", [0, 1]),
        ("features features", [0, 1]),
        ("text audio", [0, 1]),
    ],
)
def test_views_of_one_kind_stay_together(streams, kinds):
    made = {"video": VideoView(), "image": ImageView(), "audio": AudioView(), "text": TextView()}
    views = {f"v{k}": made.get(stream) or FeaturesView(dim=4) for k, stream in enumerate(streams.split())}
    assert list(_kinds(views).values()) == kinds
