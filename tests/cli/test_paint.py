"""`coview paint`: pictures as they come in, PNG and a page out; nothing is overwritten, everything is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coview.cli.main import main
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.methods import METHODS, build, load_method
from coview.methods.cards import card_of
from coview.methods.contract import Facts
from coview.model import Model

ABOUT = {"collection": {"name": "made", "fingerprint": "", "rows": 16}, "classes": []}
PAINTERS = {slug: paints for slug in METHODS if (paints := card_of(slug).paints)}


def kept(slug, folder):
    torch.manual_seed(0)
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=16))
    Model(method, Preprocess(method.views, AugmentSettings()), ABOUT).save(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    first = {paints: slug for slug, paints in reversed(PAINTERS.items())}
    return {paints: kept(slug, folder / paints) for paints, slug in first.items()}


def drawn(height=40, width=56, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def paint(capsys, code, *words):
    assert main(["paint", *map(str, words), "--device", "cpu", "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if said.out else said.err


def odd_pictures(folder):
    """Write pictures of many modes; return their names."""
    folder.mkdir()
    picture = drawn()
    tagged = Image.Exif()
    tagged[0x0112] = 6
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("1").save(folder / "bits.png")
    picture.convert("L").save(folder / "grey.jpg")
    picture.convert("LA").save(folder / "grey-alpha.png")
    picture.save(folder / "turned.jpg", exif=tagged)
    Image.fromarray(np.arange(40 * 56, dtype=np.uint16).reshape(40, 56) * 29).save(folder / "deep.png")
    clear = picture.convert("RGBA")
    clear.putalpha(picture.convert("L"))
    clear.save(folder / "alpha.webp")
    drawn(1, 1).save(folder / "dot.bmp")
    return {path.name for path in folder.iterdir()}


def test_pictures_of_every_mode_are_coloured_and_broken_ones_counted(models, tmp_path, capsys):
    names = odd_pictures(tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    drawn(4, 50).save(tmp_path / "in" / "long.png")
    before = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    result = paint(capsys, 3, "--model", models["colour"], "--input", tmp_path / "in", "-o", tmp_path / "out")
    assert {Path(one["from"]).name for one in result["pictures"]} == names
    for one in result["pictures"]:
        made, given = Image.open(one["picture"]), Image.open(one["from"])
        assert made.mode == "RGB"
        turned = given.size[::-1] if "turned" in one["from"] else given.size
        assert made.size == turned
    problems = {Path(problem["recording"]).name: problem["reason"] for problem in result["problems"]}
    assert problems.keys() == {"broken.png", "long.png"}
    assert "cannot be decoded" in problems["broken.png"] and "8 times" in problems["long.png"]
    assert {path: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
    page = (tmp_path / "out" / "paintings.html").read_text()
    assert page.count("true colour") == 2 * 5, "grey ones have no truth to show"
    assert "2 could not be made" in page


def test_names_are_escaped_and_do_not_collide(models, tmp_path, capsys):
    inside = tmp_path / "in" / "a & b"
    inside.mkdir(parents=True)
    for name in ("<b>x.png", "same.png", "same.jpg", "esc\x1b[31m.png"):
        drawn().save(inside / name)
    os.link(inside / "same.png", os.fsencode(inside) + b"/latin\xe9.png")
    result = paint(capsys, 0, "--model", models["noise"], "--input", tmp_path / "in", "-o", tmp_path / "out")
    assert len(result["pictures"]) == 5
    made = {path.name for path in (tmp_path / "out" / "a & b").iterdir()}
    assert {"<b>x.png", "same.png.png", "same.jpg.png"} < made and len(made) == 5
    page = (tmp_path / "out" / "paintings.html").read_text()
    assert "<b>x" not in page and "&lt;b&gt;x" in page and "\x1b" not in page
    assert 'href="a%20%26%20b/%3Cb%3Ex.png"' in page and "latin%E9.png" in page


def test_holes_by_box_and_by_mask(models, tmp_path, capsys):
    folder, masks = tmp_path / "in", tmp_path / "masks"
    folder.mkdir()
    masks.mkdir()
    for index, name in enumerate(("one.png", "two.png", "three.png")):
        drawn(seed=index).save(folder / name)
    hole = np.zeros((40, 56), dtype=np.uint8)
    hole[10:20, 30:44] = 255
    Image.fromarray(hole).save(masks / "one.gif")
    Image.fromarray(hole[:30]).save(masks / "two.png")
    given = np.asarray(Image.open(folder / "one.png"))
    model = ("--model", models["holes"], "--input", folder)
    result = paint(capsys, 3, *model, "--mask", masks, "-o", tmp_path / "a")
    reasons = {Path(problem["recording"]).name: problem["reason"] for problem in result["problems"]}
    assert "56 x 30 pixels" in reasons["two.png"] and "no mask of this name" in reasons["three.png"]
    made = np.asarray(Image.open(tmp_path / "a" / "one.png"))
    assert np.array_equal(made[hole == 0], given[hole == 0])
    assert not np.array_equal(made, given)
    assert len(paint(capsys, 0, *model, "--mask", masks / "one.gif", "-o", tmp_path / "b")["pictures"]) == 3
    assert paint(capsys, 0, *model, "--box", 30, 10, 14, 10, "-o", tmp_path / "c")["paints"] == "holes"
    boxed = np.asarray(Image.open(tmp_path / "c" / "one.png"))
    assert np.array_equal(boxed, made)
    result = paint(capsys, 3, *model, "--box", 50, 10, 14, 10, "-o", tmp_path / "d")
    assert len(result["problems"]) == 3 and "56 x 40 pixels" in result["problems"][0]["reason"]


def test_one_picture_is_painted_beside_itself_and_never_over_it(models, tmp_path, capsys):
    drawn().save(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    model = ("--model", models["colour"], "--input", tmp_path / "x.png")
    assert "not an empty folder" in paint(capsys, 2, *model, "-o", tmp_path)
    assert "not an empty folder" in paint(capsys, 2, *model, "-o", tmp_path / "x.png")
    assert paint(capsys, 0, *model, "-o", tmp_path / "new" / "folder")["paints"] == "colour"
    assert (tmp_path / "x.png").read_bytes() == before


def test_wrong_use(models, tmp_path, capsys):
    drawn().save(tmp_path / "x.png")
    (tmp_path / "empty").mkdir()
    out, picture = ("-o", tmp_path / "out"), ("--input", tmp_path / "x.png")
    box = ("--box", 0, 0, 4, 4)
    assert "no such file" in paint(capsys, 2, "--model", models["colour"], "--input", tmp_path / "none", *out)
    assert "no picture below" in paint(capsys, 2, "--model", models["colour"], "--input", tmp_path / "empty", *out)
    assert "--mask, --box" in paint(capsys, 2, "--model", models["holes"], *picture, *out)
    assert "fills no holes" in paint(capsys, 2, "--model", models["noise"], *picture, *box, *out)
    twice = (*box, "--mask", tmp_path / "x.png")
    assert "once" in paint(capsys, 2, "--model", models["holes"], *picture, *twice, *out)
    none = next(slug for slug in METHODS if not card_of(slug).paints)
    other = kept(none, tmp_path / "other")
    said = paint(capsys, 2, "--model", other, *picture, *out)
    assert f"{none} makes no pictures; these do: " in said and all(slug in said for slug in PAINTERS)
    assert not (tmp_path / "out").exists()


MEGABYTES = 1500


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell what a process has held")
@pytest.mark.parametrize(
    ("slug", "more"),
    [
        (slug, ["--box", "3000", "2000", "2500", "2000"] if paints == "holes" else [])
        for slug, paints in PAINTERS.items()
    ],
)
def test_memory_for_50_megapixels_is_bounded(slug, more, tmp_path):
    """Noise goes through squares of 32 pixels here, of which fewer are enough to see that memory does not grow."""
    height, width = (250, 8660) if PAINTERS[slug] == "noise" else (5774, 8660)
    line = np.add.outer(np.arange(height) // 16, np.arange(width) // 9).astype(np.uint8)
    Image.fromarray(np.stack([line, line[::-1], 255 - line], -1)).save(tmp_path / "large.jpg", quality=80)
    del line
    words = [
        "--model",
        kept(slug, tmp_path / "model"),
        "--input",
        tmp_path / "large.jpg",
        "-o",
        tmp_path / "out",
        *more,
    ]
    # What the process itself has held: `ru_maxrss` also counts what its parent had when it was started.
    program = "import re, sys; from coview.cli.main import main; code = main(sys.argv[1:]); " + (
        "print(code, re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "paint", *map(str, words)], capture_output=True, text=True, check=True
    )
    code, peak = map(int, done.stdout.splitlines()[-1].split())
    with Image.open(tmp_path / "out" / "large.png") as made:
        assert made.size == (width, height)
    assert code == 0
    assert peak * 1024 < MEGABYTES * 1e6
