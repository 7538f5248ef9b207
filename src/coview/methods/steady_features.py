"""Slow and steady features of frames: neighbours lie near, and each step is like the step before it.

D. Jayaraman, K. Grauman, "Slow and Steady Feature Analysis: Higher Order Temporal Coherence in Video", CVPR 2016 (arXiv
1506.04714). A network of pictures z, the same for every frame of a clip cut at equal steps in seconds, and

    loss = supervised + weight (slow + steadiness steady),    see `coview.objectives.steadiness`

slow is the mean over pairs: those of the clip (together where they are at most `window` seconds apart), and for each
that is together the same with its later frame from another recording. steady is the mean over the clip's triplets in
equal steps of at most `window`, and over each with its last frame from another recording. supervised is the
cross-entropy of a linear layer on z, over the samples with a label that is used; without such samples it is 0.

The paper's sums over pairs and triplets are the means here times their numbers: its lambda is `weight` over the number
of pairs, its lambda' `steadiness` times pairs over triplets. It used one hidden layer, or three blocks of convolutions
with 64 features, on pictures of 32 pixels; here any network of pictures. Its rates were found on validation labels;
the recipe is ours. No code of the authors was found. z must not be brought to unit length: nothing moves straight on a
sphere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.data.views import Batch, ImageView, VideoView, ViewSpec
from coview.encoders import LinearHead, build_for
from coview.encoders.per_frame import PerFrame
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_VIDEO
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.objectives.steadiness import Distance, moments, slow, steady
from coview.parallel import gather, gather_with_grad, mean_over_world, rank, row_counts
from coview.randomness import make_key, uniform

_LABELLED = 0x6C616265  # which recordings' labels are used, drawn from their row


def _clip() -> VideoView:
    return VideoView(frames=6, fps=6.0)


@dataclass(frozen=True, kw_only=True)
class SteadyFeaturesSettings:
    """Settings of slow and steady features; labels are used only where `labelled` says so."""

    video: VideoView = field(default_factory=_clip)
    image_encoder: str = "resnet-18"  # network of every frame
    embedding: int = 64  # numbers of z
    window: float = 0.5  # T: frames at most so many seconds apart belong together
    distance: Distance = "l2"  # Euclidean, its square, sum of absolute values, or DrLIM with both terms squared
    slow_margin: float = 1.0  # delta of pairs that do not belong together
    steady_margin: float = 1.0  # delta of triplets that do not
    negatives: int = 1  # other recordings that each pair and triplet is held against
    weight: float = 1.0  # lambda, of slow and steady beside the labels
    steadiness: float = 1.0  # lambda', of steady; 0: slow features alone
    labelled: float = 0.0  # share of the labelled recordings whose label is learnt too; in the paper a few per class

    def __post_init__(self) -> None:
        if self.video.frames < 3 or self.reach < 1:
            raise ValueError("steady features need three frames or more, and a window that two of them fit in")
        if min(self.slow_margin, self.steady_margin, self.weight) <= 0 or self.steadiness < 0 or self.negatives < 1:
            raise ValueError("steady features need margins and weight > 0, steadiness >= 0 and negatives >= 1")
        if not 0 <= self.labelled <= 1:
            raise ValueError("labelled is a share of the recordings, 0 to 1")

    @property
    def reach(self) -> int:
        """Steps between frames that are `window` seconds apart."""
        return math.floor(self.window * self.video.fps + 1e-6)

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: a small network on the clips of the digits world."""
        return cls(video=TINY_VIDEO, image_encoder="image-tiny", embedding=32, window=0.25)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the view."""
        return {"video": self.video}


class SteadyFeatures(Method):
    """A network of pictures, a linear layer to z, and where labels are learnt one from z to them."""

    about = About(
        slug="steady-features",
        title="Slow and steady features of video frames",
        paper="Jayaraman & Grauman, Slow and Steady Feature Analysis, CVPR 2016; arXiv 1506.04714",
        family="time",
        state="verified: terms, sums and gradients equal an independent float64 computation; no official code exists",
    )
    Settings = SteadyFeaturesSettings
    settings: SteadyFeaturesSettings
    pairs: Tensor  # int64 (P, 2), frames of a clip
    triplets: Tensor  # int64 (Q, 3)
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.01, weight_decay=5e-4),
        schedule=ScheduleSettings(kind="constant"),
        batch_size=32,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3))
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: SteadyFeaturesSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        clip = settings.video
        frame = ImageView(size=clip.size, normalise=clip.normalise, space=clip.space)
        self.encoders["video"] = encoder = PerFrame(build_for(frame, settings.image_encoder))
        self.projectors["video"] = LinearHead(encoder.dim, settings.embedding)
        if settings.labelled and facts.training:
            if facts.classes < 2:
                found = f"the collection has {facts.classes}"
                raise UsageError(
                    f"method.labelled asks for two classes or more, {found}: label recordings, or leave it"
                )
            self.classes = LinearHead(settings.embedding, facts.classes)
        pairs, triplets = moments(clip.frames, settings.reach)
        for name, value in {"pairs": pairs, "triplets": triplets}.items():
            self.register_buffer(name, value, persistent=False)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of samples that have the clip; parts: slow, steady, and supervised where labels are used."""
        settings, encoder = self.settings, cast(PerFrame, self.encoders["video"])
        z = in_float32(self.projectors["video"].forward)(encoder.each(batch.views["video"]))  # (N, T, D)
        slowness, steadiness = self._coherence(z, batch.row)
        loss = settings.weight * (slowness + settings.steadiness * steadiness)
        parts = {"slow": slowness.detach(), "steady": steadiness.detach()}
        if settings.labelled:
            supervised = self._supervised(z, batch)
            loss, parts["supervised"] = loss + supervised, supervised.detach()
        return Step(loss, parts, {"video": z.mean(1).detach()})

    def _coherence(self, z: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return slow and steady, means over all processes, of the frames z (N_r, T, D) of recordings `row` (N_r,)."""
        first, second = self.settings.slow_margin, self.settings.steady_margin
        distance, everyone, rows = self.settings.distance, gather_with_grad(z), gather(row)
        together = self.pairs[:, 1] - self.pairs[:, 0] <= self.settings.reach
        j, k = z[:, self.pairs].unbind(2)  # (N, P, D)
        l, m, n = z[:, self.triplets].unbind(2)  # (N, Q, D)  # noqa: E741
        slows, steadies = [slow(j, k, together, first, distance)], [steady(l, m, n, True, second, distance)]
        valid = [torch.ones_like(row, dtype=torch.bool)]
        own = sum(row_counts(row)[: rank()]) + torch.arange(len(row), device=row.device)
        for shift in range(1, self.settings.negatives + 1):
            at = (own + shift) % max(len(rows), 1)
            other = everyone[at]
            slows.append(slow(j, other[:, self.pairs[:, 1]], False, first, distance)[:, together])
            steadies.append(steady(l, m, other[:, self.triplets[:, 2]], False, second, distance))
            valid.append(rows[at] != row)  # another clip of the same recording is no negative
        return _mean(slows, valid), _mean(steadies, valid)

    def uses_label(self, row: Tensor) -> Tensor:
        """Return bool (N,): of which recordings (their rows, int64) a label is learnt; always the same ones."""
        return uniform(make_key(row), _LABELLED) < self.settings.labelled

    def _supervised(self, z: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of every frame of the samples whose label is used, meaned over all processes."""
        used = (batch.label >= 0) & self.uses_label(batch.row)
        logits = in_float32(self.classes.forward)(z).transpose(1, 2)  # (N, K, T)
        label = batch.label.clamp(min=0)[:, None].expand(-1, z.shape[1])
        return mean_over_world(cross_entropy(logits, label, reduction="none").mean(1), used)


def _mean(terms: list[Tensor], valid: list[Tensor]) -> Tensor:
    """Return the mean over all processes of terms (N_r, ...), each part where its samples (N_r,) are valid."""
    kept = [each[:, None].expand_as(part).flatten() for part, each in zip(terms, valid, strict=True)]
    return mean_over_world(torch.cat([part.flatten() for part in terms]), torch.cat(kept))
