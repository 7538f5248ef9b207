"""`digits-av`: same clips in any batch, disjoint splits, and sides that share only the class."""

import itertools

import torch

from coview.data.synthetic.digits import DigitsWorld
from coview.data.synthetic.digits_level import LEVELS
from coview.data.synthetic.digits_picture import IMAGES
from coview.data.synthetic.digits_sound import ORDERS


def test_a_clip_has_the_promised_shapes_and_labels():
    world = DigitsWorld("C", "test", 40, 5)
    clips = world.render(torch.arange(40))
    assert clips["video"].shape == (40, 3, 8, 32, 32) and clips["video"].dtype == torch.uint8
    assert clips["audio"].shape == (40, 16000) and clips["audio"].dtype == torch.float32
    assert torch.equal(clips["digit"], world.labels) and torch.equal(clips["image"], world.columns["image"])
    assert (clips["video"][:, :1] == clips["video"]).all()  # grey
    assert clips["audio"].abs().amax() <= 1 and (clips["audio"].square().mean(1).sqrt() > 0.02).all()
    samples = clips["audio"] * 32768
    assert torch.equal(samples, samples.round())  # nothing is lost as 16-bit samples


def test_splits_share_no_handwriting():
    from sklearn.datasets import load_digits

    truth = torch.from_numpy(load_digits().target)
    for split, (first, last) in IMAGES.items():
        world = DigitsWorld("A", split, 2000)
        image = world.columns["image"]
        assert image.min() >= first and image.max() < last
        assert torch.equal(truth[image], world.labels)
    ranges = sorted(IMAGES.values())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))


def test_classes_are_even_and_seeds_and_splits_differ():
    world = DigitsWorld("A", "train", 5000)
    count = torch.bincount(world.labels, minlength=10)
    assert count.min() > 400 and count.max() < 600
    for other in (DigitsWorld("A", "train", 5000, 1), DigitsWorld("A", "validation", 5000)):
        assert (other.labels == world.labels).float().mean() < 0.2
        assert other.fingerprint != world.fingerprint


def test_all_patterns_occur_once_in_every_class():
    assert len(set(ORDERS)) == 10
    assert all(sorted(order) == list("0123") for order in ORDERS)


def test_picture_and_sound_share_only_the_class():
    # Two levels change the picture's ranges and the sound's; neither side's draw moves the other's.
    a, d = (DigitsWorld(level, "train", 16).render(torch.arange(16)) for level in ("A", "D"))
    assert torch.equal(a["digit"], d["digit"]) and torch.equal(a["image"], d["image"])
    assert not torch.equal(a["video"], d["video"]) and not torch.equal(a["audio"], d["audio"])
    assert LEVELS["A"].threshold != LEVELS["C"].threshold
