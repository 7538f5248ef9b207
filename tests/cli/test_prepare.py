import json
import subprocess
import sys

import pytest
from measured import collection

from coview.cli.main import main
from coview.data.memmap import MemmapSource
from coview.data.shards.films import Films, default_folder
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.read import ShardSource


def test_a_collection_becomes_shards_that_train(tmp_path, capsys):
    command = ["prepare", str(collection()), "-o", str(tmp_path / "s"), "--size", "64", "--margin", "1", "--json"]
    assert main([*command, "--workers", "0", "--recordings-per-shard", "8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["recordings"] == 30 and result["shards"] == 4 and result["complete"] and not result["problems"]
    assert len(ShardSource(tmp_path / "s", split="train")) < 30
    assert main([*command, "--workers", "0", "--recordings-per-shard", "9"]) == 2
    assert "another settings" in capsys.readouterr().err


def test_memory_mapped_arrays(tmp_path, capsys):
    command = ["prepare", str(collection()), "-o", str(tmp_path / "m"), "--memmap", "--clips", "2", "--size", "32"]
    assert main([*command, "--split", "test", "--frames", "4", "--sound-seconds", "0.5", "--json"]) == 0
    source = MemmapSource(tmp_path / "m")
    assert json.loads(capsys.readouterr().out)["recordings"] == len(source) and source.cuts == 2
    assert source.views["video"].frames == 4 and source.views["audio"].seconds == 0.5


def test_wrong_use(tmp_path, capsys):
    assert main(["prepare", str(tmp_path), "-o", str(tmp_path / "s")]) == 2
    assert "coview index" in capsys.readouterr().err
    assert main(["prepare", str(collection()), "-o", str(tmp_path / "s"), "--split", "test"]) == 2
    assert "--memmap" in capsys.readouterr().err
    assert main(["prepare", str(collection()), "-o", str(tmp_path / "s"), "--quality", "101"]) == 2
    assert "quality in 1..100" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_make_what_one_process_makes(tmp_path):
    base = [sys.executable, "-m", "coview", "prepare", str(collection()), "--size", "32", "--recordings-per-shard", "7"]
    subprocess.run([*base, "-o", str(tmp_path / "one"), "--workers", "0"], check=True, capture_output=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *base[1:]]
    subprocess.run([*launch, "-o", str(tmp_path / "two")], check=True, capture_output=True, timeout=240)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()


def test_stored_films_are_listed_and_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["prepare", "--list"]) == 0
    assert "clips: 0" in capsys.readouterr().out
    films = Films(default_folder(), PrepareSettings(), 10**9)
    films.open()
    place = films.place(["film"])
    assert films.store(place, 0, lambda: ({"id": "film"}, []))
    assert main(["prepare", "--list"]) == 0
    assert f"{films.folder.name}: 1 clips" in capsys.readouterr().out
    assert main(["prepare", "--list", "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["stored"]
    assert entry["name"] == films.folder.name and entry["bytes"] == place.stat().st_size
    assert main(["prepare", "--remove", "nothing"]) == 2
    assert films.folder.name in capsys.readouterr().err
    assert main(["prepare", f"--remove={films.folder.name}"]) == 0
    assert not films.folder.exists()
