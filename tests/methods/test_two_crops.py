"""Two crops of one picture through one network: what SimCLR and plain VICReg are, by settings alone."""

import dataclasses

import pytest
import torch

from coview.data.augment import PRESETS
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import raw_views
from coview.methods import build, load_method
from coview.methods.classifier import ClassifierSettings
from coview.methods.contract import Facts
from coview.settings import to_dict


@pytest.mark.parametrize("slug", ["infonce", "vicreg"])
def test_two_crops_of_a_picture_teach_one_network(slug):
    settings = dataclasses.replace(load_method(slug).Settings.tiny(), views=("image", "image_2"))
    method = build(slug, settings, Facts(rows=16, classes=0))
    assert method.views["image_2"].of == "image"
    assert method.encoders["image"] is method.encoders["image_2"]
    assert method.projectors["image"] is method.projectors["image_2"]
    source, row = open_source("digits-av:A", method.views), torch.arange(16)
    assert list(source.views) == ["image"]
    batch = Preprocess(method.views, PRESETS["swav"])(source.read(row, sample_keys(0, 0, row)), train=True)
    assert not torch.equal(batch.views["image"], batch.views["image_2"])
    step = method.learn(batch)
    step.loss.backward()
    assert step.loss.isfinite() and all(p.grad is not None for p in method.encoders["image"].parameters())
    batch.views["image_2"] = batch.views["image"]
    assert method.learn(batch).loss < step.loss  # equal crops agree
    with pytest.raises(ValueError, match="image_2 goes with image"):
        dataclasses.replace(settings, views=("image_2", "text"))


def test_a_classifier_of_the_second_crop_stands_alone():
    settings = dataclasses.replace(load_method("infonce").Settings.tiny(), views=("image", "image_2"))
    classifier = ClassifierSettings(base="infonce", base_settings=to_dict(settings), view="image_2")
    assert set(raw_views(classifier.specs())) == {"image_2"}
