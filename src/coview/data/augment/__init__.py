"""Augmentation and the last step of the data path, on the training device."""

from coview.data.augment.preprocess import Preprocess
from coview.data.augment.settings import PRESETS, AugmentSettings

__all__ = ["PRESETS", "AugmentSettings", "Preprocess"]
