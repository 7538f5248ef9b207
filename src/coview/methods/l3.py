"""L3-Net: look, listen and learn whether a picture and a sound belong to the same recording.

R. Arandjelovic, A. Zisserman, "Look, Listen and Learn", ICCV 2017 (arXiv 1705.08168). With v the features of one frame
and a those of one second of sound around it, a fusion network answers "together" or "not together" (cross-entropy):

    loss = (CE(f(v_i, a_i), yes) + CE(f(v_i, a_j), no)) / 2,   j drawn from the other RECORDINGS of the global batch

so that half of the pairs are true, each network sees each sample once, and no batch statistic tells which is which.
f is concat -> 128 -> 2; or, from "Objects that Sound" (Arandjelovic & Zisserman, ECCV 2018, arXiv 1712.06651), a linear
layer on the distance of two unit vectors of 128 numbers, which makes the two views comparable (`head` "distance").

Recipe from memory: Adam, decay 1e-5, batch 256, two days on 16 GPUs; the published rate was found by grid search, and
the 1e-4 here is ours. The sound here is the dB
spectrogram of `coview.media.logmel` at 48 kHz in steps of 5 ms, (1, 200, 257), which is not equal to the paper's or to
OpenL3's to the bit. Expect a plateau at ln 2 = 0.693 before anything is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, VideoView
from coview.encoders import mlp
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import unit
from coview.methods.parts.towers import TINY, PairSettings, dim_of, encoders_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.correspondence import correspondence, draw_mismatched
from coview.parallel import gather, gather_with_grad, mean_over_world
from coview.randomness import make_key

_MISMATCH = 0x6D6973  # keeps this draw apart from other users of a sample's key
_SHORTEST = 1e-6  # squared distance under which the square root's gradient is cut off


def _frame() -> VideoView:
    return VideoView(frames=1, fps=25.0, size=224, margin=256 / 224)


def _second() -> AudioView:
    return AudioView(seconds=1.0, sample_rate=48000, layout="spectrogram", n_fft=512, hop=240, window=512)


@dataclass(frozen=True, kw_only=True)
class L3Settings(PairSettings):
    """Settings of L3-Net; the defaults are the published ones."""

    video: VideoView = field(default_factory=_frame)
    audio: AudioView = field(default_factory=_second)
    video_encoder: str = "vgg"  # network of frames
    audio_encoder: str = "vgg"  # network of sounds
    head: Literal["concat", "distance"] = "concat"  # what judges a pair: layers on both vectors, or their distance
    hidden: int = 128  # of the fusion network, or numbers of the vectors whose distance is taken
    frozen: bool = False  # learn the fusion alone, on encoders that do not change (see --init-from)

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError("l3 needs hidden >= 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on a frame of the digits world."""
        return cls(**{**TINY, "video": replace(TINY["video"], frames=1)})


class L3(Method):
    """Two encoders and a fusion network; projectors only for the head "distance"."""

    about = About(
        slug="l3",
        title="L3-Net: do this picture and this sound correspond?",
        paper="Arandjelovic & Zisserman, Look, Listen and Learn, ICCV 2017; arXiv 1705.08168",
        family="correspondence",
        state="working: sizes and objective as in the paper; the sound's front end differs in detail",
    )
    Settings = L3Settings
    settings: L3Settings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="constant"),
        batch_size=256,
    )
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: L3Settings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders = encoders_of(settings, self.views)
        widths = [dim_of(encoder) for encoder in self.encoders.values()]
        if settings.head == "distance":
            sizes = (settings.hidden, settings.hidden)
            heads = [mlp((width, *sizes)) for width in widths]
            self.projectors.update(dict(zip(self.encoders, heads, strict=True)))
            self.fusion: nn.Module = nn.Linear(1, 2)
            with torch.no_grad():  # "near means yes" from the start: random signs stay at chance for hundreds of steps
                self.fusion.weight.copy_(torch.tensor([[1.0], [-1.0]]))
                self.fusion.bias.copy_(torch.tensor([-1.0, 1.0]))
        else:
            self.fusion = mlp((sum(widths), settings.hidden, 2))
        self.encoders.requires_grad_(not settings.frozen)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have both views; part: accuracy, with 0.5 for chance."""
        video, audio = (self.features(name, batch.views[name]) for name in self.views)
        other, found = draw_mismatched(make_key(batch.key, _MISMATCH), batch.row, gather(batch.row))
        logits = self.fuse(video, audio), self.fuse(video, gather_with_grad(audio)[other])
        losses = torch.cat([correspondence(logits[0], True), correspondence(logits[1], False)])
        kept = torch.cat([torch.ones_like(found), found])
        right = torch.cat([logits[0].argmax(1) == 1, logits[1].argmax(1) == 0])
        parts = {"accuracy": mean_over_world(right.to(losses.dtype), kept)}
        return Step(mean_over_world(losses, kept), parts, {"video": video.detach(), "audio": audio.detach()})

    def features(self, name: str, view: Tensor) -> Tensor:
        """Return what the fusion sees of a view: features (N, dim), or unit vectors (N, hidden)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.settings.frozen):
            features: Tensor = self.encoders[name](view)
        return unit(self.projectors[name](features)) if name in self.projectors else features

    def fuse(self, video: Tensor, audio: Tensor) -> Tensor:
        """Return logits (N, 2) of paired rows; column 1 says that they correspond."""
        if self.settings.head == "distance":
            distance = (video - audio).square().sum(1, keepdim=True).clamp(min=_SHORTEST).sqrt()
            return self.fusion(distance)  # type: ignore[no-any-return]
        return self.fusion(torch.cat([video, audio], 1))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> L3:
        """Set the mode; frozen encoders stay in evaluation, so that their normalisation statistics do not move."""
        super().train(mode)
        if self.settings.frozen:
            self.encoders.eval()
        return self

    def negatives(self, global_batch: int) -> int:
        """Return 1: every true pair is told from one false pair."""
        return 1
