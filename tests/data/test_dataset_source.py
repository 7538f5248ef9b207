"""A map-style dataset as a source: absent, damaged and wrong rows, and a run on it through the Python surface."""

import pickle

import numpy as np
import pytest
import torch

import coview
from coview.data.dataset_source import DatasetSource
from coview.data.loader import Loader
from coview.data.views import FeaturesView
from coview.errors import DataProblemsError, InputError, UsageError

VIEWS = {"left": FeaturesView(dim=12), "right": FeaturesView(dim=9), "words": FeaturesView(dim=2, steps=3)}


class Rows:
    """Forty rows; `changes` are given for some of them, an error is raised."""

    def __init__(self, changes=None):
        self.changes = changes or {}

    def __len__(self):
        return 40

    def __getitem__(self, row):
        if isinstance(change := self.changes.get(row, {}), Exception):
            raise change
        draw = np.random.default_rng(row)
        left = draw.normal(size=12).astype(np.float32)
        item = {"left": left, "right": torch.from_numpy(left[:9] * 2), "words": np.full((2, 2), row, np.float32)}
        return item | change if isinstance(change, dict) else change


def test_rows_become_batches():
    source = DatasetSource(Rows({3: {"right": None}}), VIEWS, labels=[k % 2 for k in range(40)], classes=["a", "b"])
    batch = source.read_window(torch.tensor([3, 5]), 0, 1)
    assert batch.present["right"].tolist() == [False, True] and not batch.views["right"][0].any()
    torch.testing.assert_close(batch.views["left"][1, :9] * 2, batch.views["right"][1])
    assert batch.length["words"].tolist() == [2, 2] and batch.views["words"][1].tolist() == [[5, 5], [5, 5], [0, 0]]
    assert batch.label.tolist() == [1, 1] and source.ids[3] == "3" and source.windows(4) == 1
    assert pickle.loads(pickle.dumps(source)).fingerprint == source.fingerprint
    assert DatasetSource(Rows(), VIEWS).fingerprint != source.fingerprint
    loader = Loader(source, batch_size=8, seed=0)
    assert len(next(loader.stream())) == 8


def test_what_cannot_be_read_is_replaced_and_named():
    source = DatasetSource(Rows({3: OSError("gone"), 4: {"left": np.full(12, np.nan, np.float32)}}), VIEWS)
    key = torch.arange(3) + 7
    batch = source.read(torch.tensor([3, 4, 5]), key)
    assert [row for row, _ in batch.replaced] == [3, 4] and "OSError: gone" in batch.replaced[0][1]
    assert "not finite" in batch.replaced[1][1] and not {3, 4} & set(batch.row.tolist())
    assert source.read(torch.tensor([3, 4, 5]), key).row.tolist() == batch.row.tolist()
    window = source.read_window(torch.tensor([3, 5]), 0, 1)
    assert window.present["left"].tolist() == [False, True] and window.replaced[0][0] == 3
    broken = DatasetSource(Rows(dict.fromkeys(range(40), OSError("gone"))), VIEWS)
    with pytest.raises(DataProblemsError, match="gone"):
        broken.read(torch.tensor([0]), torch.tensor([0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left": torch.zeros(12, dtype=torch.float64)}, r"row 2 has 'left' as torch.float64 \(12,\); expected"),
        ({"left": torch.zeros(11)}, r"expected torch.float32 \(12,\)"),
        ({"words": torch.zeros(4, 2)}, r"expected torch.float32 \(3, 2\)"),
        ([1, 2], "row 2 gives list; expected a dict of left, right, words"),
    ],
)
def test_rows_of_another_form_are_an_error_that_names_them(change, said):
    with pytest.raises(InputError, match=said):
        DatasetSource(Rows({2: change}), VIEWS).read_window(torch.tensor([2]), 0, 1)


def test_facts_that_do_not_fit_are_refused():
    for options, said in (
        ({"labels": [0] * 39, "classes": ["a"]}, "expected 40 labels"),
        ({"labels": [1] * 40, "classes": ["a"]}, "from -1 to 0"),
        ({"ids": ["x"] * 40}, "expected 40 different ids, found 1"),
    ):
        with pytest.raises(UsageError, match=said):
            DatasetSource(Rows(), VIEWS, **options)
    with pytest.raises(UsageError, match="0 rows"):
        DatasetSource([], VIEWS)


def test_a_method_learns_from_a_dataset(tmp_path):
    settings = {
        "method.views": {name: {"stream": "features", "dim": VIEWS[name].dim} for name in ("left", "right")},
        "method.dimension": 3, "method.hidden": [8], "train.epochs": 2, "train.batch_size": 40, "train.device": "cpu",
    }  # fmt: skip
    model = coview.pretrain("dcca", Rows(), tmp_path / "run", settings=settings, quiet=True)
    stored = coview.embed(model, Rows(), tmp_path / "embeddings", windows=1)
    assert len(stored.ids) == 40
    test = coview.open(Rows(), model)
    assert coview.open(test, model) is test
    assert coview.evaluate("retrieval", model, (None, test)).results[0].n == 40
