"""Settings of a run: strict, complete, all problems at once, equal after a round trip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import yaml

from coview.errors import SettingsError, UsageError
from coview.training.settings import choose_device, load_run, resolve, run_from_dict, run_to_dict


def test_the_file_gives_the_settings_back(tmp_path):
    settings = resolve(tiny.settings(), device="cpu", rows=40, world=2)
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(run_to_dict(settings), sort_keys=False))
    assert load_run(path) == settings
    assert yaml.safe_load(path.read_text())["method"] == {
        "name": "tiny",
        "width": 6,
        "dropout": 0.3,
        "poison": -1,
        "least": 1,
    }


def test_a_person_may_write_less():
    settings = run_from_dict({"method": "tiny", "collection": "here", "train": {"steps": 7}})
    assert settings.method_settings == tiny.TinySettings() and settings.train.steps == 7


def test_all_problems_at_once_with_the_nearest_names():
    with pytest.raises(SettingsError) as wrong:
        run_from_dict(
            {
                "method": {"name": "tiny", "widht": 3},
                "train": {"epoch": 3, "batch_size": "many"},
                "optimiser": {"lr": -1.0},
            }
        )
    text = "\n".join(wrong.value.problems)
    for part in (
        "method.widht",
        "'width'",
        "train.epoch",
        "'epochs'",
        "train.batch_size",
        "lr > 0",
        "collection: missing",
    ):
        assert part in text, part
    with pytest.raises(UsageError, match="unknown method 'tiney'; did you mean 'tiny'"):
        run_from_dict({"method": "tiney", "collection": "here"})


def test_auto_is_resolved(tmp_path):
    resolved = resolve(tiny.settings(workers="auto", epochs=3), device="cpu", rows=41, world=1).train
    assert (resolved.device, resolved.workers, resolved.steps, resolved.epochs) == ("cpu", 0, 15, 3)
    readers = {}
    for kind, card in (("media", "collection.json"), ("shards", "shards.json"), ("arrays", "memmap.json")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / card).touch()
        wanted = replace(tiny.settings(workers="auto"), collection=str(tmp_path / kind))
        readers[kind] = resolve(wanted, device="cpu", rows=41, world=1).train.workers
    assert readers["media"] == readers["shards"] >= 1
    assert readers["arrays"] == 0  # reading them is a copy, and sending it to another process two more
    by_steps = resolve(tiny.settings(steps=16), device="cpu", rows=41, world=1).train
    assert (by_steps.steps, by_steps.epochs) == (16, 4)
    assert choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(SettingsError, match="'gpu'"):
        choose_device("gpu")
