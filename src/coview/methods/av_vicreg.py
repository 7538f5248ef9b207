"""AV-VICReg: variance-invariance-covariance regularisation across picture and sound, without negatives.

Bardes, Ponce & LeCun 2022 (arXiv 2105.04906), used audio-visually in AV-SSRL (K. Vilouras). With x and y the expanded
embeddings of the two views over the N samples of all processes:

    loss = 25 invariance(x, y) + 25 (v(x) + v(y)) / 2 + 1 (c(x) + c(y)),   see `coview.objectives.vicreg`

Gradients flow into both views. The released code fixes N as a setting and computes the loss in float16 where mixed
precision is on; here N is counted and the loss is float32. It has no released behaviour worth reproducing otherwise.

Published recipe: Adam at 5e-4 with decay 1e-6, times 0.9 every 10 of 100 epochs, global batch 32. At 32 the covariance
of 4096 dimensions has rank 31 at most: prefer larger batches or a smaller `embedding`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from torch import nn

from coview.data.views import AudioView, Batch, VideoView
from coview.encoders import build_audio, build_video, mlp
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO, complete, enough
from coview.methods.parts.towers import PairSettings
from coview.objectives.vicreg import vicreg


@dataclass(frozen=True, kw_only=True)
class AVVICRegSettings(PairSettings):
    """Settings of AV-VICReg; the defaults are the released ones."""

    video: VideoView = field(default_factory=VideoView)
    audio: AudioView = field(default_factory=AudioView)
    video_encoder: str = "r2plus1d-18"
    audio_encoder: str = "conv2d"
    hidden: tuple[int, ...] = (4096, 4096)  # hidden layers of each expander
    embedding: int = 4096
    invariance: float = 25.0  # weights of the three parts
    variance: float = 25.0
    covariance: float = 1.0

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(
            video=TINY_VIDEO,
            audio=TINY_AUDIO,
            video_encoder="video-tiny",
            audio_encoder="audio-tiny",
            hidden=(256,),
            embedding=128,
        )


class AVVICReg(Method):
    """Two encoders and two expanders, one per view."""

    about = About(
        slug="av-vicreg",
        title="VICReg across video and audio",
        paper="Bardes, Ponce & LeCun, VICReg, ICLR 2022; arXiv 2105.04906",
        family="correlation",
        state="verified: objective and gradients equal values of both official codes",
    )
    Settings = AVVICRegSettings
    settings: AVVICRegSettings
    coupling: Coupling = "statistics"

    def __init__(self, settings: AVVICRegSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        encoders = {"video": build_video(settings.video_encoder), "audio": build_audio(settings.audio_encoder)}
        self.encoders = nn.ModuleDict(encoders)
        self.projectors = nn.ModuleDict(
            {
                name: mlp((encoder.dim, *settings.hidden, settings.embedding), batchnorm=True)
                for name, encoder in encoders.items()
            }
        )

    def forward(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; parts: invariance, variance, covariance, unweighted."""
        batch = complete(batch, self.views)
        if not enough(batch, 2):
            return self.idle()
        x, y = (self.projectors[name](self.encoders[name](batch.views[name])) for name in self.views)
        invariance, variance, covariance = vicreg(x, y)
        weights = self.settings
        loss = weights.invariance * invariance + weights.variance * variance + weights.covariance * covariance
        parts = {"invariance": invariance, "variance": variance, "covariance": covariance}
        return Step(
            loss,
            {name: part.detach() for name, part in parts.items()},
            {"video": x.detach(), "audio": y.detach()},
        )
