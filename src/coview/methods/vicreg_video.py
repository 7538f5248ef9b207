"""VICReg-Video: two clips of one recording, 2 to 8 seconds apart, through one encoder and one expander.

Bardes, Ponce & LeCun 2022 (arXiv 2105.04906), used on pairs of clips in AV-SSRL (K. Vilouras). With x and y the
expanded embeddings of the earlier and the later clip over the N samples of all processes:

    loss = 25 invariance(x, y) + 25 (v(x) + v(y)) / 2 + 1 (c(x) + c(y)),   see `coview.objectives.vicreg`

Published recipe: as for `av-vicreg`, clips of one second.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import nn

from coview.data.views import Batch, VideoView, ViewSpec
from coview.encoders import build_video, mlp
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_VIDEO, complete, enough
from coview.objectives.vicreg import vicreg


@dataclass(frozen=True, kw_only=True)
class VICRegVideoSettings:
    """Settings of VICReg-Video; the defaults are the released ones."""

    video: VideoView = field(default_factory=VideoView)
    apart: tuple[float, float] = (2.0, 8.0)  # seconds between the starts of the two clips
    video_encoder: str = "r2plus1d-18"
    hidden: tuple[int, ...] = (4096, 4096)  # hidden layers of the expander
    embedding: int = 4096
    invariance: float = 25.0  # weights of the three parts
    variance: float = 25.0
    covariance: float = 1.0

    @classmethod
    def tiny(cls) -> VICRegVideoSettings:
        """Return settings for tests, dry runs and the demo: a small network on the view of the digits world."""
        return cls(video=TINY_VIDEO, video_encoder="video-tiny", hidden=(256,), embedding=128)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"video": self.video, "video_later": dataclasses.replace(self.video, after=self.apart)}


class VICRegVideo(Method):
    """One encoder and one expander, named "video", for the views "video" and "video_later"."""

    about = About(
        slug="vicreg-video",
        title="VICReg on two clips of one video",
        paper="Bardes, Ponce & LeCun, VICReg, ICLR 2022; arXiv 2105.04906",
        family="correlation",
        state="verified: objective and gradients equal values of both official codes",
    )
    Settings = VICRegVideoSettings
    settings: VICRegVideoSettings
    coupling: Coupling = "statistics"

    def __init__(self, settings: VICRegVideoSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        encoder = build_video(settings.video_encoder)
        self.encoders = nn.ModuleDict({"video": encoder})
        self.projectors = nn.ModuleDict(
            {"video": mlp((encoder.dim, *settings.hidden, settings.embedding), batchnorm=True)}
        )

    def forward(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both clips; parts: invariance, variance, covariance, unweighted."""
        batch = complete(batch, self.views)
        if not enough(batch, 2):
            return self.idle()
        # Both clips in one pass: normalisation statistics are those of all clips.
        clips = torch.cat([batch.views[name] for name in self.views])
        both = self.projectors["video"](self.encoders["video"](clips))
        x, y = both[: len(batch)], both[len(batch) :]
        invariance, variance, covariance = vicreg(x, y)
        weights = self.settings
        loss = weights.invariance * invariance + weights.variance * variance + weights.covariance * covariance
        parts = {"invariance": invariance, "variance": variance, "covariance": covariance}
        return Step(
            loss,
            {name: part.detach() for name, part in parts.items()},
            {"video": x.detach(), "video_later": y.detach()},
        )
