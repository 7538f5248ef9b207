"""A run goes on with the words and labels that it began with, or says that they are others."""

import json
from pathlib import Path

import pytest

from coview.cli.main import main
from coview.data.open import open_source
from coview.errors import UsageError
from coview.media.encode import write_clip
from coview.randomness import make_key, normal
from coview.training.loop import train
from coview.training.settings import load_run


def collection(folder: Path, name: str, **changed: str) -> Path:
    """Index six sounds with captions and labels, the first of which may be other ones."""
    lines = []
    for index in range(6):
        if not (folder / f"{index}.mp4").exists():
            write_clip(folder / f"{index}.mp4", None, None, 0.1 * normal(make_key(index), 0, 19_200), 16_000)
        lines.append({"path": f"{index}.mp4", "caption": f"sound {index % 3}", "label": "ab"[index % 2]})
    lines[0] |= changed
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert main(["index", str(folder / f"{name}.jsonl"), "-o", str(folder / name), "--workers", "0"]) == 0
    return folder / name


def test_a_changed_caption_or_label_stops_a_resume(tmp_path: Path) -> None:
    words = ["pretrain", "infonce", "--tiny", "--collection", str(collection(tmp_path, "first")), "--split", "None"]
    words += ["-o", str(tmp_path / "run"), "--method.views", "audio", "text", "--train.steps", "2"]
    assert main([*words, "--train.batch-size", "4", "--train.workers", "0", "--train.device", "cpu"]) == 0
    settings = load_run(tmp_path / "run" / "settings.yaml")
    views = settings.method_settings.specs()
    for name, changed in (("caption", {"caption": "another"}), ("label", {"label": "b"})):
        other = open_source(str(collection(tmp_path, name, **changed)), views, split=None)
        with pytest.raises(UsageError, match=r"fingerprint .* now has .*Continue on the old collection"):
            train(settings, tmp_path / "run", resume=True, source=other, quiet=True)
    train(settings, tmp_path / "run", resume=True, quiet=True)
