"""One picture: the views of a still, or of a frame of a film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.views.kinds import register_view
from coview.data.views.picture import PictureView
from coview.data.views.spec import Statistics


@register_view
@dataclass(frozen=True, kw_only=True)
class ImageView(PictureView):
    """One picture: a frame of a recording, or a still.

    Raw: uint8 (3, 1, decode_size, decode_size). Model: float32 (channels, size, size), normalised.
    """

    stream: Literal["image"] = "image"  # one picture
    frames: int = 1  # always one
    size: int = 224  # side of the model's view in pixels

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames != 1:
            raise ValueError("an image view has one frame; a video view has more")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.channels, self.size, self.size

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`."""
        return super().prepare(raw, key, mirrorable, augment, statistics)[:, :, 0]

    def __str__(self) -> str:
        part = "" if self.space == "rgb" else f", {self.space}"
        return f"one picture, {self.size} x {self.size} pixels{part}"
