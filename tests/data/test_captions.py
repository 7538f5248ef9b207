"""Captions as a view: read from the index, absent where there is none, kept by a memory-mapped copy."""

import json

import pytest
import torch
from bad_media import write

from coview.data.augment import PRESETS
from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.memmap import MemmapSource, fill
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.text import decode_characters
from coview.data.views import AudioView, FeaturesView, TextView, VideoView, read_view
from coview.errors import SettingsError, UsageError
from coview.settings import to_dict

VIEWS = {"audio": AudioView(seconds=0.5, sample_rate=8000, mels=16), "text": TextView(length=12)}
CAPTIONS = ["A Horse", None, "Two horses, running"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    lines = []
    for index, caption in enumerate(CAPTIONS):
        write(folder / f"{index}.mp4", seconds=1.0)
        lines.append({"path": f"{index}.mp4", "id": str(index)} | ({"caption": caption} if caption else {}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return index_source(str(manifest), folder / "collection", workers=0)


def test_a_text_view_is_the_caption_of_the_recording(collection):
    source = MediaSource(collection, VIEWS)
    rows = torch.arange(3)
    batch = source.read(rows, sample_keys(0, 0, rows))
    assert batch.present["text"].tolist() == [True, False, True]
    assert [decode_characters(codes) for codes in batch.views["text"]] == ["a horse", "", "two horses, "]
    assert source.read_window(rows, 1, 2).views["text"].equal(batch.views["text"])
    model = Preprocess(VIEWS, PRESETS["none"])(batch, train=True)
    assert model.views["text"].equal(batch.views["text"])


def test_a_stored_copy_keeps_the_codes(collection, tmp_path):
    source = MediaSource(collection, VIEWS)
    stored = MemmapSource(fill(source, tmp_path / "set"))
    rows = torch.arange(3)
    assert stored.views == VIEWS
    assert stored.read_window(rows, 0, 1).views["text"].equal(source.read_window(rows, 0, 1).views["text"])


def test_features_are_not_cut_from_files(collection):
    with pytest.raises(UsageError, match="embed them first"):
        MediaSource(collection, {"features": FeaturesView(dim=4)})


@pytest.mark.parametrize("view", [VideoView(after=(2.0, 8.0)), AudioView(), TextView(), FeaturesView(dim=3)])
def test_views_survive_being_written(view):
    assert read_view(json.loads(json.dumps(to_dict(view)))) == view


def test_an_unknown_kind_of_view_is_named():
    with pytest.raises(SettingsError, match="smell"):
        read_view({"stream": "smell"})
