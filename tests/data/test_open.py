import pytest
import torch
from numbers_source import VIEWS, Numbers

from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.shuffle import ShuffledPairs
from coview.errors import UsageError


def test_a_collection_and_its_splits(bad_collection):
    name = str(bad_collection.folder)
    whole = open_source(name, VIEWS)
    parts = [open_source(name, VIEWS, split=split) for split in ("train", "test")]
    assert sorted(i for part in parts for i in part.ids) == whole.ids and len(whole) == 15
    assert len({part.fingerprint for part in [whole, *parts]}) == 3
    with pytest.raises(UsageError, match="no recording belongs to the split 'validation'"):  # of so few none is left
        open_source(name, VIEWS, split="validation")
    with pytest.raises(UsageError, match="which views"):
        open_source(name, None)


def test_a_memory_mapped_set_and_its_control(tmp_path):
    folder = str(fill(Numbers(6), tmp_path / "m"))
    assert open_source(folder, None).ids == Numbers(6).ids
    assert isinstance(open_source(folder, VIEWS, shuffled=True, seed=1), ShuffledPairs)


def test_worlds():
    source = open_source("digits-av:C", None, split="test", seed=3)
    assert source.name == "digits-av:C" and source.read(torch.arange(2), torch.arange(2)).present["video"].all()
    assert open_source("objects-av:object+action", None).fingerprint != open_source("objects-av", None).fingerprint


def test_names_that_are_nothing(tmp_path):
    with pytest.raises(UsageError, match="coview index"):
        open_source(str(tmp_path), VIEWS)
    with pytest.raises(UsageError, match="digits-av, objects-av"):
        open_source("nothing", VIEWS)
