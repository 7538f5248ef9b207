"""Films of a run: stored where that pays, and then the run is the one on a prepared copy, from its first step on."""

import dataclasses

import making
import numpy as np
import pytest
import worlds

from coview import parallel
from coview.data.augment import PRESETS
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.open import open_source
from coview.data.shards import films as kept
from coview.data.shards.cached import CachedSource
from coview.data.shards.paying import balance, cut_of
from coview.data.shards.write import prepare
from coview.errors import SettingsError, UsageError
from coview.methods import views_of
from coview.training.films import through_cache
from coview.training.loop import train
from coview.training.settings import recommended, run_from_dict, run_to_dict


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(0)
    for n in range(8):
        sound = generator.normal(0, 0.2, (1, 16000)).clip(-1, 1).astype(np.float32)
        times, pictures = [k / 16 for k in range(32)], making.steps(32, 48)
        making.write(
            folder / f"{n}.mp4", picture_times=times, pictures=pictures, sound=sound, rate=8000, options={"g": "250"}
        )
    return index_source(str(folder), tmp_path_factory.mktemp("index") / "films", workers=0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "coview" / "films"


def settings(folder, **changes):
    base = recommended("infonce", tiny=True)
    usual = {"epochs": 3, "batch_size": 4, "device": "cpu", "workers": 0, "films": "stored"}
    own = dataclasses.replace(base.train, **(usual | changes))
    return dataclasses.replace(base, collection=str(folder), split=None, train=own, augment=PRESETS["digits"])


def opened(run):
    views = views_of(run.method, run.method_settings)
    return open_source(run.collection, views, split=None), views


def test_a_run_on_stored_films_is_that_on_a_prepared_copy_and_goes_on_without_room(
    collection, tmp_path, home, monkeypatch, capsys
):
    run = settings(collection.folder)
    cut = cut_of(opened(run)[0].views)
    prepare(collection, tmp_path / "shards", cut, Serial())
    copy = train(settings(tmp_path / "shards", films="direct"), tmp_path / "copy", quiet=True)
    expected = (copy / "metrics.jsonl").read_bytes()
    stored = train(run, tmp_path / "stored")
    assert "Films are decoded once and stored" in capsys.readouterr().err
    assert (stored / "metrics.jsonl").read_bytes() == expected
    assert len(list(home.glob("*/??/*.tar"))) == 8
    kept.remove(home, "all")
    monkeypatch.setattr(kept, "RESERVE", 1 << 60)  # from the first film on
    full = train(run, tmp_path / "full")
    assert "no more films are stored" in capsys.readouterr().err
    assert (full / "metrics.jsonl").read_bytes() == expected and not list(home.glob("*/??/*"))
    direct = train(settings(collection.folder, films="direct"), tmp_path / "direct", quiet=True)
    assert (direct / "metrics.jsonl").read_bytes() != expected


def decided(run, before=None):
    source, views = opened(run)
    made, read, said = through_cache(run, source, views, before)
    assert (made.train.films == "stored") == isinstance(read, CachedSource)
    return made.train.films, said


def test_what_is_decided_where_nothing_is_asked(collection, home, monkeypatch):
    long = settings(collection.folder, films="auto", epochs=5000)
    choice, said = decided(long)
    assert choice == "stored" and "saves about" in said and str(home) in said and "--train.films direct" in said
    assert decided(settings(collection.folder, films="auto")) == ("direct", "")  # three epochs
    choice, said = decided(dataclasses.replace(long, augment=PRESETS["xid"]))
    assert choice == "direct" and "crops" in said and "--train.films stored" in said
    assert decided(settings("digits-av:A", films="auto", epochs=5000)) == ("direct", "")
    assert decided(dataclasses.replace(long), before="direct") == ("direct", "")
    assert decided(settings(collection.folder, films="auto"), before="stored")[0] == "stored"
    monkeypatch.setattr(kept, "RESERVE", 1 << 60)
    choice, said = decided(long)
    assert choice == "direct" and "no room" in said
    with pytest.raises(SettingsError, match="holds no films"):
        decided(settings("digits-av:A"))


def decided_here(run, root):
    """Decide on every rank, of which the last one's disk is full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root))
        if parallel.rank() == parallel.world_size() - 1:
            patch.setattr(kept, "RESERVE", 1 << 60)
        return decided(run)[0]


@pytest.mark.parametrize("world", [1, 2])
def test_all_processes_decide_alike_where_one_has_no_room(collection, tmp_path, world):
    long = settings(collection.folder, films="auto", epochs=5000)
    assert worlds.run(world, decided_here, long, tmp_path) == ["direct"] * world


def test_long_groups_of_pictures_and_many_epochs_pay(collection):
    source, _ = opened(settings(collection.folder))
    cut = cut_of(source.views)
    none, many = balance(source, cut, 0), balance(source, cut, 10000)
    assert not none.pays and many.pays and many.spent == balance(source, cut, 20000).spent
    assert 0 < many.bytes == balance(source, cut, 20000).bytes


def test_views_that_no_copy_holds_are_refused(collection):
    source, _ = opened(settings(collection.folder))
    with pytest.raises(UsageError, match="no view shows a picture"):
        cut_of({"audio": source.views["audio"]})
    other = dataclasses.replace(source.views["video"], size=64)
    with pytest.raises(UsageError, match="more than one size"):
        cut_of({**source.views, "video_2": other})
    beside = dataclasses.replace(source.views["video"], track="depth")
    with pytest.raises(UsageError, match="depth"):
        cut_of({"video": beside})


def test_a_run_of_before_goes_on_without_stored_films(collection):
    data = run_to_dict(settings(collection.folder))
    del data["train"]["films"]
    assert run_from_dict(data).train.films == "direct"
    assert run_from_dict({**data, "train": {"epochs": 3}}).train.films == "auto"
