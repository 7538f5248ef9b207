"""Tracked patches: both ends of a track are nearer to each other than to patches of other films.

X. Wang, A. Gupta, "Unsupervised Learning of Visual Representations using Videos", ICCV 2015 (arXiv 1505.00687). A
tracker supplies what belongs together (`coview prepare COLLECTION --tracks`): the first and the last patch of what
moved in a film for a second. One network f, whose last layer is a ReLU, and the ranking loss of
`coview.objectives.track_ranking` on its features at unit length, so that all distances lie in 0 to 1.

The first steps take negatives at random, later ones take hard ones. They come from other films alone, of all
processes: two tracks of one film often show the same thing. (The released code compares tracks, and those of one
process.) Paper and released code differ; `form` says which is followed, and the paper's is the default:

    paper:     margin .5, the patch that was tracked against each negative, the 4 hardest
    released:  margin 1, both ends of the track against it, of the 4 half from the hardest and half at random

Recipe of the released code: 400,000 steps of 50 tracks, mirrored patch by patch. Its networks begin with normal
numbers of one size and biases of 1; ours with what the encoder and the head begin with. Its gray model is
`image.space` lightness. The second pass of the paper, over a network fine-tuned on labels, is `--init`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.source import Source
from coview.data.views import Batch, ImageView, ViewSpec
from coview.encoders import Head, build_for, mlp
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.track_ranking import directed, ranking
from coview.parallel import gather, mean_over_world, row_counts
from coview.randomness import uniform

_DRAWS = 7900  # stream of a sample's key: which negatives
_FIRST, _LAST = "image", "image_last"


@dataclass(frozen=True, kw_only=True)
class VideoTripletSettings:
    """The patches, the network, and which patches of other films a track is held against."""

    image: ImageView = field(default_factory=lambda: ImageView(size=227, margin=1.0))
    image_encoder: str = "caffenet-pool5"  # network of patches
    hidden: tuple[int, ...] = (4096,)  # hidden layers of the head
    embedding: int = 1024  # length of what is compared
    form: Literal["paper", "released"] = "paper"  # where they differ
    margin: float | None = None  # by which the own patch is to be nearer; None: the form's
    negatives: int = 4  # K, of each track
    hard: float | None = None  # share of the negatives that comes from the hardest; None: the form's
    random_steps: int = 150_000  # so many steps take all negatives at random

    def __post_init__(self) -> None:
        if self.image.track is not None or self.negatives < 1 or self.random_steps < 0 or self.embedding < 1:
            raise ValueError("video-triplet needs negatives >= 1, embedding >= 1, random_steps >= 0, no image.track")
        if (self.margin is not None and self.margin < 0) or not 0 <= (self.hard or 0.0) <= 1:
            raise ValueError("margin is not below 0, and hard is a share, 0 to 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        image = replace(TINY_IMAGE, area=None)
        return cls(image=image, image_encoder="image-tiny", hidden=(), embedding=64, random_steps=100)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the first patch, which is the recording's own picture, and the last, a file beside it."""
        return {_FIRST: self.image, _LAST: replace(self.image, track="last")}


class VideoTriplet(Method):
    """One network and one head of patches; in training `film` (rows,), which film each track is from."""

    about = About(
        slug="video-triplet",
        title="Ranking of tracked patches of films",
        paper="Wang & Gupta, Unsupervised Learning of Visual Representations using Videos, ICCV 2015; arXiv 1505.00687",
        family="time",
        state="verified: loss, gradient and choice equal the compiled official layer",
    )
    Settings = VideoTripletSettings
    settings: VideoTripletSettings
    film: Tensor
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=1e-3, weight_decay=5e-4),
        schedule=ScheduleSettings(milestones=(0.25, 0.5, 0.75), gamma=0.1),
        augment=replace(PRESETS["none"], flip=0.5),
        batch_size=50,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3), augment=replace(PRESETS["none"], flip=0.5))
    coupling: Coupling = "negatives"
    least_batch = 2
    beside = "tracks of another film in the batch"

    def __init__(self, settings: VideoTripletSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        encoder = build_for(settings.image, settings.image_encoder)
        layers = mlp((encoder.dim, *settings.hidden, settings.embedding))
        head = Head(settings.embedding, *layers, nn.ReLU())
        self.encoders = nn.ModuleDict(dict.fromkeys((_FIRST, _LAST), encoder))
        self.projectors = nn.ModuleDict(dict.fromkeys((_FIRST, _LAST), head))
        self.register_buffer("film", torch.arange(facts.rows if facts.training else 0))

    def study(self, source: Source) -> str:
        """Know which film each track is from; recordings that name none are films of their own.

        Raises:
            UsageError: nothing has a last patch, or all tracks are from one film.
        """
        lacking: int = getattr(source, "lacking", {}).get(_LAST, 0)
        if lacking == len(source):
            raise UsageError(
                f"{source.name}: its recordings are no tracks; `coview prepare {source.name} --tracks -o TRACKS` "
                "finds those of films, and --collection TRACKS learns from them"
            )
        named: list[str] = getattr(source, "groups", None) or [""] * len(source)
        names = [(film, "") if film else ("", own) for film, own in zip(named, source.ids, strict=True)]
        places = {film: place for place, film in enumerate(dict.fromkeys(names))}
        if len(places) < 2:
            raise UsageError(f"{source.name}: all tracks are from one film, and negatives come from others; add films")
        self.film.copy_(torch.tensor([places[film] for film in names]))
        return f"{len(source)} tracks of {len(places)} films"

    def usable(self, batch: Batch) -> Batch | None:
        """Return the samples that have both patches; None too where all tracks of the batch are from one film."""
        usable = super().usable(batch)
        return None if usable is None or bool((films := gather(self.film[usable.row])).eq(films[:1]).all()) else usable

    def learn(self, batch: Batch) -> Step:
        """Return the loss of tracks; parts: mean distance to the own patch and to other films', share of hinges."""
        settings, released = self.settings, self.settings.form == "released"
        joined = torch.cat([batch.views[_FIRST], batch.views[_LAST]])  # statistics are those of all patches
        z = directed(self.projectors[_FIRST](self.encoders[_FIRST](joined)))
        first, last = z.view(2, len(batch), z.shape[1])
        film = self.film[batch.row]
        margin = settings.margin if settings.margin is not None else 1.0 if released else 0.5
        hard = settings.hard if settings.hard is not None else 0.5 if released else 1.0
        loss, hinges = ranking(
            first, last, film, uniform(batch.key, _DRAWS, 2 * sum(row_counts(batch.row))),
            margin=margin, count=settings.negatives, released=released,
            hard=0.0 if batch.step < settings.random_steps else hard,
        )  # fmt: skip
        parts = self._distances(first.detach(), last.detach(), film)
        parts["active"] = mean_over_world((hinges > 0).sum(1) / settings.negatives)
        return Step(mean_over_world(loss), parts, detached({_FIRST: first, _LAST: last}))

    def _distances(self, first: Tensor, last: Tensor, film: Tensor) -> dict[str, Tensor]:
        """Return the mean distance of tracks' two ends, and of their first patches to the last ones of other films."""
        other = film[:, None] != gather(film)[None]
        apart = torch.where(other, 1 - first @ gather(last).T, 0.0).sum(1) / other.sum(1).clamp(min=1)
        return {"own": mean_over_world(1 - (first * last).sum(1)), "others": mean_over_world(apart, other.any(1))}

    def negatives(self, global_batch: int) -> int:
        """Return K, or fewer where the batch holds fewer."""
        return min(self.settings.negatives, 2 * (global_batch - 1))

    def chance_loss(self, global_batch: int) -> float:
        """Return the margin: the loss of embeddings that are all the same."""
        default = 1.0 if self.settings.form == "released" else 0.5
        return default if self.settings.margin is None else self.settings.margin

    def lr_scale(self, name: str) -> float:
        """Return 2 for biases, as published."""
        return 2.0 if name.endswith(".bias") else 1.0
