"""The report of a method that makes pictures shows them, with the truth beside; of any other, nothing."""

from pathlib import Path

import pytest
import torch

from coview.data.augment import AugmentSettings
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.evaluation.report import write_report
from coview.evaluation.sheets import COUNT, paint_held_out
from coview.methods import METHODS, build, load_method
from coview.methods.cards import card_of
from coview.methods.contract import Facts
from coview.model import Model

TRUTH = {"colour": "true colour", "holes": "as it was", "noise": "as it was"}
PAINTERS = {slug: paints for slug in METHODS if (paints := card_of(slug).paints)}


def made(slug):
    torch.manual_seed(0)
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=16))
    return Model(method, Preprocess(method.views, AugmentSettings()), {})


@pytest.mark.parametrize("slug", PAINTERS)
def test_held_out_pictures_are_shown_beside_the_truth(slug):
    model = made(slug)
    source = open_objects(model)
    paints, sheets = paint_held_out(model, source, seed=3)
    assert paints == PAINTERS[slug]
    assert len(sheets) == COUNT
    assert all(sheet[-1][0] == TRUTH[paints] and len({uri for _, uri in sheet}) == 3 for sheet in sheets)
    assert paint_held_out(model, source, seed=3) == (paints, sheets)
    assert paint_held_out(model, source, seed=4)[1] != sheets


def open_objects(model):
    return open_source("objects-av", model.needed, split="test")


def test_the_report_shows_them(tmp_path: Path) -> None:
    slug = next(iter(PAINTERS))
    model = made(slug)
    (tmp_path / "settings.yaml").write_text(f"collection: made\nmethod: {{name: {slug}}}\n")
    text = write_report(tmp_path, model=model, source=open_objects(model)).read_text()
    assert "What it makes" in text and text.count(f'alt="{TRUTH[PAINTERS[slug]]}"') == COUNT


def test_of_other_methods_nothing_is_shown():
    slug = next(slug for slug in ("vicreg", "swav") if slug in METHODS)
    model = made(slug)
    assert paint_held_out(model, open_objects(model)) == ("", [])
