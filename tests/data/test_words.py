"""Cells of a manifest as words: what is equal is one class, what is missing is none, and what was changed is said."""

import json
import wave

import pytest

from coview.data.index import index_source
from coview.data.words import alike, word_of
from coview.errors import UsageError


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        (float("nan"), None),
        (None, None), ("", None), (" \t", None), (1, "1"), (1.0, "1"), ("1 ", "1"), ("1.0", "1.0"),
        (1.5, "1.5"), (True, "True"), (" a dog ", "a dog"), ("cafe\u0301", "caf\u00e9"), (2**60, str(2**60)),
    ],
)  # fmt: skip
def test_words(cell, word):
    assert word_of(cell) == word


@pytest.mark.parametrize("cell", [float("inf"), ["a"], {"a": 1}, b"a", "\ud800"])
def test_what_is_no_word(cell):
    with pytest.raises(ValueError, match="is no"):
        word_of(cell)


def test_classes_that_may_be_meant_as_one_are_said():
    notes = alike(["1", "1.0", "01", "Dog", "dog", "a_b", "a b", "cat", None, "nan"])
    assert [note.split(" differ")[0] for note in notes[:3]] == [
        "the classes '01', '1', '1.0'", "the classes 'a b', 'a_b'", "the classes 'Dog', 'dog'"
    ]  # fmt: skip
    assert notes[3].startswith("the class 'nan' is taken for a word") and len(notes) == 4


def test_signs_that_make_another_word_are_no_way_of_writing_it():
    other = [
        "c",
        "c#",
        "c++",
        "a+",
        "a",
        "R&B",
        "rb",
        "dog \U0001f436",
        "dog \U0001f431",
        "\u0915\u0940",
        "\u0915\u093e",
    ]
    assert alike(other) == []
    assert len(alike(["C++", "c ++", "hip-hop", "hip hop", "rock'n'roll", "rocknroll"])) == 3


def indexed(tmp_path, rows):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x10\x20" * 4000)
    lines = [json.dumps({"path": "a.wav", "id": str(number), **row}) for number, row in enumerate(rows)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    return index_source(str(tmp_path / "m.jsonl"), tmp_path / "c", workers=0)


def test_nan_is_no_class_and_one_is_one_class(tmp_path):
    rows = [{"label": float("nan")}, {"label": 1}, {"label": 1.0}, {"label": "1 "}, {"label": "2"}]
    collection = indexed(tmp_path, rows)
    assert collection.classes == ["1", "2"] and collection.column("label") == [None, "1", "1", "1", "2"]
    said = " ".join(collection.about["notes"])
    assert "column label: 1 cells are NaN" in said and "spaces" in said and "1.0" in said


def test_a_label_that_is_no_word_names_its_row(tmp_path):
    with pytest.raises(UsageError, match="row 2: label"):
        indexed(tmp_path, [{"label": "a"}, {"label": ["a"]}])


def test_parts_that_share_a_file_and_captions_that_name_it_are_said(tmp_path):
    notes = indexed(tmp_path, [{"split": "train", "caption": "a"}, {"split": "test", "caption": "a tone"}]).about[
        "notes"
    ]
    assert notes[0].startswith("1 of 2 captions are names of their own files, such as a.wav")
    assert notes[1] == "1 recordings of test are in train too (1 by the file's bytes), such as 1 is 0"
