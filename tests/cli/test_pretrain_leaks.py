"""Training says what other parts of a collection hold of its recordings; 'unseen' is said only where it was checked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from coview.cli.main import main
from coview.cli.options import read_run
from coview.cli.pretrain import leaks, shown
from coview.data.open import open_source
from coview.media.encode import write_clip
from coview.randomness import make_key, normal


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sounds to train on; of the test part's three, one is a copy under another name and one a copy with a tail."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(8):
        write_clip(folder / f"{index}.mp4", None, None, 0.1 * normal(make_key(index), 0, 19_200), 16_000)
    shutil.copy(folder / "0.mp4", folder / "copy.mp4")
    (folder / "tail.mp4").write_bytes((folder / "1.mp4").read_bytes() + bytes(64))
    parts = {"train": "012345", "test": ["copy", "tail", "6"], "validation": ["7", "6"]}
    lines = [{"path": f"{name}.mp4", "id": f"{part}-{name}", "split": part} for part in parts for name in parts[part]]
    lines = [line for line in lines if line["id"] != "validation-6"]
    (folder / "sounds.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert main(["index", str(folder / "sounds.jsonl"), "-o", str(folder / "c"), "--workers", "0"]) in (0, 3)
    return folder / "c"


def test_leaks_are_said_and_unseen_only_where_it_was_checked(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-o", "run", "--tiny", "--collection", str(collection)]
    settings = read_run("pretrain", "xid", words, "").settings
    views = {"audio": settings.method_settings.specs()["audio"]}
    trained = open_source(str(collection), views, split="train", seed=0)
    said = leaks(settings, views, trained)
    assert len(said) == 1 and said[0].startswith("LEAK into the test part: 2 recordings")
    source, note = shown(settings, views, trained)
    assert source.ids == ["validation-7"] or source is trained  # one recording makes no map
    assert "The test part is not shown: 2 recordings" in note and "unseen" not in note
    other = replace(settings, split="validation")
    trained = open_source(str(collection), views, split="validation", seed=0)
    source, note = shown(other, views, trained)
    assert len(source) == 3 and "the test part (3 recordings), unseen in training" in note
    monkeypatch.setattr(type(trained), "contents", None)  # an index of before
    assert "unseen" not in shown(other, views, trained)[1]
