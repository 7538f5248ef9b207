"""MCN: pictures, sounds and words in one space, each pulled to the clusters of what they are together.

B. Chen, A. Rouditchenko, K. Duarte, H. Kuehne, S. Thomas, A. Boggust, R. Panda, B. Kingsbury, R. Feris, D. Harwath,
J. Glass, M. Picheny, S.-F. Chang, "Multimodal Clustering Networks for Self-Supervised Learning from Unlabeled Videos",
ICCV 2021 (arXiv 2104.12671). With x_m the embedding of view m, f_m what its head sees, and r_m a small decoder,

    loss = sum over pairs of views margin_softmax(x_m, x_n)
         + cluster_weight mean_m cluster_loss(x_m, centroids, label)
         + reconstruction_weight sum_m |r_m(x_m) - f_m|^2 / d_m

(`coview.objectives.margin_softmax`, `cosine_clusters`). Labels come from the mean of a sample's embeddings, held
constant, the centroids from those of the global batch and, once it is full, of a queue; they follow k-means every
`cluster_every` steps from where they were, and start anew every epoch. No lengths are taken off and there is no
temperature. Any two or more views will do: vectors that were computed before, words' vectors in order, or raw views.

The released code lets the reconstruction move its own target, ends it in a ReLU, and lets the padding of a sentence
win the maximum (`as_released`). A batch here holds clips, not 32 of each video, so the queue takes all of them.

Published recipe (HowTo100M): Adam at 1e-4, 5000 steps of warm-up (here 2 % of the run), half a cosine over 30 epochs,
4096 clips of 128 videos.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.views import AudioView, Batch, FeaturesView, ViewSpec
from coview.encoders import Head
from coview.encoders.davenet import GatedUnit, WordPool
from coview.encoders.features import Unchanged
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.towers import TINY, dim_of, encoder_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.cosine_clusters import cluster_loss, cosine_lloyd, nearest_by_cosine
from coview.objectives.margin_softmax import margin_softmax
from coview.parallel import gather, mean_over_world, rank, row_counts
from coview.randomness import make_key, uniform

_START = 0x6D636E  # seed of the points that the first centroids are


def _published() -> dict[str, ViewSpec]:
    return {
        "video": FeaturesView(dim=4096),
        "audio": AudioView(seconds=10.0, n_fft=400, hop=160, window=400, mels=40),
        "text": FeaturesView(dim=300, steps=20),
    }


@dataclass(frozen=True, kw_only=True)
class MCNSettings:
    """Settings of MCN; the defaults are the released ones. The queue then takes 1 GB."""

    any_features: ClassVar[bool] = True  # see `FusionSettings`

    views: dict[str, ViewSpec] = field(default_factory=_published)
    video_encoder: str = "r2plus1d-18"  # of raw views
    image_encoder: str = "resnet-50"  # of raw views
    audio_encoder: str = "davenet"  # of raw views
    text_encoder: str = "text-characters"  # of raw views
    embedding: int = 6144  # length of the vectors that are compared
    margin: float = 0.001  # of the margin softmax
    clusters: int = 256  # of the joint space
    cluster_weight: float = 1.0  # weight of the clusters' loss
    cluster_every: int = 20  # steps
    queue: int = 40960  # samples
    decoder: int = 1024  # hidden numbers of each reconstruction
    reconstruction_weight: float = 50.0  # weight of the reconstruction
    as_released: bool = False  # reproduce what the released code does otherwise than the paper

    def __post_init__(self) -> None:
        if len(self.views) < 2:
            raise ValueError(f"views: two or more are needed, found {', '.join(self.views) or 'none'}")
        if min(self.cluster_weight, self.reconstruction_weight) < 0:
            raise ValueError("cluster_weight and reconstruction_weight cannot be below 0")
        if min(self.clusters, self.cluster_every, self.embedding, self.decoder) < 1 or self.queue < 0:
            raise ValueError("mcn needs clusters, cluster_every, embedding and decoder >= 1 and queue >= 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(
            views={"video": TINY["video"], "audio": TINY["audio"]},
            video_encoder=TINY["video_encoder"],
            audio_encoder=TINY["audio_encoder"],
            embedding=64,
            clusters=4,
            queue=32,
            decoder=64,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class MCN(Method):
    """An encoder, a gated head and a decoder for every view; centroids and a queue that are equal on all processes.

    State under another number of processes: replicate. `centroids` (K, E) mean something once `steps`, those since the
    epoch began, is above 0; `queue` (Q, E) holds the last `filled` fused embeddings, newest first.
    """

    about = About(
        slug="mcn",
        title="MCN: clusters of what picture, sound and words are together",
        paper="Chen et al., Multimodal Clustering Networks, ICCV 2021; arXiv 2104.12671",
        family="clustering",
        state="verified: losses, gradients, clusters and modules equal values of the official code",
    )
    Settings = MCNSettings
    settings: MCNSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=0.0),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.02),
        augment=PRESETS["none"],
        batch_size=4096,
        epochs=30,
        clips_per_recording=32,
    )
    coupling: Coupling = "assignment"
    least_batch = 2
    centroids: Tensor
    queue: Tensor
    filled: Tensor
    steps: Tensor

    def __init__(self, settings: MCNSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        wide = settings.embedding
        self.encoders = nn.ModuleDict({name: _encoder(settings, spec) for name, spec in self.views.items()})
        self.decoders = nn.ModuleDict()
        for name, spec in self.views.items():
            dim = dim_of(self.encoders[name])
            # A sound is gated before it is widened: the released code's way to keep half precision in range.
            sound = Head(wide, GatedUnit(dim, dim), nn.Linear(dim, wide))
            self.projectors[name] = sound if spec.stream == "audio" else GatedUnit(dim, wide)
            end = [nn.ReLU()] if settings.as_released else []
            self.decoders[name] = nn.Sequential(
                nn.Linear(wide, settings.decoder), nn.ReLU(), nn.Linear(settings.decoder, dim), *end
            )
        self.register_buffer("centroids", torch.zeros(settings.clusters, wide))
        self.register_buffer("queue", torch.zeros(settings.queue if facts.training else 0, wide))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have every view; parts: infonce (a direction's mean), clusters, error."""
        seen = {name: self.encoders[name](batch.views[name]) for name in self.views}
        x = {name: self.projectors[name](value) for name, value in seen.items()}
        settings, pairs = self.settings, list(combinations(x.values(), 2))
        contrast = mean_over_world(torch.stack([margin_softmax(*pair, settings.margin) for pair in pairs]).sum(0))
        clusters = mean_over_world(self._cluster(x))
        error = mean_over_world(torch.stack([self._error(name, seen[name], x[name]) for name in x]).sum(0))
        return Step(
            contrast + settings.cluster_weight * clusters + settings.reconstruction_weight * error,
            {
                "infonce": contrast.detach() / (2 * len(pairs)),
                "clusters": clusters.detach(),
                "error": error.detach(),
            },
            detached(x),
        )

    def _cluster(self, x: dict[str, Tensor]) -> Tensor:
        """Return the cluster loss (N,), mean over the views; 0 while there are fewer points than clusters."""
        views = torch.stack(list(x.values()))
        fused = gather(views.float().mean(0) if views.dtype != torch.float64 else views.mean(0))
        self.later(fused)
        centroids, labels = self._assign(fused)
        if labels is None:
            return 0 * views.sum((0, 2))
        start = sum(row_counts(views[0])[: rank()])
        own = labels[start : start + views.shape[1]]
        return torch.stack([cluster_loss(part, centroids, own, self.settings.margin) for part in views]).mean(0)

    @torch.no_grad()
    def _assign(self, fused: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the centroids and the labels of fused embeddings (M, E) of all processes."""
        steps, known = int(self.steps), bool(self.centroids.any())
        if known and (steps % self.settings.cluster_every or not self.training):
            return self.centroids, nearest_by_cosine(fused, self.centroids)
        full = len(self.queue) and int(self.filled) == len(self.queue)
        points = torch.cat([self.queue.to(fused), fused]) if full else fused
        if len(points) < self.settings.clusters:
            return self.centroids, None
        start = self.centroids
        if not known:
            order = uniform(make_key(_START, steps), 0, len(points)).argsort()[: self.settings.clusters]
            start = points[order.to(points.device)]
        labels, centroids = cosine_lloyd(points, start)
        if self.training:
            self.centroids.copy_(centroids)
        return centroids, labels[-len(fused) :]

    def _error(self, name: str, seen: Tensor, x: Tensor) -> Tensor:
        target = seen if self.settings.as_released else seen.detach()
        error: Tensor = (self.decoders[name](x) - target).square().mean(1)
        return error

    def refresh(self, epoch: int, embed: Any) -> None:
        """Forget the centroids and the queue: what an epoch ago was is far from what the networks yield now."""
        for buffer in (self.centroids, self.queue, self.filled, self.steps):
            buffer.zero_()

    @torch.no_grad()
    def after_step(self) -> None:
        """Put the step's fused embeddings in front of the queue and count the step."""
        if not self.waiting:
            return
        everyone = torch.cat([fused for (fused,) in self.waiting])
        fused = everyone[: len(self.queue)].to(self.queue)
        self.queue.copy_(torch.cat([fused, self.queue])[: len(self.queue)])
        self.filled.add_(len(fused)).clamp_(max=len(self.queue))
        self.steps.add_(1)
        self.waiting.clear()

    def negatives(self, global_batch: int) -> int:
        """Return all other samples of the batch."""
        return global_batch - 1


def _encoder(settings: MCNSettings, spec: ViewSpec) -> nn.Module:
    if spec.stream != "features":
        return encoder_of(settings, spec)
    *steps, dim = spec.shape
    return WordPool(dim, settings.embedding, settings.as_released) if steps else Unchanged(dim)
