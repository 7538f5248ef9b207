"""SEER: SwAV at scale, on uncurated pictures, with RegNetY.

Goyal et al., "Self-supervised Pretraining of Visual Features in the Wild", 2021 (arXiv 2103.01988), and "Vision Models
Are More Robust And Fair When Pretrained On Uncurated Images Without Supervision", 2022 (arXiv 2202.08360).

SwAV's loss (`coview.methods.swav`) with another recipe: 2 crops of 224 and 4 of 96 pixels, a head of three linear
layers without batch normalisation, 16 000 prototypes, codes by 10 iterations at epsilon 0.03. One pass over the
pictures: no queue, no labels, no filtering; a picture that cannot be read is replaced by another one.

Published recipe of RegNetY-256GF: batch 8192, SGD with LARC (optimiser "larc-swav"), rate 9.6 after 8000 steps of
warm-up (from .15: from memory) to .0096 by a cosine, decay 1e-5, one epoch of 10^9 pictures. `train.recompute` and
`train.sharding: full` make it fit; batch normalisation stays float32 and is synchronised over all processes
(published: groups of 64).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from coview.data.augment import PRESETS
from coview.data.views import ImageView, VideoView
from coview.methods.contract import About
from coview.methods.parts.crops import TINY_IMAGE, SmallCrops
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.methods.swav import SwAV, SwAVSettings


@dataclass(frozen=True, kw_only=True)
class SEERSettings(SwAVSettings):
    """Settings of SEER; the defaults are those of RegNetY-256GF. Encoders: regnety-8gf to -256gf, -10b."""

    view: ImageView | VideoView = field(default_factory=lambda: ImageView(size=224, area=(0.14, 1.0)))
    encoder: str = "regnety-256gf"  # network of pictures
    small: SmallCrops | None = field(default_factory=lambda: SmallCrops(number=4))
    hidden: tuple[int, ...] = (8192, 8192)
    head_batchnorm: bool = False  # batch normalisation in the head
    embedding: int = 256  # length of the vectors that are assigned
    prototypes: int = 16000  # vectors that crops are assigned to
    epsilon: float = 0.03
    iterations: int = 10

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: a RegNetY of five small blocks on frames of the digits."""
        return cls(
            view=TINY_IMAGE,
            encoder="regnety-tiny",
            small=SmallCrops(number=2, size=16, area=(0.2, 0.5)),
            hidden=(64, 64),
            embedding=16,
            prototypes=30,
            freeze=0,
        )


class SEER(SwAV):
    """SwAV's networks at SEER's sizes."""

    about = About(
        slug="seer",
        title="SEER: SwAV with RegNetY on uncurated pictures",
        paper="Goyal et al. 2021; arXiv 2103.01988, 2202.08360",
        family="clustering",
        state="working: sizes equal the published ones; SwAV's codes and loss verified; not trained at scale",
    )
    Settings = SEERSettings
    settings: SEERSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="larc-swav", lr=9.6, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.0655, warm_up_from=0.15 / 9.6, final=0.001),
        augment=PRESETS["swav"],
        batch_size=8192,
        epochs=1,
    )
