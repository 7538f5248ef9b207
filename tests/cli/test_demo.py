"""The demo from end to end on a world of a few clips; .ci/check_demo.py checks what the whole one promises."""

import json

import pytest

from coview.cli import demo
from coview.data import synthetic
from coview.errors import UsageError

pytestmark = pytest.mark.slow


class Here:
    """An executor that works in this process, where the world is small."""

    def __init__(self, workers, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, action, *arguments):
        action(*arguments)
        return self

    def result(self):
        pass


def test_every_row_and_file_is_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(synthetic.COUNTS, "digits-av", {"train": 192, "validation": 64, "test": 96})
    monkeypatch.setattr(demo, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(demo, "INDEXED", 12)
    monkeypatch.setattr(demo, "ASKED", 4)
    monkeypatch.setattr(demo, "EPOCHS", dict.fromkeys(demo.EPOCHS, 1))
    monkeypatch.setattr("coview.evaluation.gates.statistics_rows", lambda world: [])
    out = tmp_path / "demo"
    assert demo.main(["-o", str(out), "--json", "--seed", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in found["results"]}
    for model in ("xid", "shuffled", "random"):
        assert {f"video_probe/{model}", f"audio_knn/{model}", f"class_p1_v2a/{model}"} <= names
    assert {"video_probe/supervised-av", "audio_probe/supervised-av", "search_p1_a2v/xid", "search_p1_v2a/xid"} <= names
    assert found["seed"] == 3 and found["clips_written"] == 16 and len(found["searches"]) == 8
    assert all(len(answer["hits"]) == 5 for answer in found["searches"])
    assert 0.2 < found["peak_memory_gb"] < 4 and "set" in found["peak_memory_is"]
    assert (out / "xid" / "report.html").stat().st_size > 10_000
    # Two phases of the picture are stored, the sound once.
    pictures, sounds = ((out / "world" / "train" / f"{name}.npy").stat().st_size for name in ("video", "audio"))
    assert pictures > 2 * 192 * 3 * 4 * 32 * 32 and sounds < 192 * 16000 * 2 + 1000
    with pytest.raises(UsageError, match="not empty"):
        demo.main(["-o", str(out)])
