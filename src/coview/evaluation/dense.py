"""What networks of whole pictures share: a model's maps of them, and the loop that trains on pictures with truth.

Normalisation layers keep the statistics they have, whether the encoder learns or not: a batch of two large pictures
would give poor ones, and a frozen encoder must not know the new data. Pictures are mirrored by chance, unless the
collection forbids it.

A stopped run goes on from its last checkpoint: what a step draws follows from seed and step.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coview import parallel
from coview.data.views import PictureView
from coview.data.whole_pictures import Pictures
from coview.encoders import Encoder
from coview.errors import CoviewError, UsageError
from coview.evaluation.bench import Progress, Result, leaks, weights_of
from coview.evaluation.statistics import Measurement
from coview.methods.recipe import OptimiserSettings, ScheduleSettings
from coview.randomness import make_key, uniform
from coview.settings import to_dict
from coview.training import checkpoint
from coview.training.optimisers import make_optimiser
from coview.training.schedules import rate_factor

if TYPE_CHECKING:
    from coview.model import Model

_ORDER, _MIRROR, _DRAWS = 8101, 8102, 8103


def _sgd() -> OptimiserSettings:
    return OptimiserSettings(kind="sgd", lr=1e-3, weight_decay=5e-4, clip_gradient=10.0)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """How a network of whole pictures is trained; the defaults are Krähenbühl's for detection (arXiv 1511.06856)."""

    view: str = "image"  # whose encoder it is
    stage: str | None = None  # of the encoder, whose maps are read; None: the last
    frozen: bool = False  # the encoder stays as it is
    steps: int = 150_000
    batch_size: int = 2  # pictures
    optimiser: OptimiserSettings = field(default_factory=_sgd)
    schedule: ScheduleSettings = field(
        default_factory=lambda: ScheduleSettings(kind="multistep", milestones=(1 / 3, 2 / 3), gamma=0.1)
    )
    checkpoint_every: int = 1000  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.checkpoint_every) < 1:
            raise ValueError("steps, batch_size and checkpoint_every are 1 at least")


class Maps(nn.Module):
    """A copy of a model's encoder, from pictures (B, 3, H, W) in [0, 1] to the maps (B, C, h, w) of one stage.

    Raises:
        UsageError: the model has no encoder of such a view of single pictures, or the encoder no such stage.
    """

    def __init__(self, model: Model, how: Dense) -> None:
        super().__init__()
        encoders = model.method.encoders
        pictures = [name for name, view in model.views.items() if view.stream == "image" and name in encoders]
        if how.view not in pictures:
            raise UsageError(
                f"the model has no encoder of pictures {how.view!r}; it has {', '.join(pictures) or 'none'}"
            )
        self.encoder = cast(Encoder, copy.deepcopy(encoders[how.view]))
        self.stage = how.stage or self.encoder.stages[-1]
        if self.stage not in self.encoder.stages:
            raise UsageError(f"{how.view} has no stage {self.stage!r}; it has {', '.join(self.encoder.stages)}")
        self.view, self.frozen = cast(PictureView, model.views[how.view]), how.frozen
        self.mean: Tensor | None
        self.std: Tensor | None
        for name, value in zip(("mean", "std"), model.preprocess.statistics_of(how.view) or (None, None), strict=True):
            self.register_buffer(name, value if value is None else value.clone())
        self.requires_grad_(not self.frozen)
        side = self.view.size
        with torch.no_grad():
            self.out_channels = int(self.eval()(torch.zeros(1, 3, side, side, device=model.device)).shape[1])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the maps of the stage."""
        statistics = None if self.mean is None or self.std is None else (self.mean, self.std)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encoder.feature_maps(self.view.seen(pictures, statistics))[self.stage].contiguous()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; normalisation, and all of what is frozen, stays as in evaluation."""
        super().train(mode and not self.frozen)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self


Draw = tuple[int, bool]  # a row, and whether it is mirrored


def drawn(step: int, count: int, how: Dense) -> list[Draw]:
    """Return what a step takes: rows in an order of each epoch's own, each mirrored or not by chance."""
    found = []
    for position in range(step * how.batch_size, (step + 1) * how.batch_size):
        epoch, place = divmod(position, count)
        mirror = float(uniform(make_key(how.seed, position), _MIRROR)) < 0.5
        found.append((_order(how.seed, epoch, count)[place], mirror))
    return found


@functools.lru_cache(maxsize=2)  # a step may lie in two epochs
def _order(seed: int, epoch: int, count: int) -> list[int]:
    keys = make_key(seed, epoch, torch.arange(count))
    return cast(list[int], torch.argsort(uniform(keys, _ORDER), stable=True).tolist())


def fit(
    network: nn.Module,
    count: int,
    loss_of: Callable[[list[Draw]], Tensor],
    how: Dense,
    out: Path,
    progress: Progress,
    *more: Any,
) -> None:
    """Train a network by `loss_of(draws)`, or go on where an earlier call with the same settings was stopped.

    Args:
        count: of the rows that are drawn from.
        out: folder of the checkpoints.
        more: plain data that, beside settings and count, must be the same to go on.

    Raises:
        UsageError: `out` holds a run with other settings, or there are several processes.
        CoviewError: the loss is not finite.
    """
    if parallel.world_size() > 1:
        raise UsageError("networks of whole pictures are trained by one process; start without torchrun")
    told = json.dumps([to_dict(how), count, *more], sort_keys=True)
    settings = hashlib.sha256(told.encode()).hexdigest()
    learning = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decay = how.optimiser.weight_decay
    groups = [
        {"params": [p for _, p in learning if p.ndim > 1], "weight_decay": decay},
        {"params": [p for _, p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    device = learning[0][1].device
    optimiser = make_optimiser(groups, how.optimiser, device)
    begin = 0
    if (place := checkpoint.last(out)) is not None:
        state = checkpoint.load(place)
        if state.facts.get("settings") != settings:
            raise UsageError(f"{out} holds a run with other settings or other pictures; choose another folder")
        network.load_state_dict(state.model)
        optimiser.load_state_dict(state.optimiser)
        begin = state.step
    network.train()
    for step in range(begin, how.steps):
        for group in optimiser.param_groups:
            group["lr"] = how.optimiser.lr * rate_factor(step, how.steps, how.schedule)
        with torch.random.fork_rng():  # torchvision draws regions, and dropout units, from torch's own generator
            torch.manual_seed(int(make_key(how.seed, step, _DRAWS)))
            loss = loss_of(drawn(step, count, how))
        if not bool(loss.isfinite()):
            raise CoviewError(f"the loss of step {step + 1} is not finite; take a smaller rate than {how.optimiser.lr}")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if how.optimiser.clip_gradient is not None:
            nn.utils.clip_grad_norm_([p for _, p in learning], how.optimiser.clip_gradient)
        optimiser.step()
        if (step + 1) % how.checkpoint_every == 0 or step + 1 == how.steps:
            kept = checkpoint.Checkpoint(
                step=step + 1,
                model=network.state_dict(),
                optimiser=optimiser.state_dict(),
                facts={"settings": settings},
            )
            checkpoint.save(kept, out, keep=1)
        progress("training", step + 1, how.steps)
    network.eval()


def check_parts(train: Pictures, test: Pictures) -> None:
    """Raise UsageError where the parts have other classes, or are the same pictures."""
    if list(train.classes) != list(test.classes):
        raise UsageError(f"{train.name} and {test.name} have different classes; they cannot be compared")
    if train.fingerprint == test.fingerprint:
        raise UsageError(f"{train.name}: training and test part are the same pictures; choose two splits")


def dense_result(
    what: str,
    name: str,
    figures: list[Measurement],
    model: Model,
    train: Pictures,
    test: Pictures,
    how: Dense,
) -> Result:
    """Return the figures with the choices made, and with what was left out of the scenes."""
    parts = {
        part: {"name": scenes.name, "fingerprint": scenes.fingerprint, "pictures": len(scenes)}
        for part, scenes in (("train", train), ("test", test))
    }
    own = {
        **to_dict(how),
        "classes": list(train.classes),
        "left_out": {"train": len(train.problems), "test": len(test.problems)},
        "weights": "of the last step; the test part chose nothing",
        "normalisation": "statistics of the model, never of these pictures",
        "start": model.digest,
    }
    result = Result(["image-transfer"], figures, {**parts, what: own}, weights={name: [weights_of(model)]})
    result.report([*leaks(train, test), *train.problems, *test.problems])
    return result
