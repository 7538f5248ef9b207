"""The feature bank: the same numbers as in memory, on any number of processes, and clusters from the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import worlds

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.synthetic import parse_world
from coview.embedding import bank
from coview.embedding.bank import FeatureBank, write_bank
from coview.embedding.extract import extract
from coview.errors import CoviewError
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xdc import XDCSettings
from coview.model import Model
from coview.objectives.kmeans import kmeans

ROWS = 50


def parts():
    torch.manual_seed(0)
    method = build("xdc", XDCSettings.tiny(), Facts(rows=ROWS))
    source = parse_world("digits-av:A", "train", seed=0, views=method.views, count=ROWS)
    return Model(method, Preprocess(method.views, PRESETS["none"]), {}), source


def write(folder, precision="float32"):
    bank.BLOCK = 16
    model, source = parts()
    found = write_bank(model, source, Path(folder), precision=precision)
    return {view: value.clone() for view, value in found.values.items()}


def test_the_files_hold_what_memory_would(tmp_path):
    model, source = parts()
    expected = extract(model, source, space="backbone")
    for view, values in write(tmp_path / "bank").items():
        torch.testing.assert_close(values, expected.values[view], rtol=1e-5, atol=1e-5)
    assert FeatureBank.open(tmp_path / "bank").present["audio"].all()
    half = write(tmp_path / "half", "float16")
    assert half["video"].dtype == torch.float16
    torch.testing.assert_close(half["video"].float(), expected.values["video"], rtol=1e-2, atol=1e-2)


def test_clusters_of_the_files(tmp_path):
    values = write(tmp_path / "bank")
    found = FeatureBank.open(tmp_path / "bank").values
    both = [found["video"], found["audio"]]
    expected = kmeans([values["video"], values["audio"]], 5, seed=0, unit=True)
    assert torch.equal(kmeans(both, 5, seed=0, unit=True).labels, expected.labels)


@pytest.mark.parametrize("world", [2, 4])
def test_every_process_writes_its_own_rows(tmp_path, world):
    expected = write(tmp_path / "alone")
    for found in worlds.run(world, write, str(tmp_path / "shared")):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_what_is_not_complete_is_refused(tmp_path):
    write(tmp_path / "bank")
    (tmp_path / "bank" / "bank.json").unlink()
    with pytest.raises(CoviewError, match="not a complete"):
        FeatureBank.open(tmp_path / "bank")
    (tmp_path / "file").write_text("")
    with pytest.raises(CoviewError, match="cannot be written"):
        write(tmp_path / "file" / "bank")
