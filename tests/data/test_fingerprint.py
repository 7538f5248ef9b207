"""A collection's fingerprint covers all that views and protocols read: kept features and runs hang on it."""

import json

import pytest

from coview.data.collection import Collection
from coview.data.index import index_source
from coview.media.encode import write_clip
from coview.randomness import make_key, normal

ROWS = [
    {"path": f"{row}.mp4", "id": f"id{row}", "label": "ab"[row % 2], "split": "train", "caption": f"words {row}",
     "group": f"g{row}", "flags": "", "folds": "train test", "start": 0.0, "end": 1.0, "track:words": "words.txt"}
    for row in range(3)
]  # fmt: skip


def fingerprint(folder, rows):
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    index_source(str(folder / "manifest.jsonl"), folder / "c", workers=0, overwrite=True)
    return Collection.open(folder / "c").fingerprint


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for row in range(4):
        write_clip(folder / f"{row}.mp4", None, None, 0.1 * normal(make_key(row), 0, 16000), 8000)
    for name in ("words.txt", "others.txt"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder, fingerprint(folder, ROWS)


@pytest.mark.parametrize(
    ("column", "value"),
    [("path", "3.mp4"), ("id", "id9"), ("label", "b"), ("split", "test"), ("caption", "other words"), ("group", "g1"),
     ("flags", "nomirror"), ("folds", "test train"), ("start", 0.5), ("end", 0.5), ("track:words", "others.txt")],
)  # fmt: skip
def test_every_column_of_a_manifest_counts(media, column, value):
    folder, before = media
    assert fingerprint(folder, [ROWS[0] | {column: value}, *ROWS[1:]]) != before


def test_the_same_rows_are_known_again(media):
    folder, before = media
    assert fingerprint(folder, ROWS) == before
