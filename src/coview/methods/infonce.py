"""InfoNCE in the batch between any named views of a recording, two or more: all pairs of them, or each with a hub.

van den Oord, Li & Vinyals 2018 (arXiv 1807.03748); symmetric and with a learned temperature as in CLIP (Radford et al.
2021, arXiv 2103.00020), between many views as in ImageBind (Girdhar et al. 2023, arXiv 2305.05665), whose training code
is not public. With unit embeddings x_i, y_i of the N samples of all processes that have both views of a pair,

    g = 1 / temperature,   loss_i = [ -log softmax_j(g x_i . y_j)_i - log softmax_j(g y_i . x_j)_i ] / 2,
    loss = sum over pairs p and their samples i of weight_p loss_pi, over the sum of the weights.

So a view that few recordings have counts as often as it is there. In form "sigmoid" (SigLIP, arXiv 2303.15343) every
two samples are a question of their own, with a learned bias: `coview.objectives.sigmoid_pairs`. With
`positives="label"` all samples of one label are partners of each other (see `coview.objectives.infonce`): for captions
that several recordings share, for instance. `queue` adds the last embeddings of other recordings as negatives.

ImageBind's scales: `hub` "image", temperatures 1/20 of image-audio, 1/5 of image-depth, 1/10 of image-thermal, 1/5 of
image-imu, all fixed, and image-text learnt from .07. A scale of 100 is the largest that is learnt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from coview.data.views import Batch, ViewSpec
from coview.encoders.attention_pool import PlacesPooled
from coview.encoders.features import FirstStep, StepMean, Unchanged, WeighedSteps
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import bound, detached, idle_loss, unit
from coview.methods.parts.queues import Queue
from coview.methods.parts.towers import NamedViews, NamedViewSettings, encoder_of, towers_of
from coview.objectives.infonce import in_batch_scores, infonce, with_remembered
from coview.objectives.sigmoid_pairs import sigmoid_apart, sigmoid_chance, sigmoid_pairs
from coview.parallel import gather, mean_over_world, row_counts, sum_with_grad, world_size

_LEAST_TEMPERATURE = 0.01  # CLIP's bound: below it a few pairs take over the gradient
_NAME = re.compile(r"[\w-]+")
_POOLS = {"mean": StepMean, "global": FirstStep, "attention": WeighedSteps}


@dataclass(frozen=True, kw_only=True)
class InfoNCESettings(NamedViewSettings):
    """Settings of InfoNCE over two views or more. A pair is called after its views, such as video-audio."""

    others: dict[str, ViewSpec] = field(default_factory=dict)  # further views to name in `views`: stored vectors
    hub: str | None = None  # the view that every other one is compared with; None: every two are compared
    form: Literal["softmax", "sigmoid"] = "softmax"  # whose partner is it, or (SigLIP) do these two belong together
    temperature: float = 0.07  # to start from; SigLIP's is 0.1
    learn_temperature: bool = True  # learn one of each pair with the networks
    temperatures: dict[str, float] = field(default_factory=dict)  # of pairs whose own is fixed
    weights: dict[str, float] = field(default_factory=dict)  # of pairs; 1 where nothing is said, 0 to leave one out
    bias: float = -10.0  # form sigmoid: to start from
    # Of sequences of stored vectors: the mean, the first (a global token), or a learnt sum; "attention" also weighs the
    # places that networks of raw views look at, which else make their own summary.
    pooling: Literal["mean", "global", "attention"] = "mean"
    positives: Literal["pair", "label"] = "pair"  # partners of a sample: its own recording, or all of its label
    queue: int = 0  # last embeddings of each view, as further negatives

    def __post_init__(self) -> None:
        if taken := sorted(set(self.others) & set(super().known())):
            raise ValueError(f"others: {', '.join(taken)} is the name of a view that there is; call this one otherwise")
        if wrong := [name for name in self.others if not _NAME.fullmatch(name) or hasattr(nn.ModuleDict(), name)]:
            raise ValueError(f"others: {wrong[0]!r} cannot be the name of a view; use letters, digits, _ and -")
        if unknown := [name for name in self.views if name not in self.known()]:
            raise ValueError(f"views: {', '.join(unknown)} unknown; there are {', '.join(self.known())}")
        super().__post_init__()
        if self.hub is not None and self.hub not in self.views:
            raise ValueError(f"hub: {self.hub!r} is none of the views {', '.join(self.views)}")
        for where, named in (("weights", self.weights), ("temperatures", self.temperatures)):
            if unknown := sorted(set(named) - {form for pair in self._pairs() for form in _names(pair)}):
                raise ValueError(f"{where}: no pair {', '.join(unknown)}; {', '.join(map('-'.join, self._pairs()))}")
        if min((self.temperature, *self.temperatures.values())) < _LEAST_TEMPERATURE:
            raise ValueError(f"infonce needs temperature >= {_LEAST_TEMPERATURE}")
        if min(self.weights.values(), default=0.0) < 0 or not self.compared():
            raise ValueError("weights: none is below 0, and one pair's at least is above it")
        if self.queue < 0 or (self.queue and self.positives == "label"):
            raise ValueError("queue is 0 or more; it knows recordings, not labels, so positives must be pair with it")

    def known(self) -> dict[str, ViewSpec]:
        """Return the views that can be named."""
        return super().known() | self.others

    def _pairs(self) -> list[tuple[str, str]]:
        if self.hub is None:
            return list(combinations(self.views, 2))
        return [(self.hub, name) for name in self.views if name != self.hub]

    def compared(self) -> dict[tuple[str, str], tuple[float, float | None]]:
        """Return the pairs of views that are compared -> weight, and temperature where it is fixed."""
        common = None if self.learn_temperature else self.temperature
        found = {p: (_of_pair(self.weights, p, 1.0), _of_pair(self.temperatures, p, common)) for p in self._pairs()}
        return {pair: told for pair, told in found.items() if told[0] > 0}


class InfoNCE(NamedViews):
    """An encoder and a head for each view, a scale for each pair; queues that are equal on all processes.

    `log_scale` and, in form sigmoid, `bias` are () where there is one pair, else (pairs,).
    """

    about = About(
        slug="infonce",
        title="InfoNCE and SigLIP in the batch between any views, two or more",
        paper="van den Oord, Li & Vinyals, Contrastive predictive coding; arXiv 1807.03748",
        family="instance",
        state="verified: objectives equal independent values",
    )
    Settings = InfoNCESettings
    settings: InfoNCESettings
    coupling: Coupling = "negatives"

    def __init__(self, settings: InfoNCESettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders, self.projectors = towers_of(settings, self.views, settings.head_batchnorm, _encoder)
        self.compared = settings.compared()
        start = torch.tensor([math.log(1 / (told[1] or settings.temperature)) for told in self.compared.values()])
        start = start if len(self.compared) > 1 else start[0]
        learnt = any(fixed is None for _, fixed in self.compared.values())
        self.log_scale = nn.Parameter(start, requires_grad=learnt)
        if settings.form == "sigmoid":
            self.bias = nn.Parameter(torch.full_like(start, settings.bias))
        self.queues = nn.ModuleDict()
        if settings.queue and facts.training:
            self.queues.update({name: Queue(settings.queue, settings.embedding) for name in self.views})

    def needs(self, batch: Batch) -> list[str]:
        """Return the views that every pair has: both of one pair, or the hub; between many none is needed."""
        return [name for name in self.views if all(name in pair for pair in self.compared)]

    def usable(self, batch: Batch) -> Batch | None:
        """Return the samples that have both views of a pair, with what is then compared of them and nothing else.

        A pair of which all processes together hold fewer than two samples is left out, on all of them.
        """
        both = {(a, b): batch.present[a] & batch.present[b] for a, b in self.compared}
        here = [len(batch) if all(map(batch.has_all, pair)) else int(rows.sum()) for pair, rows in both.items()]
        counts = gather(torch.tensor([here], device=batch.row.device)).sum(0).tolist()
        kept = [pair for pair, count in zip(both, counts, strict=True) if count >= self.least_batch]
        if not kept:
            return None
        names = [name for name in self.views if any(name in pair for pair in kept)]
        shown = replace(batch, views={name: batch.views[name] for name in names})
        if all(map(batch.has_all, names)):
            return shown
        shown.present = {name: torch.stack([both[pair] for pair in kept if name in pair]).any(0) for name in names}
        shown.whole = frozenset()
        return shown.select(torch.stack(list(shown.present.values())).any(0))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> unit embeddings (N, E) of the samples that have it."""
        there = {name: x if batch.has_all(name) else x[batch.present[name]] for name, x in batch.views.items()}
        return {name: unit(z) for name, z in self.projected(there).items()}

    def step_of(self, batch: Batch, encoded: Mapping[str, Tensor]) -> Step:
        """Return the loss of all pairs; parts: temperature (and bias), and where there are several, each pair's loss.

        The part of a pair is called temperature/video-audio where there are several.
        """
        losses, weights, parts = [], [], {}
        alone = len(self.compared) == 1
        for place, ((a, b), (weight, fixed)) in enumerate(self.compared.items()):
            if a not in encoded or b not in encoded:
                continue
            log_scale = self.log_scale.reshape(-1)[place]
            temperature = (-log_scale).exp() if fixed is None else log_scale.new_tensor(fixed)
            x, y, rows, groups = self._together(batch, encoded, a, b)
            if sum(row_counts(x)) < self.least_batch:  # of all processes together, and they agree
                continue
            end = "" if alone else f"/{a}-{b}"
            parts[f"temperature{end}"] = temperature.detach()
            if self.settings.form == "softmax":
                loss = self._whose((a, b), (x, y), rows, temperature, groups)
            else:
                bias = self.bias.reshape(-1)[place]
                loss = self._belong((a, b), (x, y), rows, (1 / temperature, bias), groups)
                parts[f"bias{end}"] = bias.detach()
            if not alone:
                parts[f"loss{end}"] = mean_over_world(loss.detach())
            losses.append(loss * weight)
            weights.append(torch.full_like(loss.detach(), weight))
        for name in self.queues:  # in one order on all processes, which a set of names has not
            if name in encoded:
                self.later(name, gather(encoded[name]), gather(_rows(batch, name)))
        total = sum_with_grad(torch.cat(weights).sum())
        loss = torch.cat(losses).sum() * world_size() / total + self._unseen(encoded)
        return Step(loss, parts, detached(encoded), used=len(batch))

    def _together(
        self, batch: Batch, z: Mapping[str, Tensor], a: str, b: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the embeddings of the samples that have both views, their recordings, and their labels if asked."""
        groups = batch.label if self.settings.positives == "label" else None
        if batch.has_all(a) and batch.has_all(b):
            return z[a], z[b], batch.row, groups
        both = batch.present[a] & batch.present[b]
        x, y = (z[name][both[batch.present[name]]] for name in (a, b))
        return x, y, batch.row[both], None if groups is None else groups[both]

    def _whose(
        self, names: tuple[str, str], z: tuple[Tensor, Tensor], rows: Tensor, temperature: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Return the loss (N,) of finding each sample's partner, mean of both directions."""
        scored, losses = in_batch_scores(*z, temperature, groups), []
        for x, other, (positive, total) in zip(z, reversed(names), scored, strict=True):
            if self.queues:
                queue = cast(Queue, self.queues[other])
                total = with_remembered(total, x, queue.values, temperature, queue.apart(rows))
            losses.append(infonce(positive, total))
        return torch.stack(losses).mean(0)

    def _belong(
        self,
        names: tuple[str, str],
        z: tuple[Tensor, Tensor],
        rows: Tensor,
        scale_and_bias: tuple[Tensor, Tensor],
        groups: Tensor | None,
    ) -> Tensor:
        """Return the loss (N,) of telling for every two samples whether they belong together."""
        loss = sigmoid_pairs(*z, *scale_and_bias, groups)
        if not self.queues:
            return loss
        remembered = [cast(Queue, self.queues[other]) for other in reversed(names)]
        further = [
            sigmoid_apart(x, queue.values, *scale_and_bias, queue.apart(rows))
            for x, queue in zip(z, remembered, strict=True)
        ]
        return loss + torch.stack(further).mean(0)

    def _unseen(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """Return 0, with a gradient of 0 for the networks of views that no process has, and for scales."""
        own = torch.stack([(parameter * 0).sum() for parameter in self.parameters(recurse=False)]).sum()
        absent = [name for name in self.views if name not in encoded]
        parts = [idle_loss(nn.ModuleList([self.encoders[name], self.projectors[name]])) for name in absent]
        return own + sum(parts)

    def take_in(self, name: str, values: Tensor, rows: Tensor) -> None:
        """Put a step's embeddings of a view in front of its queue."""
        cast(Queue, self.queues[name]).push(values, rows)

    def after_step(self) -> None:
        """Keep the temperatures above their bound."""
        super().after_step()
        bound(self.log_scale, high=-math.log(_LEAST_TEMPERATURE))

    def negatives(self, global_batch: int) -> int:
        """Return the other samples of the global batch, and what the queue holds."""
        return global_batch - 1 + self.settings.queue

    def chance_loss(self, global_batch: int) -> float | None:
        """See `Method.chance_loss`."""
        rows = self.negatives(global_batch) + 1
        return sigmoid_chance(rows) if self.settings.form == "sigmoid" else math.log(rows)


def _names(pair: tuple[str, str]) -> tuple[str, str]:
    return f"{pair[0]}-{pair[1]}", f"{pair[1]}-{pair[0]}"


def _of_pair(named: Mapping[str, float], pair: tuple[str, str], otherwise: Any) -> Any:
    return next((named[name] for name in _names(pair) if name in named), otherwise)


def _rows(batch: Batch, name: str) -> Tensor:
    return batch.row if batch.has_all(name) else batch.row[batch.present[name]]


def _encoder(settings: InfoNCESettings, spec: ViewSpec) -> nn.Module:
    """Build a view's network; numbers that were computed before go to the head as they are, sequences pooled."""
    if not hasattr(settings, f"{spec.stream}_encoder"):
        *steps, dim = spec.shape
        return _POOLS[settings.pooling](dim) if steps else Unchanged(dim)
    encoder = encoder_of(settings, spec)
    if settings.pooling != "attention":
        return encoder
    return PlacesPooled(encoder, spec.made_up(torch.empty(0, dtype=torch.int64), 0))
