"""Odd and bad pictures through the command line: each is used, counted, or refused with a sentence; never NaN."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from coview.cli.main import main

SIZE = (60, 80)
METHODS = ("colorization", "larsson-colorization", "split-brain", "context-encoder", "relative-position")


def blocks(generator, channels=3, size=SIZE):
    """Return a picture of squares of 10 pixels, uint8 (*size, channels)."""
    coarse = generator.integers(0, 256, (size[0] // 10 + 1, size[1] // 10 + 1, channels), dtype=np.uint8)
    return coarse.repeat(10, 0).repeat(10, 1)[: size[0], : size[1]]


def odd(folder):
    """Write pictures of every mode, a very small one, and half a file."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    rgb = blocks(draw)
    indexed = Image.fromarray(rgb).quantize(16)
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    indexed.save(folder / "palette.png")
    indexed.save(folder / "clear.png", transparency=0)
    Image.fromarray(blocks(draw, 4)).save(folder / "alpha.png")
    Image.fromarray(np.dstack([rgb, 0 * rgb[..., :1]])).save(folder / "unseen.png")
    Image.fromarray(blocks(draw, 2)).save(folder / "grey-alpha.png")
    Image.fromarray(rgb[..., 0] > 99).save(folder / "bits.png")
    Image.fromarray(blocks(draw, size=(1, 2))).save(folder / "small.png")
    (folder / "half.png").write_bytes((folder / "alpha.png").read_bytes()[:300])
    return folder


def index(source, out, code=0):
    assert main(["index", str(source), "-o", str(out), "--workers", "1"]) == code
    return str(out)


def pretrain(method, collection, out, *more):
    """Return the exit code of two steps; whatever was learnt is finite."""
    fast = ("--tiny", "--train.steps", "2", "--train.workers", "0", "--train.device", "cpu")
    code = main(["pretrain", method, *fast, "--collection", collection, "-o", str(out), *more])
    log = out / "metrics.jsonl"
    for line in log.read_text().splitlines() if log.exists() else ():
        numbers = [value for value in json.loads(line).values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers)), line
    return code


def paint(run, source, out, *more):
    return main(["paint", "--model", str(run), "--input", str(source), "-o", str(out), "--device", "cpu", *more])


@pytest.mark.slow
def test_odd_pictures_are_learnt_from_painted_counted_or_refused(tmp_path, capsys):
    folder = odd(tmp_path / "odd")
    collection = index(folder, tmp_path / "collection", code=3)
    assert "1 quarantined" in capsys.readouterr().out
    for method in METHODS:
        assert pretrain(method, collection, tmp_path / method) == 0
    assert "pictures are smaller than 'image' (64 pixels) and are enlarged" in capsys.readouterr().err
    for method in ("colorization", "larsson-colorization", "split-brain"):
        assert paint(tmp_path / method, folder, tmp_path / f"{method}-out") == 3
        assert "half.png: truncated" in capsys.readouterr().err
        assert len(list((tmp_path / f"{method}-out").rglob("*.png"))) >= 9

    everywhere = tmp_path / "mask.png"
    Image.new("L", SIZE[::-1], 255).save(everywhere)
    filled = paint(tmp_path / "context-encoder", folder / "alpha.png", tmp_path / "filled", "--mask", str(everywhere))
    assert filled == 3 and "nothing is left around it" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        pretrain("relative-position", collection, tmp_path / "grid", "--method.patch", "40")
    assert refused.value.code == 2
    assert "smaller than a grid of 2 x 2" in capsys.readouterr().err


@pytest.mark.slow
def test_grey_pictures_teach_no_colour_and_bad_depth_is_counted(tmp_path, capsys):
    draw = np.random.default_rng(0)
    grey = tmp_path / "grey"
    grey.mkdir()
    for number in range(6):
        Image.fromarray(blocks(draw, 1)[..., 0]).save(grey / f"{number}.png")
    collection = index(grey, tmp_path / "greys")
    for method in METHODS[:3]:
        assert pretrain(method, collection, tmp_path / method) == 3
        assert "grey pictures are left out" in capsys.readouterr().err

    pairs = tmp_path / "pairs"
    pairs.mkdir()
    good = np.full(SIZE, 2.0, np.float32)
    wrong = {
        "turned": good.T,
        "nan": np.where(good.cumsum(1) > 9, np.nan, good),
        "far": good * 1e30,
        "deep": good[None],
    }
    lines = ["path,track:depth,split"]
    for name, depth in (wrong | {f"good{number}": good for number in range(4)}).items():
        Image.fromarray(blocks(draw)).save(pairs / f"{name}.png")
        np.save(pairs / f"{name}.npy", depth)
        lines.append(f"{name}.png,{name}.npy,train")
    (pairs / "pairs.csv").write_text("\n".join(lines) + "\n")
    collection = index(pairs / "pairs.csv", tmp_path / "rgbd")
    for form in ("metres", "hha"):
        more = ("--method.pair", "rgb-d", "--method.depth.form", form)
        assert pretrain("split-brain", collection, tmp_path / form, *more) == 3
        said = capsys.readouterr().err
        assert all(f"{name}.png: " in said for name in wrong) and "good" not in said
