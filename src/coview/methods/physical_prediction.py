"""Physical prediction: the next pictures of a film, made by moving the pixels of the last one, as actions say.

Finn, Goodfellow & Levine, "Unsupervised learning for physical interaction through video prediction", NIPS 2016 (arXiv
1605.07157). With c pictures shown, T in all, x true, y predicted and s the machine's state,

    loss = 1 / (T - c) sum_{t >= c} [ mean (x_t - y_t)^2 + 1e-4 mean (s_t - s'_t)^2 ]

A predicted picture is put together, by masks that sum to 1, of the picture before, of one that is painted, and of the
picture before as it is moved by kernels (`cdna`), by a kernel at every place (`dna`), or by affine maps (`stp`). In
training, some samples of a step see true pictures after the first c as well (scheduled sampling); else each prediction
is fed back, with its gradient. `uses` names what is known of every step: actions and the first state, actions alone, or
nothing. Features are those of the recurrent encoder, which sees no action.

Otherwise than in the released code: no kernel is dropped and no mask is cut off (`encoders.frame_predictor`); stp has
as many maps as cdna has kernels; which samples see the truth is drawn over all processes together.

Recipe of the code: Adam at 1e-3, batch 32, 100,000 steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor

from coview.data.augment import PRESETS
from coview.data.views import Batch, SeriesView, VideoView, ViewSpec
from coview.encoders.conv_lstm import RecurrentFrames, State
from coview.encoders.frame_predictor import Motion, MotionDecoder, NextPicture
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.predictor import Prediction, Predictor
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.frame_prediction import prediction_error, psnr, shown_truth
from coview.parallel import mean_over_world

_SHOWN = 7600  # stream of a sample's key: whether it is shown the truth


def _table(track: str, dim: int, steps: int = 10) -> SeriesView:
    return SeriesView(track=track, dim=dim, steps=steps, rate=10.0, with_="video")


@dataclass(frozen=True, kw_only=True)
class PhysicalPredictionSettings:
    """The film, what is known of its steps, and the networks; what is not named in `uses` is not used."""

    video: VideoView = field(
        default_factory=lambda: VideoView(frames=10, fps=10.0, size=64, margin=1.0, normalise="none")
    )
    actions: SeriesView = field(default_factory=lambda: _table("actions", 5))  # what is done from picture to picture
    states: SeriesView = field(default_factory=lambda: _table("states", 5))  # the machine's; the first is known
    uses: tuple[Literal["actions", "states"], ...] = ("actions", "states")  # what is known beside the pictures
    context: int = 2  # pictures that are shown
    motion: Motion = "cdna"  # kernels of the whole picture, a kernel at every place (dna), or affine maps (stp)
    motions: int = 10  # kernels of cdna, maps of stp
    width: int = 32  # channels of the first maps
    slowness: float = 900.0  # k of scheduled sampling: half are shown the truth after k ln k steps; 0: none ever
    state_weight: float = 1e-4  # weight of the state's error

    def __post_init__(self) -> None:
        video = self.video
        if video.size % 8 or video.space != "rgb" or video.normalise != "none":
            raise ValueError(
                "pictures are predicted in colour: video needs a size in eights, space rgb, normalise none"
            )
        if not 0 < self.context < video.frames:
            raise ValueError(f"context is from 1 to {video.frames - 1}, so that a picture is left to predict")
        if len(set(self.uses)) < len(self.uses) or min(self.motions, self.width) < 1 or self.state_weight < 0:
            raise ValueError("uses names each once; motions and width are at least 1, state_weight not below 0")
        for name in self.uses:
            table = cast(SeriesView, getattr(self, name))
            if (table.steps, table.rate) != (video.frames, video.fps):
                raise ValueError(f"{name} needs a step for every picture: {video.frames} at {video.fps:g} per second")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and small computers: small networks on the views of the world of pushes."""
        return cls(
            video=VideoView(frames=5, fps=10.0, size=32, margin=1.0, normalise="none"),
            actions=_table("actions", 2, 5),
            states=_table("states", 2, 5),
            motions=6,
            width=8,
            slowness=100.0,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the film, and what is known of its steps."""
        return {"video": self.video} | {name: getattr(self, name) for name in self.uses}


@dataclass(frozen=True)
class _Rollout:
    """T - 1 pictures that follow those of a clip, and the states with them."""

    pictures: list[NextPicture]
    states: list[Tensor]
    features: Tensor

    def made(self, first: int) -> Tensor:
        """Return the predictions of pictures from number `first` on, (B, C, T', H, W)."""
        return torch.stack([one.picture for one in self.pictures[first - 1 :]], 2)


class PhysicalPrediction(Method, Predictor):
    """A recurrent encoder, and what makes the next picture of its maps."""

    about = About(
        slug="physical-prediction",
        title="Physical interaction through video prediction",
        paper="Finn, Goodfellow & Levine, NIPS 2016; arXiv 1605.07157",
        family="motion",
        state="verified: kernels, warps and composition equal the official functions; sampling and loss by definition",
    )
    Settings = PhysicalPredictionSettings
    settings: PhysicalPredictionSettings
    coupling: Coupling = "none"
    published = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=1e-3, weight_decay=0.0),
        schedule=ScheduleSettings(kind="constant"),
        augment=PRESETS["none"],
        batch_size=32,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=2e-3, weight_decay=0.0),
        schedule=ScheduleSettings(kind="cosine"),
        augment=PRESETS["none"],
    )

    def __init__(self, settings: PhysicalPredictionSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        channels, _, side, _ = settings.video.shape
        self.told = tuple(name for name in settings.uses if name == "actions")
        self.encoders["video"] = RecurrentFrames(channels, settings.width)
        known = sum(view.shape[1] for name, view in self.views.items() if name != "video")
        decoder = MotionDecoder(channels, side, settings.width, known, settings.motion, settings.motions)
        self.makers["video"] = decoder
        painted = ("painted",) if decoder.painted is not None else ()
        self.layers = ("before", *painted, *(f"motion {number + 1}" for number in range(decoder.motions)))
        if "states" in settings.uses:
            self.makers["states"] = torch.nn.Linear(known, settings.states.dim)

    def usable(self, batch: Batch) -> Batch | None:
        """See `Method.usable`: tables that end before the clip are not learnt from either."""
        for name in self.settings.uses:
            long = batch.mask(name).all(1)
            batch = batch if bool(long.all()) else batch.select(long)
        return super().usable(batch)

    def learn(self, batch: Batch) -> Step:
        """Return the loss; parts: error and psnr of the predicted pictures."""
        settings, video = self.settings, batch.views["video"]
        times = video.shape[2] - 1
        shown = torch.zeros(len(batch), times, dtype=torch.bool, device=video.device)
        if self.training:
            shown = shown_truth(batch.key, _SHOWN, batch.step, times, settings.slowness)
        rollout, first = self._rollout(batch, shown), settings.context
        true, made = video[:, :, first:], rollout.made(first)
        error = prediction_error(true, made)
        loss = mean_over_world(error)
        if rollout.states:
            states = torch.stack(rollout.states[first - 1 :], 1)
            loss = loss + settings.state_weight * mean_over_world(
                prediction_error(batch.views["states"][:, first:], states)
            )
        parts = {"error": mean_over_world(error.detach()), "psnr": mean_over_world(psnr(true, made.detach()))}
        return Step(loss, parts, {"video": rollout.features.detach()})

    @torch.no_grad()
    def predict(self, batch: Batch) -> Prediction:
        """See `Predictor.predict`."""
        video, first = batch.views["video"], self.settings.context
        rollout = self._rollout(batch, torch.zeros_like(video[:, 0, 1:, 0, 0], dtype=torch.bool))
        masks, flow = (
            torch.stack([getattr(one, name) for one in rollout.pictures[first - 1 :]], 2) for name in ("masks", "flow")
        )
        return Prediction(video[:, :, first:], rollout.made(first).clamp(0, 1), video[:, :, first - 1], masks, flow)

    def _rollout(self, batch: Batch, shown: Tensor) -> _Rollout:
        """Predict picture after picture; `shown` (B, T - 1) says where the truth is seen after the first ones."""
        encoder, decoder = cast(RecurrentFrames, self.encoders["video"]), self.makers["video"]
        video, first = batch.views["video"], self.settings.context
        below: list[State] | None = None
        above: list[State] | None = None
        pictures: list[NextPicture] = []
        states: list[Tensor] = []
        features = []
        for time in range(video.shape[2] - 1):
            seen = video[:, :, time]
            if time >= first:
                seen = torch.where(shown[:, time, None, None, None], seen, pictures[-1].picture)
            known = [seen.new_zeros(len(seen), 0)]
            if "actions" in self.views:
                known.append(batch.views["actions"][:, time])
            if "states" in self.views:
                known.append(states[-1] if states else batch.views["states"][:, 0])
            maps, below = encoder.step(seen, below)
            said = torch.cat(known, 1)
            following, above = decoder(seen, maps, said, above)
            pictures.append(following)
            features.append(encoder.pool(maps["scale3"]))
            if "states" in self.makers:
                states.append(self.makers["states"](said).to(said.dtype))
        return _Rollout(pictures, states, torch.stack(features).mean(0))
