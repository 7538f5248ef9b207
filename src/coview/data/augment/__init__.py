"""Augmentation: random changes of pictures and sounds, as functions of batches on the training device."""

from coview.data.augment.settings import PRESETS, AugmentSettings

__all__ = ["PRESETS", "AugmentSettings"]
