"""What every method that learns from colour does with pictures as they come: grey ones, odd ones, none with colour."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from coview.data.augment import PRESETS
from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.source import sample_keys
from coview.data.views import Batch
from coview.errors import DataProblemsError
from coview.methods import METHODS, build, load_method
from coview.methods.contract import Facts
from coview.methods.parts.colour import ColourMethod, have_colour
from coview.model import Model
from coview.randomness import integers
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import RunSettings, TrainSettings

SLUGS = [slug for slug in METHODS if issubclass(load_method(slug), ColourMethod)]


@pytest.fixture(params=SLUGS)
def slug(request):
    return request.param


def run(slug, collection, out):
    kind = load_method(slug)
    source = MediaSource(collection, kind.Settings.tiny().specs())
    settings = RunSettings(
        method=slug,
        method_settings=kind.Settings.tiny(),
        collection="pictures",
        augment=PRESETS["none"],
        train=TrainSettings(steps=2, batch_size=10, device="cpu", workers=0),
    )
    train(settings, out, source=source, quiet=True)
    return read_lines(out / "metrics.jsonl")


def picture(index):
    y, x = np.mgrid[:40, :60]
    return Image.fromarray(np.stack([x * 4, y * 6, np.full_like(x, 25 * index)], -1).astype(np.uint8))


def odd_pictures():
    """Return pictures of every mode: six with colour, four without."""
    wide = Image.fromarray((np.mgrid[:40, :60][1] * 800).astype(np.uint16))
    colours = [picture(k).convert(mode) for k, mode in enumerate(("RGB", "P", "CMYK", "RGBA", "RGB"))]
    return [*colours, Image.new("RGB", (1, 1), (200, 30, 30)), picture(6).convert("L"), picture(7).convert("1"), wide,
            Image.new("L", (1, 1), 200)]  # fmt: skip


def indexed(images, folder):
    (folder / "all").mkdir()
    for index, image in enumerate(images):
        image.save(folder / "all" / f"{index}.{'jpg' if image.mode == 'CMYK' else 'png'}")
    return index_source(str(folder / "all"), folder / "index", workers=0)


def test_odd_pictures_are_learnt_from_and_grey_ones_counted(slug, tmp_path):
    pictures = indexed(odd_pictures(), tmp_path)
    log = run(slug, pictures, tmp_path / "run")
    assert all(math.isfinite(value) for line in log for value in line.values() if isinstance(value, float))
    assert [line["grey"] for line in log] == pytest.approx([0.4, 0.4])
    model = Model.from_run(tmp_path / "run")
    painted = model.method.eval().paint(torch.rand(2, 3, 40, 60))
    assert painted.shape == (2, 3, 40, 60) and painted.isfinite().all()
    assert painted.min() >= 0 and painted.max() <= 1


def test_a_collection_without_colour_is_refused_and_told_why(slug, tmp_path):
    pictures = indexed([picture(index).convert("L") for index in range(10)], tmp_path)
    with pytest.raises(
        DataProblemsError, match=rf"{slug} needs a sample that has .* and more than grey in it \(grey pictures are"
    ):
        run(slug, pictures, tmp_path / "run")


def test_grey_pictures_change_nothing_for_the_others(slug):
    torch.manual_seed(0)
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=9))
    grey = torch.full((3, 3, 1, 32, 32), 90, dtype=torch.uint8)
    raw, may = torch.cat([integers(torch.arange(4), 0, 256, 3, 1, 32, 32).to(torch.uint8), grey]), torch.ones(7) > 0
    views = {name: view.prepare(raw, None, may, PRESETS["none"], None) for name, view in method.views.items()}
    rows = torch.arange(7)
    batch = Batch(views=views, row=rows, key=sample_keys(0, 0, rows))
    few = batch.select(rows < 4)
    whole, alone = method(batch), method(few)
    torch.testing.assert_close(whole.loss, alone.loss)
    assert whole.parts["grey"] == pytest.approx(3 / 7)
    assert alone.parts["grey"] == 0


def test_settings_keep_the_colours_of_pictures(slug):
    for settings in (load_method(slug).Settings(), load_method(slug).Settings.tiny()):
        for view in settings.specs().values():
            if view.stream == "image":
                changed = view.changed(dataclasses.replace(PRESETS["swav"], noise=0.5))
                assert (changed.jitter, changed.grey, changed.noise) == (0.0, 0.0, 0.0)


def test_a_single_coloured_pixel_anywhere_is_colour():
    pictures = torch.full((4, 3, 32, 32), 0.5)
    pictures[1, 0, 8, 16] = 1.0  # among the pixels that are looked at first
    pictures[2, 0, 13, 5] = 1.0  # between them
    assert have_colour(pictures).tolist() == [False, True, True, False]
