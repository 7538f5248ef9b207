"""A folder of still pictures with captions: each finds the other, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from coview.cli.main import main

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 50, 220), "yellow": (230, 220, 40)}


@pytest.mark.slow
def test_captions_find_their_pictures(tmp_path, capsys):
    draw, lines = np.random.default_rng(0), []
    for number in range(96):
        name = list(COLOURS)[number % len(COLOURS)]
        noise = draw.normal(0, 25, (40, 48, 3))
        Image.fromarray(np.uint8(np.clip(COLOURS[name] + noise, 0, 255))).save(tmp_path / f"{number}.png")
        split = "train" if number < 64 else "test"
        lines.append({"path": f"{number}.png", "caption": f"a {name} square", "label": name, "split": split})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data, run = str(tmp_path / "collection"), str(tmp_path / "run")
    assert main(["index", str(tmp_path / "manifest.jsonl"), "-o", data, "--workers", "0"]) == 0
    words = ["--tiny", "--method.views", "image", "text", "--method.positives", "label", "--preset", "none"]
    words += ["--train.steps", "40", "--train.batch-size", "16", "--train.workers", "0", "--train.device", "cpu"]
    assert main(["pretrain", "infonce", "--collection", data, "-o", run, *words, "--optimiser.lr", "0.003"]) == 0
    capsys.readouterr()
    asked = ["--model", run, "--collection", data, "--name", "x", "--windows", "1", "--device", "cpu", "--json"]
    assert main(["evaluate", "retrieval", *asked]) == 0
    figures = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    for way in ("t2i", "i2t"):
        assert figures[f"class_p1_{way}/x"]["value"] > 0.9, way  # chance .25
        assert figures[f"class_p1_{way}/x"]["n"] == 32
