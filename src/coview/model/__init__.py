"""What is kept of a run: encoders, heads and preprocessing, in a folder that anything can read."""

from coview.methods.reading import Space
from coview.model.folder import FORMAT
from coview.model.model import Model

__all__ = ["FORMAT", "Model", "Space"]
