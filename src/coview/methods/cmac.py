"""CMAC: what one view attends to by itself should be what the other view points at. A RECONSTRUCTION.

S. Min, Q. Dai, H. Xie, C. Gan, Y. Zhang, J. Wang, "Cross-Modal Attention Consistency for Video-Audio Unsupervised
Learning" (arXiv 2106.06939). No code is public and its constants were not at hand: built after the abstract, not after
the text. With V(p), A(p) the maps' features at position p, v and a the unit embeddings of the whole views,

    S_v = softmax_p(w_v . V(p)),    G_v = softmax_p(a . f_v(V(p)) / temperature),   f_v the projector to unit length,

and S_a, G_a the same in the sound: S is what a view attends to by itself, G where the other view points. Then

    loss = contrast + weight mean_i c_i (d(S_v, G_v) + d(S_a, G_a)),

contrast being `coview.objectives.joint_negatives` in both directions, d the distance of `attention_maps` with G held
constant, and c_i = exp(-contrast_i), held constant, the confidence in the pair: a sound from off screen points nowhere,
and an untrained network points at nothing. The projectors of the contrast do the pointing, so that G is trained by the
contrast alone and everything that is compared at search is what was trained.

No recipe is known: the one here is xID's with a batch of 256, as that of its family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, cast

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, VideoView
from coview.encoders import Encoder
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, unit
from coview.methods.parts.towers import TINY, PairSettings, dim_of, encoders_of, heads_of
from coview.methods.recipe import Recipe
from coview.objectives.attention_maps import Distance, map_distance, pointed_map, relative_entropy, softmax_map
from coview.objectives.infonce import infonce
from coview.objectives.joint_negatives import joint_scores
from coview.parallel import mean_over_world

OTHER = {"video": "audio", "audio": "video"}


def _clip() -> VideoView:
    return VideoView(frames=16, fps=16.0)


@dataclass(frozen=True, kw_only=True)
class CMACSettings(PairSettings):
    """Settings of CMAC; 16 frames at 112 pixels and 2 s of sound in 80 mel bands."""

    video: VideoView = field(default_factory=_clip)
    audio: AudioView = field(default_factory=lambda: AudioView(mels=80))
    video_encoder: str = "r2plus1d-18-wide"  # network of clips
    audio_encoder: str = "resnet-18"  # network of sounds
    hidden: tuple[int, ...] = (512,)  # hidden layers of each projector
    embedding: int = 128  # length of the vectors that are compared
    temperature: float = 0.07  # what cosines are divided by
    within: bool = True  # negatives from the own view as well
    weight: float = 1.0  # lambda, of the consistency
    distance: Distance = "mse"  # between maps of attention

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.weight < 0:
            raise ValueError("cmac needs temperature > 0 and weight >= 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY, hidden=(256,))


class CMAC(Method):
    """Two encoders, two projectors that serve whole views and single positions, two linear self-attentions."""

    about = About(
        slug="cmac",
        title="CMAC: attention of one view consistent with where the other points",
        paper="Min et al., Cross-Modal Attention Consistency, 2021; arXiv 2106.06939",
        family="instance",
        state="reconstruction: after the abstract; neither code nor published constants were at hand",
    )
    Settings = CMACSettings
    settings: CMACSettings
    published = Recipe(batch_size=256)
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: CMACSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders = encoders_of(settings, self.views)
        self.projectors = heads_of(settings, self.encoders)
        self.attention = nn.ModuleDict(
            {name: nn.Linear(dim_of(encoder), 1, bias=False) for name, encoder in self.encoders.items()}
        )

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views.

        Parts: infonce, consistency, and the entropy of the maps S and G of each view as a share of its largest.
        """
        z, own, guided = self.embed_and_point(batch)
        pairs = joint_scores(z["video"], z["audio"], batch.row, self.settings.temperature, self.settings.within)
        contrast = torch.stack([infonce(*pair) for pair in pairs]).mean(0)
        apart = [map_distance(own[name], guided[name], self.settings.distance) for name in self.views]
        consistency = torch.exp(-contrast.detach()) * torch.stack(apart).sum(0)
        parts = {"infonce": mean_over_world(contrast.detach()), "consistency": mean_over_world(consistency.detach())}
        for kind, maps in (("self", own), ("guided", guided)):
            for name, attention in maps.items():
                parts[f"entropy/{kind}_{name}"] = mean_over_world(relative_entropy(attention.detach()))
        return Step(
            mean_over_world(contrast + self.settings.weight * consistency),
            parts,
            detached(z),
        )

    def embed_and_point(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Return unit embeddings (N, D), the maps S and the maps G, both (N, P), of every view of complete samples."""
        z, positions = {}, {}
        for name in self.views:
            encoder = self._encoder(name)
            maps = encoder.feature_maps(batch.views[name])[encoder.stages[-1]]
            z[name] = unit(self.projectors[name](encoder.pool(maps)))
            positions[name] = maps.flatten(2).transpose(1, 2)  # (N, P, C)
        own = {name: softmax_map(self.attention[name](part)[..., 0]) for name, part in positions.items()}
        guided = {
            name: pointed_map(z[OTHER[name]], self.projectors[name](part), self.settings.temperature)
            for name, part in positions.items()
        }
        return z, own, guided

    def sound_maps(self, views: Mapping[str, Tensor]) -> Tensor:
        """Return G, where the sound points in the picture (N, T', H', W'), from model views of complete samples."""
        encoder = self._encoder("video")
        maps = encoder.feature_maps(views["video"])[encoder.stages[-1]]
        places = self.projectors["video"](maps.flatten(2).transpose(1, 2))
        heard = unit(self.projectors["audio"](self.encoders["audio"](views["audio"])))
        return pointed_map(heard, places, self.settings.temperature).view(len(maps), *maps.shape[2:])

    def _encoder(self, name: str) -> Encoder:
        return cast(Encoder, self.encoders[name])

    def negatives(self, global_batch: int) -> int:
        """Return all other samples of the batch, in both views where the own view counts."""
        return (global_batch - 1) * (2 if self.settings.within else 1)
