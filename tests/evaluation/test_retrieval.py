from pathlib import Path

import pytest
import torch
from making import write
from matplotlib.image import imread
from measured import tiny_model
from measuring import NumberSource, PassThrough, SmallModel

from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.synthetic.digits import DigitsWorld
from coview.data.views import AudioView, VideoView
from coview.embedding.extract import extract, extract_locally
from coview.evaluation.exhibits import retrieval_examples
from coview.evaluation.grid import draw_grid, write_grids
from coview.evaluation.protocols import evaluate
from coview.evaluation.tiles import Clips
from coview.media.encode import write_clip


class Unaligned(SmallModel):
    """Backbones whose spaces have nothing in common, and heads that bring them together."""

    def encode(self, batch, space):
        shared = {name: view[:, :3] for name, view in batch.views.items()}
        if space == "projected":
            return shared
        return {"video": shared["video"], "audio": -shared["audio"].roll(1, dims=1)}


def test_plain_names_are_the_aligned_space_and_the_other_says_so() -> None:
    result = evaluate("retrieval", Unaligned(), None, NumberSource(120), name="x", spaces=("projected", "backbone"))
    figures = {m.name: m.value for m in result.results}
    assert figures["class_p1_v2a/x"] > 0.8
    assert figures["class_p1_v2a@backbone/x"] < 0.5
    assert figures["class_p1_v2v@backbone/x"] == pytest.approx(figures["class_p1_v2v/x"])
    assert result.choices["retrieval"]["similarity"] == "cosine"
    scaled = Unaligned()
    scaled.encode = lambda batch, space: {k: 100 * v for k, v in Unaligned().encode(batch, space).items()}
    again = evaluate("retrieval", scaled, None, NumberSource(120), name="x")
    assert all(figures[m.name] == pytest.approx(m.value) for m in again.results)  # length plays no part


def test_the_training_part_as_gallery() -> None:
    train, test = NumberSource(150), NumberSource(60, seed=1)
    result = evaluate("retrieval", PassThrough(), train, test, name="x", galleries=("train",))
    names = {m.name for m in result.results}
    directions = ("v2a", "a2v", "v2v", "a2a")
    assert {f"train_class_{k}_{d}/x" for k in ("p1", "r5", "r10", "r20", "r50") for d in directions} <= names
    assert all(name.startswith("train_class") for name in names)
    figure = next(m for m in result.results if m.name == "train_class_p1_v2v/x")
    assert figure.n == int((test.labels >= 0).sum())
    assert figure.value > 0.6


def test_spaces_of_different_length_are_not_compared() -> None:
    model = SmallModel()
    model.encode = lambda batch, space: {"video": batch.views["video"], "audio": batch.views["audio"]}
    result = evaluate("retrieval", model, None, NumberSource(60), name="x")
    assert not any("v2a" in m.name for m in result.results)
    assert any("different length" in note for note in result.notes)


def test_dense_clips_of_a_sound_are_different_seconds_of_it(tmp_path: Path) -> None:
    rising = torch.sin(2 * torch.pi * (200 + 300 * torch.arange(64000) / 16000) * torch.arange(64000) / 16000)
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mp4", None, None, 0.5 * rising, 16000)
    index_source(str(tmp_path / "in"), tmp_path / "col", workers=0)
    source = MediaSource(Collection.open(tmp_path / "col"), {"audio": AudioView(seconds=1.0)})
    cuts = [source.read_window(torch.tensor([0]), window, 4) for window in range(4)]
    assert torch.stack([cut.start["audio"][0] for cut in cuts]).tolist() == pytest.approx([0, 1, 2, 3], abs=0.05)
    turns = [int((w[1:] * w[:-1] < 0).sum()) for w in (cut.views["audio"][0] for cut in cuts)]
    assert turns == sorted(turns)
    assert turns[-1] > 3 * turns[0]  # the pitch rises from clip to clip


def test_the_picture_at_test_time_is_not_squashed(tmp_path: Path) -> None:
    picture = torch.zeros(120, 240, 3, dtype=torch.uint8)  # twice as wide as high, a white square in the middle
    picture[30:90, 90:150] = 255
    (tmp_path / "in").mkdir()
    frames = picture[None].repeat(25, 1, 1, 1).numpy()
    write(tmp_path / "in" / "wide.mp4", picture_times=[k / 25 for k in range(25)], pictures=frames)
    index_source(str(tmp_path / "in"), tmp_path / "col", workers=0)
    view = VideoView(frames=2, fps=8.0, size=60, margin=1.0)
    seen = MediaSource(Collection.open(tmp_path / "col"), {"video": view}).read_window(torch.tensor([0]), 0, 1)
    white = seen.views["video"][0, 0, 0] > 128
    high, wide = int(white.any(1).sum()), int(white.any(0).sum())
    assert abs(high - wide) <= 1  # a square stays one
    assert abs(high - 30) <= 1  # at half the size: the short side was scaled, the long one cut


def test_grids_show_what_is_found(tmp_path: Path) -> None:
    files = write_grids(tiny_model(), DigitsWorld("A", "test", 40), tmp_path, spaces=("projected", "backbone"))
    views = ("video", "audio")
    ends = ("", "@backbone")
    assert {f.name for f in files} == {f"retrieval-{a}-to-{b}{e}.png" for a in views for b in views for e in ends}
    picture = imread(files[0])
    assert picture.shape == (5 * 104, 8 * 104 + 8, 3 if picture.shape[2] == 3 else 4)
    assert picture.std() > 0.05


def test_an_embedding_of_zeros_asks_nothing() -> None:
    source = DigitsWorld("A", "test", 12)
    features = extract_locally(tiny_model(), source, torch.arange(12))
    for clips in features.clips.values():
        clips[:9] = 0
    both = torch.arange(12)
    assert draw_grid(features, source, "video", "audio", both, 0).shape[1] == 3 * 104
    found = retrieval_examples(features, Clips(source, 10**6), ["video", "audio"], 0)
    assert found and {example.query.id for example in found} <= set(source.ids[9:])
    for clips in features.clips.values():
        clips[:] = 0
    assert (draw_grid(features, source, "video", "audio", both, 0) == 1).all()
    assert retrieval_examples(features, Clips(source, 10**6), ["video", "audio"], 0) == []


def test_windows_of_evaluation_repeat() -> None:
    one, two = (extract(tiny_model(), DigitsWorld("A", "test", 9), batch_size=4) for _ in "ab")
    assert torch.equal(one.clips["video"], two.clips["video"])


def test_by_class_nothing_is_said_where_no_two_recordings_share_one() -> None:
    source = NumberSource(12)
    source.labels, source.classes = torch.arange(12), [str(number) for number in range(12)]
    result = evaluate("retrieval", PassThrough(), None, source, name="x")
    names = {m.name for m in result.results}
    assert "class_p1_v2a/x" in names and not any(name.endswith(("v2v/x", "a2a/x")) for name in names if "class" in name)
    assert "v2v: no two test recordings have one class; by class it is left out" in result.notes
