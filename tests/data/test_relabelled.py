"""Other labels than a source's own, from a table."""

import pytest
import torch

from coview.data.relabelled import Relabelled, read_labels
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError


def table(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def test_labels_of_a_table_replace_those_of_a_source(tmp_path):
    source = DigitsWorld("A", "train", 4)
    first, second = source.ids[:2]
    labels = read_labels(
        table(tmp_path, f"path,id,label,how\n,{first},rain,zero-shot\n,{second},dog,key\n,other,cat,\n,x,,\n")
    )
    part = Relabelled(source, labels)
    assert part.classes == ["cat", "dog", "rain"] and part.labels.tolist() == [2, 1, -1, -1]
    rows = torch.tensor([1, 0, 3])
    batch, own = part.read_window(rows, 0, 1), source.read_window(rows, 0, 1)
    assert batch.label.tolist() == [1, 2, -1] and torch.equal(batch.views["video"], own.views["video"])
    assert part.fingerprint not in (source.fingerprint, Relabelled(source, {first: "dog"}).fingerprint)


@pytest.mark.parametrize(
    "text, said",
    [
        ("id,class\na,b\n", "expected columns id and label, found id, class"),
        ("id,label\na,b\na,c\n", "'a' is labelled 'c' here and 'b' before"),
        ("id,label\na,\n", "there is no label in it"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        read_labels(table(tmp_path, text))
