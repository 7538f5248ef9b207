"""What a method that reads a picture and a text together says of them, and how sure it is that they belong together.

What ranks pictures and texts, and what asks about pictures, knows methods only through this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from coview.data.views import Batch


@dataclass(frozen=True)
class Read:
    """B pictures and texts, read together.

    Attributes:
        pair: (B, D), of both as a whole.
        regions: (B, R, E), the states of the picture's regions.
        boxes: (B, R, 4), left, top, right and bottom as shares of width and height.
        there: bool (B, R), which regions there are.
    """

    pair: Tensor
    regions: Tensor
    boxes: Tensor
    there: Tensor


class PairReader(ABC):
    """Beside `Method`: a method without a vector for each of the two, whose every pair goes through the networks.

    Attributes:
        picture: what its embedding of a picture is called; that of a text is called "text".
    """

    picture: str

    @abstractmethod
    def belonging(self, pictures: Batch, texts: Batch) -> Tensor:
        """Return the log-odds (N, M) that each of M texts belongs to each of N pictures.

        All samples have what their side is made of (`Reading.made_of`); of the other side nothing is looked at.
        """

    @abstractmethod
    def read(self, batch: Batch) -> Read:
        """Return what is made of pictures and texts that are read together; of a picture that is absent, no region."""
