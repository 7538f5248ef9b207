"""ELo: many tasks on several views at once, and what the main view's network takes over from the others.

A. Piergiovanni, A. Angelova, M. S. Ryoo, "Evolving Losses for Unsupervised Video Representation Learning", CVPR 2020
(arXiv 2002.12177). Every view m has a network E_m; the first view is the main one. With weights in [0, 1],

    loss = sum of weight * L / L at the start, over tasks and links, which are called

    reconstruct/m   m from E_m(m)                            next/m         a clip's second half from its first
    predict/m/n     n from E_m(m), m or n the main view      order/m        are the clip's frames in their order?
    align/m/n       pairs of one recording near, of two      direction/m    does the clip run forward?
                    beyond `margin` (DrLIM, of unit vectors)
    distil/n/i      |L - P M|^2 after stage i (1: the top) of n's network, L, and the main one's, M; maps are averaged
                    over places, P is linear, and no gradient reaches L unless `teach_both`

Making pictures and sounds is judged by squared errors, order and direction by binary cross-entropies; colouring is
`predict` from a grey view. Losses differ by orders of magnitude, which weights of at most 1 could not make up for: each
is divided by its value at the first step that has it, over all processes (`start`, part of the state). What has weight
0 is neither built nor computed, and a view that nothing asks for is not read. A recording takes part in the tasks whose
views it has. `coview evolve elo` looks for weights.

No code exists and the paper's text was not read: decoders, heads, which pairs of views there are and the recipe are
choices. All networks of views stay with the model, the main one first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from coview.data.augment import PRESETS
from coview.data.views import AudioView, Batch, FlowView, VideoView, ViewSpec
from coview.encoders import Encoder, LinearHead
from coview.encoders.decoders import PlaneDecoder
from coview.encoders.features import FeatureDecoder, FeatureEncoder
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO, idle_loss, unit
from coview.methods.parts.towers import dim_of, encoder_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.correspondence import draw_mismatched
from coview.objectives.frame_order import shuffled, turned
from coview.objectives.precision import in_float32
from coview.objectives.steadiness import contrast
from coview.parallel import gather, gather_with_grad, mean_over_world, sum_with_grad, world_size
from coview.randomness import make_key

_ALTERED, _OTHER = 8300, 8301  # keep a sample's draws apart: of its clip's time, and of another recording
_FLAT = "features"  # kind of view that is a vector already
_IN_TIME = ("next", "order", "direction")  # tasks that are shown a clip otherwise than it is


def _published() -> dict[str, ViewSpec]:
    video = VideoView(frames=32, size=224)
    grey, flow = replace(video, space="lightness", with_="video"), FlowView(frames=32, size=224, with_="video")
    return {"video": video, "flow": flow, "grey": grey, "audio": AudioView()}


@dataclass(frozen=True, kw_only=True)
class ELoSettings:
    """Views, the main one first; the weights of tasks and links; the networks."""

    views: dict[str, ViewSpec] = field(default_factory=_published)
    weights: dict[str, float] = field(default_factory=dict)  # of tasks and links by name, 0 to 1
    others: float = 1.0  # weight of those that are not named
    links: int = 4  # stages, from the top, after which the main network takes over from another
    video_encoder: str = "r2plus1d-18"  # network of clips
    flow_encoder: str = "r2plus1d-18"  # network of clips of flow
    image_encoder: str = "resnet-50"  # network of pictures
    audio_encoder: str = "conv2d"  # network of sounds
    hidden: tuple[int, ...] = ()  # hidden layers of networks and decoders of stored vectors
    code: int = 128  # numbers that such a network ends in
    embedding: int = 128  # length of the vectors that are aligned
    margin: float = 1.0  # how far recordings are to be apart
    teach_both: bool = False  # let what is taken over change the network that it is taken from

    def __post_init__(self) -> None:
        for name, view in self.views.items():
            if view.stream not in ("video", "flow", "image", "audio", _FLAT) or view.sequence or "/" in name:
                raise ValueError(f"views: elo sees clips, pictures, sounds and stored vectors, and {name!r} is none")
        if not self.views or min(self.code, self.embedding, self.links + 1) < 1 or self.margin <= 0:
            raise ValueError("elo needs a view, code and embedding >= 1, links >= 0 and margin > 0")
        if unknown := sorted(set(self.weights) - set(self.tasks())):
            raise ValueError(f"weights: no {', '.join(unknown)}; these views have {', '.join(self.tasks())}")
        if not all(0 <= weight <= 1 for weight in (self.others, *self.weights.values())):
            raise ValueError("weights lie between 0 and 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: the views of the digits world."""
        grey = replace(TINY_VIDEO, space="lightness", with_="video")
        views: dict[str, ViewSpec] = {"video": TINY_VIDEO, "grey": grey, "audio": TINY_AUDIO}
        return cls(views=views, video_encoder="video-tiny", audio_encoder="audio-tiny", embedding=32, links=2)

    def tasks(self) -> list[str]:
        """Return the names of all tasks and links that these views have, whatever their weights."""
        main, *others = self.views
        clips = [name for name, view in self.views.items() if len(view.shape) == 4 and view.shape[1] > 1]
        return [
            *(f"reconstruct/{name}" for name in self.views),
            *(f"{task}/{name}" for task in _IN_TIME for name in clips),
            *(f"predict/{one}/{two}" for name in others for one, two in ((main, name), (name, main))),
            *(f"align/{main}/{name}" for name in others),
            *(f"distil/{name}/{stage}" for name in others for stage in range(1, self.links + 1)),
        ]

    def weighed(self) -> dict[str, float]:
        """Return task or link -> weight, of those whose weight is not 0."""
        weights = {name: self.weights.get(name, self.others) for name in self.tasks()}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def searched(self) -> list[str]:
        """Return the settings that `coview evolve` moves where nothing else is said."""
        return [f"weights.{name}" for name in self.tasks()]

    def specs(self) -> dict[str, ViewSpec]:
        """Return the main view, and of the others those that a task asks for."""
        main = next(iter(self.views))
        asked = {name for task in self.weighed() for name in _asks(task, main)}
        return {name: view for name, view in self.views.items() if name == main or name in asked}


class ELo(Method):
    """A network for each view, and in training a head or a decoder for each task (`heads`).

    State, equal on all processes: `start` (tasks,), every loss at the first step that had it, 0 before.
    """

    about = About(
        slug="elo",
        title="ELo: many tasks at once, whose weights are evolved",
        paper="Piergiovanni et al., Evolving Losses for Unsupervised Video Representation Learning, CVPR 2020",
        family="tasks",
        state="reconstruction: no code exists and the paper's text was not read; fitness equals golden values",
    )
    Settings = ELoSettings
    settings: ELoSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.1, weight_decay=1e-4),
        schedule=ScheduleSettings(kind="cosine"),
        augment=replace(PRESETS["none"], flip=0.5),
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3), augment=published.augment)
    coupling: Coupling = "negatives"
    least_batch = 2
    start: Tensor

    def __init__(self, settings: ELoSettings, facts: Facts) -> None:
        if facts.training and not settings.weighed():
            raise UsageError("weights: all tasks and links have weight 0, and nothing would be learnt")
        super().__init__(settings, facts)
        self.main = next(iter(self.views))
        self.weighed = settings.weighed()
        for name, view in self.views.items():
            if view.stream == _FLAT:
                self.encoders[name] = FeatureEncoder(view.shape, settings.hidden, settings.code)
            else:
                self.encoders[name] = encoder_of(settings, view)
        aligned = {name for task in self.weighed if task.startswith("align/") for name in _asks(task, self.main)}
        self.projectors.update(
            {
                name: LinearHead(dim_of(net), settings.embedding)
                for name, net in self.encoders.items()
                if name in aligned
            }
        )
        headed = [task for task in self.weighed if facts.training and not task.startswith("align/")]
        self.heads = nn.ModuleDict({task: self._head(task) for task in headed})
        self.register_buffer("start", torch.zeros(len(self.weighed)))

    def needs(self, batch: Batch) -> list[str]:
        """Return the main view: what else is there decides which tasks a recording takes part in."""
        return [self.main]

    def learn(self, batch: Batch) -> Step:
        """Return the weighted sum of the losses; parts: each loss, divided by its value at the start."""
        seen = {name: self._seen(batch, name) for name in self._plain()}
        losses = []
        for task in self.weighed:
            there = torch.stack([batch.present[name] for name in _asks(task, self.main)]).all(0)
            losses.append(mean_over_world(self._loss(task, batch, seen, there)))
        found = torch.stack(losses)
        now = sum_with_grad(found.detach()) / world_size()
        start = torch.where(self.start > 0, self.start.to(now), now)
        self.later(now)
        share = found / torch.where(start > 0, start, 1.0)
        weights = share.new_tensor(list(self.weighed.values()))
        parts = dict(zip(self.weighed, share.detach().unbind(), strict=True))
        # Of a network, tasks can leave out the top, or all of it: a gradient of 0 is one.
        loss = (weights * share).sum() + idle_loss(self.encoders)
        return Step(loss, parts, {self.main: seen[self.main][0].detach()})

    def take_in(self, now: Tensor) -> None:
        """Keep the losses (tasks,) of those that had none before."""
        self.start.copy_(torch.where(self.start > 0, self.start, now.to(self.start)))

    def _plain(self) -> list[str]:
        """Return the views whose networks are shown them as they are."""
        shown = {name for task in self.weighed for name in _shown(task, self.main)} | {self.main}
        return [name for name in self.views if name in shown]

    def _seen(self, batch: Batch, name: str) -> list[Tensor]:
        """Return features (B, dim) and the means of the stages' maps from the top, (B, C) each; zeros where absent."""
        there, encoder = batch.present[name], self.encoders[name]
        x = batch.views[name][there]
        if isinstance(encoder, Encoder):
            maps = encoder.feature_maps(x)
            features = encoder.pool(maps[encoder.stages[-1]])
            found = [features, *(maps[stage].flatten(2).mean(2) for stage in reversed(encoder.stages))]
        else:
            found = [encoder(x)] * 2
        return [value.new_zeros(len(batch), value.shape[1]).index_put((there,), value) for value in found]

    def _loss(self, task: str, batch: Batch, seen: Mapping[str, list[Tensor]], there: Tensor) -> Tensor:
        """Return the loss (N_r,) of the samples that have what a task asks for."""
        kind, one, *rest = task.split("/")
        if kind == "align":
            return self._aligned(one, rest[0], batch.select(there), [seen[name][0][there] for name in (one, rest[0])])
        head = self.heads[task]
        if kind in ("reconstruct", "predict"):
            return _squared(head(seen[one][0][there]), batch.views[rest[0] if rest else one][there])
        if kind == "distil":
            taught, own = (seen[name][int(rest[0])][there] for name in (one, self.main))
            return _squared(head(own), taught if self.settings.teach_both else taught.detach())
        clip, key, encoder = batch.views[one][there], batch.key[there], self.encoders[one]
        if kind == "next":
            half = clip.shape[2] // 2
            return _squared(head(encoder(clip[:, :, :half])), clip[:, :, half:])
        clip, altered = (shuffled if kind == "order" else turned)(clip, make_key(key, _ALTERED))
        logit = head(encoder(clip))[:, 0]
        return in_float32(binary_cross_entropy_with_logits)(logit, altered.to(logit), reduction="none")

    def _aligned(self, one: str, other: str, batch: Batch, features: list[Tensor]) -> Tensor:
        x, y = (unit(self.projectors[name](value)) for name, value in zip((one, other), features, strict=True))
        near = contrast(x, y, True, self.settings.margin, "drlim")
        rows = gather(batch.row)
        if not len(rows):
            return near
        place, found = draw_mismatched(make_key(batch.key, _OTHER), batch.row, rows)
        far = contrast(x, gather_with_grad(y)[place], False, self.settings.margin, "drlim")
        return near + torch.where(found, far, 0.0)

    def _head(self, task: str) -> nn.Module:
        kind, one, *rest = task.split("/")
        dim = dim_of(self.encoders[one])
        if kind == "distil":
            return nn.Linear(self._width(self.main, int(rest[0])), self._width(one, int(rest[0])))
        if kind in ("order", "direction"):
            return nn.Linear(dim, 1)
        made = self.views[rest[0] if rest else one]
        if made.stream == _FLAT:
            return FeatureDecoder(dim, self.settings.hidden[::-1], made.shape)
        shape = list(made.shape)
        if kind == "next":
            shape[1] -= shape[1] // 2
        return PlaneDecoder(dim, shape)

    def _width(self, name: str, stage: int) -> int:
        """Return the channels of a stage, 1 for the top; raises UsageError where there are fewer stages."""
        encoder = self.encoders[name]
        stages = getattr(encoder, "stages", ("",))
        if stage > len(stages):
            raise UsageError(f"links: the network of {name} has {len(stages)} stages, and {stage} are asked for")
        if not isinstance(encoder, Encoder):
            return dim_of(encoder)
        shapes = copy.deepcopy(encoder).to("meta").eval()  # nothing is computed
        maps = shapes.feature_maps(torch.empty(1, *self.views[name].shape, device="meta"))
        return int(maps[stages[-stage]].shape[1])


def _asks(task: str, main: str) -> list[str]:
    """Return the views that a sample must have for a task or link."""
    kind, *names = task.split("/")
    return [main, names[0]] if kind == "distil" else names


def _shown(task: str, main: str) -> list[str]:
    """Return the views whose networks a task reads with what they are shown as it is."""
    kind, *names = task.split("/")
    if kind in _IN_TIME:
        return []
    return names[:1] if kind == "predict" else _asks(task, main)


@in_float32
def _squared(made: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error (N,) of what was made (N, ...)."""
    return (made - wanted.to(made)).square().flatten(1).mean(1)
