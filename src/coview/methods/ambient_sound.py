"""Ambient sound: from one frame of a film, what its sound is like on the whole.

Owens, Wu, McDermott, Freeman & Torralba, "Ambient sound provides supervision for visual learning", ECCV 2016 (arXiv
1608.07017). With s the texture statistics of the sound around a frame x (`coview.media.textures`) and f the network,

    loss = CE(f(x), k(s))                     clusters: k(s) the nearest of 30 centroids, where s is not farther from it
                                              than the median; the other examples are thrown away
    loss = sum_b CE(sigmoid f_b(x), c_b(s))   bits: c_b(s) whether the b-th principal component of s exceeds 0, or its
                                              median

No gradient reaches the sound. Scales, centroids and components are found once, before the first step, on sounds of the
training part, and kept with the model. "spectrum" is the paper's baseline: bits of the bands' means alone. Groups of
statistics (means, variations, correlations, modulation, loudness) weigh the same, whatever their number.

Not settled by the paper, and chosen here: the weights of the groups; that the median is each cluster's own, since that
of all distances can empty a diffuse cluster (`median`); the best of eight starts of k-means; a floor under the
statistics of nearly empty bands. The frame lies anywhere in the sound's 3.75 s, where the paper has it in the middle.
Silent sounds are left out.

Recipe from memory [M]: SGD with Caffe's defaults, batch 256, 320,000 iterations; batch normalisation, no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Self, cast

import torch
from torch import Tensor

from coview.correlation.principal import principal_components
from coview.data.views import Batch, ImageView, TextureView, ViewSpec
from coview.encoders import build_image, mlp
from coview.encoders.codes import Centroids, GroupScale
from coview.encoders.features import FittedMap
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.parts.memories import fewer_clusters, need_rows
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.codes import bit_cost, cluster_cost, median_distances, medians, nearest
from coview.objectives.kmeans import kmeans
from coview.parallel import gather, mean_over_world, rank, row_counts, world_size
from coview.randomness import make_key, normal


@dataclass(frozen=True, kw_only=True)
class AmbientSoundSettings:
    """The frame and its sound, the network, and what of the sound is learnt; the defaults are the paper's."""

    image: ImageView = field(default_factory=lambda: ImageView(size=227, margin=256 / 227))
    sound: TextureView = field(default_factory=TextureView)
    encoder: str = "caffenet-batchnorm"  # network of frames
    hidden: tuple[int, ...] = (4096, 4096)  # layers between the network's features and the answer
    target: Literal["clusters", "bits", "spectrum"] = "clusters"  # what is learnt; the last: bits of means alone
    clusters: int = 30  # of sounds, each of which is a class
    bits: int = 60  # of principal components; the spectrum has 32 at most
    median: Literal["global", "cluster"] = "cluster"  # farther members are thrown away: of all distances, or its own
    threshold: Literal["zero", "median"] = "zero"  # of a component, above which a bit is set
    sounds: int = 50_000  # that clusters and components are found on
    starts: int = 8  # of k-means; the clusters that lie closest are kept
    seed: int = 0  # of the clusters

    def __post_init__(self) -> None:
        if self.clusters < 2 or min(self.bits, self.starts) < 1 or self.sounds < 2:
            raise ValueError("clusters >= 2, bits >= 1, starts >= 1 and sounds >= 2 are needed")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: a small network on frames of the digits world."""
        sound = TextureView(seconds=1.0, sample_rate=16000)
        return cls(image=TINY_IMAGE, sound=sound, encoder="image-tiny", hidden=(), clusters=10, bits=16)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the frame and the statistics of its sound."""
        return {"image": self.image, "sound": self.sound}


class AmbientSound(Method):
    """A network of frames that answers in the code of their sound."""

    about = About(
        slug="ambient-sound",
        title="Ambient sound: a frame says what its sound is like on the whole",
        paper="Owens et al., ECCV 2016; arXiv 1608.07017",
        family="clustering",
        state="verified: statistics equal the released codes', clusters, rejection and bits independent values",
    )
    Settings = AmbientSoundSettings
    settings: AmbientSoundSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.01, weight_decay=5e-4, decay="everything"),
        schedule=ScheduleSettings(kind="multistep", milestones=(1 / 3, 2 / 3), gamma=0.1),
        batch_size=256,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3), schedule=ScheduleSettings(kind="cosine"))
    coupling: Coupling = "none"
    least_batch = 2
    beside = "a sound that is heard and near the middle of its cluster"

    @classmethod
    def fitted(cls, settings: AmbientSoundSettings, rows: int) -> AmbientSoundSettings:
        """See `Method.fitted`."""
        clusters, bits = fewer_clusters(settings.clusters, rows), min(settings.bits, max(1, rows - 1))
        return replace(settings, clusters=clusters, bits=bits)

    def __init__(self, settings: AmbientSoundSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        groups = settings.sound.groups
        sizes = [groups["mean"]] if settings.target == "spectrum" else list(groups.values())
        self.in_clusters = settings.target == "clusters"
        self.encoders["image"] = encoder = build_image(settings.encoder, settings.image.channels)
        self.encoders["sound"] = GroupScale(sizes)
        if self.in_clusters:
            need_rows(facts, settings.clusters, f"{settings.clusters} clusters need at least as many recordings")
            drawn = normal(make_key(settings.seed, 0), 0, settings.clusters, sum(sizes))  # until they are found
            code: Centroids | FittedMap = Centroids(drawn)
        else:
            code = FittedMap(sum(sizes), min(settings.bits, sum(sizes)))
        self.projectors["image"] = mlp((encoder.dim, *settings.hidden, code.dim), batchnorm=True)
        self.projectors["sound"] = code

    @torch.no_grad()
    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Find scales, and clusters or components, on the first sounds of all processes."""
        values, keys, seen = [], [], 0
        for batch in samples:
            batch = complete(batch, ["sound"])
            heard = _heard(batch.views["sound"])
            values.append(batch.views["sound"][heard])
            keys.append(batch.key[heard])
            seen += sum(row_counts(values[-1]))
            if seen >= self.settings.sounds:
                break
        # Every process holds all of them in one order, whatever their number.
        order = gather(torch.cat(keys)).argsort()
        self.fit(gather(torch.cat(values))[order])

    def fit(self, sounds: Tensor) -> None:
        """Find scales, and clusters or components, on statistics (N, D), the same on every process.

        Raises:
            UsageError: there are too few sounds, or only one cluster keeps any.
        """
        scale, code, settings = cast(GroupScale, self.encoders["sound"]), self.projectors["sound"], self.settings
        scale.fit(sounds)
        scaled = scale(sounds.double())
        if isinstance(code, FittedMap):
            mean, directions = principal_components(scaled, code.dim)
            if settings.threshold == "median":
                mean = mean + medians((scaled - mean) @ directions.T) @ directions  # these are orthonormal
            code.set(mean, directions.T)
            return
        mine = torch.arange(len(scaled), device=scaled.device)[rank() :: world_size()]
        seeds = [int(make_key(settings.seed, torch.tensor(start))) for start in range(settings.starts)]
        tries = [kmeans(scaled, settings.clusters, seed=seed, index=mine) for seed in seeds]
        found = min(tries, key=lambda clusters: clusters.inertia)
        label, distance = nearest(scaled, found.centroids)
        reach = median_distances(distance, label, settings.clusters, settings.median == "cluster")
        cast(Centroids, code).set(found.centroids, reach)
        left = int(torch.bincount(label[distance <= reach[label]], minlength=settings.clusters).count_nonzero())
        if left < 2:
            others = "sounds are too alike" if settings.median == "cluster" else "or --method.median cluster"
            raise UsageError(
                f"only {left} of {settings.clusters} clusters keep a sound that is no farther than the median: ask for "
                f"other clusters (--method.clusters); {others}"
            )

    def code(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of statistics (N, D), and whether each is learnt from, bool (N,).

        A code is a cluster, int64 (N,), or bits, bool (N, B).
        """
        scaled, code, heard = self.encoders["sound"](sound), self.projectors["sound"], _heard(sound)
        if isinstance(code, FittedMap):
            return code(scaled) > 0, heard
        label, distance = nearest(scaled, cast(Centroids, code).centroids)
        return label, heard & (distance <= cast(Centroids, code).reach[label])

    def forward(self, batch: Batch) -> Step:
        """See `Method.forward`; silent and thrown away sounds are no samples, the part `kept` is the others' share."""
        batch = complete(batch, self.views)
        kept = self.code(batch.views["sound"])[1]
        chosen = batch if bool(kept.all()) else batch.select(kept)
        if not enough(chosen, self.least_batch):
            return self.idle()
        step = self.learn(chosen)
        step.parts["kept"] = mean_over_world(kept.to(step.loss.dtype))
        return step

    def learn(self, batch: Batch) -> Step:
        """Return the loss; part: accuracy, the share of clusters or of bits that are right."""
        features = self.encoders["image"](batch.views["image"])
        logits = self.projectors["image"](features)
        code, _ = self.code(batch.views["sound"])
        cost = cluster_cost(logits, code) if self.in_clusters else bit_cost(logits, code)
        right = (logits.argmax(1) == code) if self.in_clusters else ((logits > 0) == code).float().mean(1)
        parts = {"accuracy": mean_over_world(right.to(cost.dtype))}
        return Step(mean_over_world(cost), parts, {"image": features.detach()})

    def groups(self, batch: Batch) -> dict[str, Tensor]:
        """See `Method.groups`: clusters by the sound itself, and as frames are thought to sound."""
        if not self.in_clusters:
            return {}
        scores = self.embed(batch)
        return {name: value.log_softmax(1) if name == "image" else value for name, value in scores.items()}

    def chance_loss(self, global_batch: int) -> float:
        """Return the loss of guessing: ln k of clusters, ln 2 for every bit."""
        count = int(cast(Centroids, self.projectors["sound"]).dim)
        return math.log(count) if self.in_clusters else count * math.log(2)


def _heard(sound: Tensor) -> Tensor:
    """Return which statistics (N, D) are of a sound that is not silent: the last is the loudness."""
    return sound[:, -1] > 0
