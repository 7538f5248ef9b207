"""SwAV: swapping assignments between crops.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", NeurIPS 2020 (arXiv 2006.09882).

With z_v the unit embeddings of crop v, C the unit prototypes and Q_a the balanced code of crop a (Sinkhorn on
z_a C^T / epsilon over the samples of all processes, without gradient), for assigned crops A among V:

    loss = mean over a in A, v != a of  -sum_k Q_a[k] log softmax(z_v C^T / temperature)[k]

Gradients reach the encoder and the prototypes. A collapsed network costs ln K. Codes belong to a batch: accumulating
gradients over parts of one gives other codes than the whole. Prototypes can be frozen for the first steps; for small
batches a queue of past embeddings joins the assignment.

Published recipe: SGD with LARC (optimiser "larc-swav"), batch 4096, rate 4.8 after 10 of 800 epochs of warm-up from
0.3, to 0.0048 by a cosine, decay 1e-6 on everything; or batch 256, rate 0.6, queue of 3840 from epoch 15 and 5005
frozen steps. The official code normalises by a deviation of .228 in red, where ImageNet's .229 is used here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from coview.data.augment import PRESETS
from coview.data.views import Batch, ImageView, VideoView, ViewSpec
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.crops import TINY_IMAGE, Prototypes, SmallCrops, crop_networks, crop_views, embed_crops
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.sinkhorn import sinkhorn
from coview.objectives.swav import CodeQueue, swapped_prediction
from coview.parallel import mean_over_world, sum_with_grad


@dataclass(frozen=True, kw_only=True)
class SwAVSettings:
    """Settings of SwAV; the defaults are the published ones for batch 4096."""

    view: ImageView | VideoView = field(default_factory=lambda: ImageView(size=224, area=(0.14, 1.0)))
    encoder: str = "resnet-50"  # network of pictures or clips
    crops: int = 2  # of the view's size; the first two are assigned
    small: SmallCrops | None = field(default_factory=SmallCrops)
    hidden: tuple[int, ...] = (2048,)  # hidden layers of the head
    head_batchnorm: bool = True  # batch normalisation in the head
    embedding: int = 128  # length of the vectors that are assigned
    prototypes: int = 3000  # vectors that crops are assigned to
    temperature: float = 0.1  # what scores are divided by when a crop predicts
    epsilon: float = 0.05  # smoothness of the codes
    iterations: int = 3  # of Sinkhorn
    queue: int = 0  # past embeddings of each assigned crop; 3840 for batch 256
    queue_epoch: int = 15  # from which the queue fills
    freeze: int = 313  # steps in which the prototypes stay

    def __post_init__(self) -> None:
        if self.crops + (self.small.number if self.small else 0) < 2 or self.crops < 1:
            raise ValueError("swav needs crops >= 1, and at least two with the small ones: one predicts another's code")
        if self.prototypes < 2 or self.embedding < 1 or self.queue < 0 or self.iterations < 1:
            raise ValueError("swav needs prototypes >= 2, embedding >= 1, queue >= 0 and iterations >= 1")
        if self.temperature <= 0 or self.epsilon <= 0:
            raise ValueError("swav needs temperature > 0 and epsilon > 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: a small network on frames of the digits world."""
        return cls(
            view=TINY_IMAGE,
            encoder="image-tiny",
            small=SmallCrops(number=2, size=16, area=(0.2, 0.5)),
            hidden=(64,),
            embedding=16,
            prototypes=30,
            queue=8,
            queue_epoch=0,
            freeze=0,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views: crops of one picture or clip."""
        return crop_views(self.view, self.crops, self.small)


class SwAV(Method):
    """One encoder, one head, prototypes, and a queue where it is asked for."""

    about = About(
        slug="swav",
        title="SwAV: swapped assignments between crops of a picture",
        paper="Caron et al., NeurIPS 2020; arXiv 2006.09882",
        family="clustering",
        state="verified: codes, loss, gradients and queue equal values of the official code",
    )
    Settings = SwAVSettings
    settings: SwAVSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="larc-swav", lr=4.8, weight_decay=1e-6, decay="everything"),
        schedule=ScheduleSettings(kind="cosine", warm_up=10 / 800, warm_up_from=0.3 / 4.8, final=0.001),
        augment=PRESETS["swav"],
        batch_size=4096,
        epochs=800,
    )
    coupling: Coupling = "assignment"
    least_batch = 2
    decays = "everything"  # as published
    shapes_suffice = True

    def __init__(self, settings: SwAVSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.name = next(iter(self.views))  # the crop whose network is kept
        self.assigned = tuple(range(min(settings.crops, 2)))
        self.encoders, self.projectors = crop_networks(settings, self.name)
        self.prototypes = Prototypes(settings.prototypes, settings.embedding)
        self.queue = CodeQueue(len(self.assigned), settings.queue, settings.embedding) if settings.queue else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._queueing = False

    def learn(self, batch: Batch) -> Step:
        """Return the loss; parts: used, the prototypes that are some sample's first choice, of those that could be."""
        settings, assigned = self.settings, list(self.assigned)
        z = embed_crops(self.encoders[self.name], self.projectors[self.name], self.views, batch)
        scores = self.prototypes(z, frozen=int(self.get_buffer("steps")) < settings.freeze)
        self._queueing = self.queue is not None and batch.epoch >= settings.queue_epoch
        codes = self._codes(z[assigned].detach(), scores[assigned].detach())
        losses = swapped_prediction(scores, codes, assigned, settings.temperature)
        self.later(z[assigned].detach())
        chosen = losses.new_zeros(settings.prototypes + 1).index_fill_(0, codes.argmax(2).flatten(), 1.0)
        chosen[-1] = codes.shape[0] * codes.shape[1]
        chosen = sum_with_grad(chosen)
        used = (chosen[:-1] > 0).sum() / chosen[-1].clamp(max=settings.prototypes)
        return Step(mean_over_world(losses), {"used": used.to(losses)}, {self.name: z[0].detach()})

    @torch.no_grad()
    def _codes(self, z: Tensor, scores: Tensor) -> Tensor:
        """Return the codes (A, N, K) of this batch, balanced together with the queue where it is full."""
        if self._queueing and self.queue is not None:
            past = self.prototypes(self.queue.share().to(z))
            scores = torch.cat([scores, past], 1)
        codes = sinkhorn(scores, epsilon=self.settings.epsilon, iterations=self.settings.iterations)
        return codes[:, : z.shape[1]]

    def after_step(self) -> None:
        """Bring the prototypes back to unit length and let the queue take in the step's embeddings."""
        if self.waiting:
            self.prototypes.normalise()
            self.get_buffer("steps").add_(1)
        super().after_step()

    def take_in(self, z: Tensor) -> None:
        """Let the queue take in a forward pass's embeddings of the assigned crops."""
        if self._queueing and self.queue is not None:
            self.queue.push(z)

    def chance_loss(self, global_batch: int) -> float:
        """Return ln K, the loss of embeddings that are all the same."""
        return math.log(self.settings.prototypes)
