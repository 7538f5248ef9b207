"""A real, untrained model and a small collection of MP4 files, made once for the tests of measuring and searching."""

import functools
import tempfile
from pathlib import Path

import torch

from coview.data.adapters import Options
from coview.data.augment import AugmentSettings
from coview.data.index import index_source
from coview.data.preprocess import Preprocess
from coview.data.synthetic.digits import DigitsWorld
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xid import XIDSettings
from coview.model import Model


def tiny_model(seed: int = 0) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = build("xid", XIDSettings.tiny(), Facts(rows=16, classes=10))
    return Model.of(method, Preprocess(method.views, AugmentSettings()), DigitsWorld("A", "train", 16))


@functools.cache
def collection() -> Path:
    """Return a collection of 30 clips of digits-av as MP4 files, kept until the tests end."""
    folder = Path(_kept().name) / "collection"
    index_source("digits-av:A", folder, options=Options(folder=None, count=30, seed=0), workers=0)
    return folder


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()
