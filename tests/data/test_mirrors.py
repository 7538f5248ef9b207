"""A letter's mirror image is another letter: a recording that says so is never flipped, on any way into a batch."""

import dataclasses
import json

import pytest
import torch

from coview.data.augment import PRESETS, AugmentSettings
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.memmap import MemmapSource, fill
from coview.data.preprocess import Preprocess
from coview.data.shuffle import ShuffledPairs
from coview.data.views import AudioView, VideoView
from coview.media.encode import write_clip

VIEWS = {
    "video": VideoView(frames=2, fps=8, size=16, margin=1.0, normalise="clip"),
    "audio": AudioView(seconds=0.25, sample_rate=8000, mels=16),
}
FLAGS = {"b.mp4": ["nomirror", "noflip"], "d.mp4": [], "o.mp4": "nomirror"}


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Clips that are bright on the left and dark on the right; two must stay so."""
    folder = tmp_path_factory.mktemp("letters")
    frames = torch.zeros(3, 8, 16, 16, dtype=torch.uint8)
    frames[..., :8] = 255
    sound = 0.5 * torch.sin(torch.arange(8000) * 0.3)
    for name in FLAGS:
        write_clip(folder / name, frames, 8.0, sound, 8000)
    lines = [json.dumps({"path": name, "flags": flags}) for name, flags in FLAGS.items()]
    (folder / "letters.jsonl").write_text("\n".join(lines) + "\n")
    return MediaSource(index_source(str(folder / "letters.jsonl"), folder / "c", workers=0), VIEWS)


def flipped(source, augment):
    """Return for every recording how many of 40 looks have the bright side on the right, and the number of looks."""
    prepare = Preprocess(VIEWS, augment)
    seen = {name: [] for name in source.ids}
    loader = Loader(source, batch_size=3, seed=0, clips_per_recording=40)
    for _, raw in zip(range(loader.steps_per_epoch), loader.stream(), strict=False):
        video = prepare(raw.select(torch.tensor([2, 0, 1])).to("cpu"), train=True).views["video"]
        right = video[..., 8:].mean((1, 2, 3, 4)) > video[..., :8].mean((1, 2, 3, 4))
        for row, value in zip(raw.row[[2, 0, 1]].tolist(), right.tolist(), strict=True):
            seen[source.ids[row]].append(value)
    return {name: (sum(values), len(values)) for name, values in seen.items()}


@pytest.mark.parametrize("kind", ["files", "memory-mapped", "shuffled"])
@pytest.mark.parametrize(
    "augment", [AugmentSettings(crop_area=(0.9, 1.0)), dataclasses.replace(PRESETS["none"], flip=0.5)]
)
def test_only_what_may_be_mirrored_is(letters, kind, augment, tmp_path):
    source = letters
    if kind == "memory-mapped":
        source = MemmapSource(fill(letters, tmp_path / "m", cuts=2))
    if kind == "shuffled":
        source = ShuffledPairs(letters, 0)
        # The sound's recording asks for the same, so that a partner that lends a picture is safe as well.
        assert source.read(torch.tensor([1]), torch.tensor([5])).mirrorable.tolist() == [False]
    seen = flipped(source, augment)
    assert seen["b.mp4"] == (0, 40) and seen["o.mp4"] == (0, 40)
    if kind != "shuffled":
        assert 10 <= seen["d.mp4"][0] <= 30


def test_absent_rows_keep_each_flag_with_its_picture(letters):
    raw = letters.read(torch.tensor([1, 0, 1, 2]), torch.arange(4))
    raw.present["video"] = torch.tensor([True, True, False, True])
    made = Preprocess(VIEWS, dataclasses.replace(PRESETS["none"], flip=1.0))(raw, train=True).views["video"]
    right = made[..., 8:].mean((1, 2, 3, 4)) > made[..., :8].mean((1, 2, 3, 4))
    assert right.tolist() == [True, False, False, False]
