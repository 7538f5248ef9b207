"""Augmentation and the last step of the data path, on the training device."""

from coview.data.augment.preprocess import Preprocess
from coview.data.augment.settings import AugmentSettings

__all__ = ["AugmentSettings", "Preprocess"]
