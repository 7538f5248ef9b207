"""What a method that predicts pictures says: what it is told, and what comes next.

What measures and shows predictions knows methods only through this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from coview.data.views import Batch


@dataclass(frozen=True)
class Prediction:
    """Pictures that follow, T of them.

    Attributes:
        true: (B, 3, T, H, W), sRGB in [0, 1], what came.
        made: as `true`, what was predicted.
        last: (B, 3, H, W), the last picture that was seen.
        masks: (B, K, T, H, W), shares of the layers that a picture is put together of; they sum to 1.
        flow: (B, 2, T, H, W), how far what is seen has come since the picture before, in pixels right and down.
    """

    true: Tensor
    made: Tensor
    last: Tensor
    masks: Tensor
    flow: Tensor


class Predictor(ABC):
    """Beside `Method`: a method that predicts the pictures of a clip from the first of them.

    Attributes:
        told: views that tell it what will be done, such as actions; may be empty.
        layers: names of the masks, in their order.
    """

    told: tuple[str, ...]
    layers: tuple[str, ...]
    film: ClassVar[str] = "video"  # the view that is predicted

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Return what follows the first pictures of every sample; all samples have all views.

        No picture after the first ones is looked at, but to be returned as `true`.
        """
