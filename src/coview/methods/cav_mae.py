"""CAV-MAE: a picture and its sound, a quarter of each seen: what is hidden is made, and the two find each other.

Y. Gong, A. Rouditchenko, A. H. Liu, D. Harwath, L. Karlinsky, H. Kuehne, J. Glass, "Contrastive audio-visual masked
autoencoder", ICLR 2023 (arXiv 2210.07839). Patches of both views are hidden at random. What is seen goes through
blocks of each view's own, then three times through the shared ones, with layer normalisations for the picture, for the
sound and for both in a row. The decoder makes all patches of both from the last; the means of the first two are
compared. With E_m the error of a view's hidden patches (`coview.objectives.masked_patches`) and v_i, a_i the unit means
of sample i,

    loss = w (E_v + E_a) - c mean_i log softmax_j(v_i . a_j / t)_i          w 1, c .01, t .05: a picture finds its sound

What is embedded is whole: the mean over a view's tokens behind the shared blocks, in both spaces; there is no head.

Released: with more than one shared block, those of a single view do not follow each other there, each being shown what
the view's own blocks made; here they do, and with one, as published, both are the same. The code contrasts within each
device's share of the batch, here all processes' samples are negatives.

Published recipe (AudioSet, "scale++"): Adam at 2e-4, betas .95 and .999, decay 5e-7 on everything, halved every 5 of 25
epochs from the 10th on, batch 256; sounds turned round in time (its noise, below .1 of a deviation, is left out). It
starts from weights of an ImageNet MAE, here from fresh ones. A sound of 10 s is followed by silence to 1,024 frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.views import AudioView, Batch, ImageView, ViewSpec
from coview.encoders.patches import PatchDecoder, PatchEncoder, drawn_alike
from coview.encoders.sequence_transformer import Block
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_AUDIO, unit
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.infonce import in_batch_scores, infonce
from coview.objectives.masked_patches import hidden_error, normalised, patches_of, seen_and_hidden
from coview.parallel import mean_over_world

_HIDDEN = {"image": 8700, "audio": 8701}  # streams of a sample's key
_BETAS = (0.95, 0.999)


def _published_sound() -> AudioView:
    return AudioView(seconds=10.24, n_fft=512, window=400, hop=160, mels=128, normalise="statistics")


@dataclass(frozen=True, kw_only=True)
class CAVMAESettings:
    """Settings of CAV-MAE; the defaults are the published ones."""

    image: ImageView = field(default_factory=ImageView)
    audio: AudioView = field(default_factory=_published_sound)
    patch: int = 16  # side of a patch, in pixels, and in bands and frames
    width: int = 768  # of the encoders' tokens
    heads: int = 12  # of their blocks
    own_depth: int = 11  # blocks of each view's own
    shared_depth: int = 1  # blocks that both views share
    decoder_width: int = 512  # of the decoder's tokens
    decoder_heads: int = 16  # of its blocks
    decoder_depth: int = 8  # its blocks
    hidden: float = 0.75  # share of the patches that is hidden, in both views
    by_patch: bool = True  # patches to be made have mean 0 and deviation 1
    reconstruction: float = 1.0  # weight of the hidden patches' errors
    contrast: float = 0.01  # weight of the contrast
    temperature: float = 0.05  # of the contrast

    def __post_init__(self) -> None:
        if min(self.patch, self.heads, self.shared_depth, self.decoder_heads, self.decoder_depth) < 1:
            raise ValueError("patch, heads, shared_depth, decoder_heads and decoder_depth are at least 1")
        if self.by_patch and self.patch < 2:
            raise ValueError("a patch of one number has no deviation: choose patch 2 or more, or by_patch false")
        if self.own_depth < 0 or not 0 < self.hidden < 1 or self.temperature <= 0:
            raise ValueError("cav-mae needs own_depth >= 0, hidden between 0 and 1, and temperature > 0")
        if min(self.reconstruction, self.contrast) < 0 or self.reconstruction + self.contrast == 0:
            raise ValueError("reconstruction and contrast are weights, not below 0 and not both 0")
        for width, heads in ((self.width, self.heads), (self.decoder_width, self.decoder_heads)):
            if width < 1 or width % heads or width % 4:
                raise ValueError(f"a width is a multiple of its heads and of 4, found {width} with {heads} heads")
        for name, view in self.specs().items():
            if len(view.shape) != 3 or any(side % self.patch for side in view.shape[1:]):
                size = " x ".join(map(str, view.shape[1:]))
                raise ValueError(
                    f"{name}: a view of {size} is not made of whole patches of {self.patch}; choose image.size, or "
                    "audio.mels and audio.seconds (frames are seconds * sample_rate / hop), as multiples of patch"
                )
            if view.shape[1] * view.shape[2] <= self.patch**2:
                raise ValueError(f"{name}: of a single patch nothing can be hidden; choose a smaller patch")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: two blocks and one, on views of the digits world."""
        return cls(
            image=replace(TINY_IMAGE, area=None), audio=TINY_AUDIO, patch=8, width=64, heads=4, own_depth=2,
            decoder_width=32, decoder_heads=4, decoder_depth=1,
        )  # fmt: skip

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"image": self.image, "audio": self.audio}


class CAVMAE(Method):
    """An encoder for each view; in training the shared blocks for both together (`joint`), and the decoder."""

    about = About(
        slug="cav-mae",
        title="CAV-MAE: hidden patches of picture and sound are made, and the two find each other",
        paper="Gong et al., Contrastive audio-visual masked autoencoder, ICLR 2023; arXiv 2210.07839",
        family="reconstruction",
        state="verified: both losses equal values of the official code",
    )
    Settings = CAVMAESettings
    settings: CAVMAESettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=2e-4, betas=_BETAS, weight_decay=5e-7, decay="everything"),
        schedule=ScheduleSettings(milestones=(0.4, 0.6, 0.8), gamma=0.5),
        augment=replace(PRESETS["none"], sound_shift=1024),
        batch_size=256,
        epochs=25,
    )
    small = Recipe(
        optimiser=OptimiserSettings(lr=1e-3, betas=_BETAS, weight_decay=5e-7, decay="everything"),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.1),
        augment=PRESETS["none"],
        batch_size=64,
    )
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: CAVMAESettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        own, width = settings, settings.width
        shared = nn.Sequential(*(Block(width, own.heads, bias=True) for _ in range(own.shared_depth)))
        drawn_alike(shared)
        blocks = cast(list[Block], list(shared))
        for name, view in self.views.items():
            self.encoders[name] = PatchEncoder(view.shape, own.patch, width, own.heads, own.own_depth, blocks)
        if facts.training:
            grids = {name: cast(PatchEncoder, encoder).grid for name, encoder in self.encoders.items()}
            numbers = {name: own.patch**2 * view.shape[0] for name, view in self.views.items()}
            self.joint = nn.Sequential(*shared, nn.LayerNorm(width))
            self.decoder = PatchDecoder(width, own.decoder_width, own.decoder_heads, own.decoder_depth, grids, numbers)

    def learn(self, batch: Batch) -> Step:
        """Return the loss; parts: error/<view>, of its hidden patches, and infonce, neither weighted."""
        settings = self.settings
        seen, hidden, own, alone = {}, {}, {}, {}
        for name in self.views:
            encoder = cast(PatchEncoder, self.encoders[name])
            tokens = encoder.tokens(batch.views[name])
            seen[name], hidden[name] = seen_and_hidden(batch.key, _HIDDEN[name], tokens.shape[1], settings.hidden)
            own[name] = encoder.own(tokens.gather(1, seen[name][:, :, None].expand(-1, -1, tokens.shape[2])))
            alone[name] = unit(encoder.tail(own[name]).mean(1))
        made = self.decoder(self.joint(torch.cat(list(own.values()), 1)), seen)
        errors = {
            name: mean_over_world(hidden_error(self._patches(batch.views[name]), made[name], hidden[name]))
            for name in self.views
        }
        towards, _ = in_batch_scores(alone["image"], alone["audio"], settings.temperature)
        found = mean_over_world(infonce(*towards))
        loss = settings.reconstruction * torch.stack(list(errors.values())).sum() + settings.contrast * found
        parts = {f"error/{name}": error.detach() for name, error in errors.items()} | {"infonce": found.detach()}
        return Step(loss, parts, {name: value.detach() for name, value in alone.items()})

    def negatives(self, global_batch: int) -> int:
        """Return the other samples of the global batch."""
        return global_batch - 1

    def _patches(self, x: Tensor) -> Tensor:
        """Return what is to be made of views (B, C, H, W): their patches (B, L, P)."""
        patches = patches_of(x, self.settings.patch)
        return normalised(patches) if self.settings.by_patch else patches
