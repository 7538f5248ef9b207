"""MOV: frozen frames and a second stream, flow or sound, look at each other and are named by the vectors of words.

R. Qian, Y. Li, Z. Xu, M.-H. Yang, S. Belongie, Y. Cui, "Multimodal Open-Vocabulary Video Classification via Pre-Trained
Vision and Language Models" (arXiv 2207.07646). v are the frames' features and t_c the text's of class c, both of one
frozen pair of towers (CLIP), stored beforehand; m is the second stream, brought to their width. With both streams
through cross-attention in either direction (`encoders.cross_attention`), their means over time projected to u_vm and
u_mv, and p(c | u) the softmax of cos(u, t_c) / temperature over the base classes,

    loss = - log p(y | u_vm) - log p(y | u_mv).

Classes named in `novel` are never learnt from. A class's vector is the mean of its recordings' texts, each of length 1,
scaled to length 1; a text of several steps are prompts, brought together in the same way. In use the frozen frames and
the fused streams are mixed (`class_scores`), with more of the frozen for novel classes; without a second stream the
frozen frames speak alone, and in the attention a learnt token stands in its place.

No code exists, and the paper's text was not read: widths, depth, weights of the mixture and recipe are choices. The
towers do not learn because they are not there; a second stream that is a raw view has an encoder that learns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.data.augment import PRESETS
from coview.data.source import Source, narrowed
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.encoders import LinearHead
from coview.encoders.cross_attention import TwoWayFusion
from coview.encoders.features import Narrowed, StepMean, UnitLength
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, or_zeros, unit
from coview.methods.parts.towers import encoder_of
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.open_vocabulary import class_logits, mixed_probabilities
from coview.parallel import gather, mean_over_world

_ROWS = 4096  # recordings whose texts are read at a time


def _published() -> dict[str, ViewSpec]:
    return {
        "video": FeaturesView(dim=512, steps=16),
        "audio": FeaturesView(dim=768, steps=10),
        "text": FeaturesView(dim=512),
    }


@dataclass(frozen=True, kw_only=True)
class MOVSettings:
    """Settings of MOV; the views are frames, the second stream and texts, in this order."""

    views: dict[str, ViewSpec] = field(default_factory=_published)
    video_encoder: str = "r2plus1d-18"  # of a second stream that is a raw clip
    flow_encoder: str = "r2plus1d-18"  # of one that is a clip of stored flow
    image_encoder: str = "resnet-50"  # of one that is a picture
    audio_encoder: str = "conv2d"  # of one that is a sound
    novel: tuple[str, ...] = ()  # names of classes that are never learnt from
    depth: int = 1  # layers of attention
    heads: int = 8  # of each
    temperature: float = 0.01  # of the cosines
    base_share: float = 0.25  # what base classes take from the frozen frames in use
    novel_share: float = 0.5  # what novel classes take from them

    def __post_init__(self) -> None:
        if len(self.views) != 3:
            raise ValueError("views: mov needs frames, a second stream and texts, in this order")
        frames, _, text = self.views.values()
        if frames.stream != "features" or text.stream != "features" or frames.shape[-1] != text.shape[-1]:
            raise ValueError("views: the first and the last are stored features of one pair of towers, of one length")
        if any(getattr(spec, "normalise", "none") != "none" for spec in (frames, text)):
            raise ValueError("views: frames and texts stay as they are: normalise none")
        if self.depth < 1 or self.heads < 1 or text.shape[-1] % self.heads or self.temperature <= 0:
            raise ValueError("mov needs depth >= 1, heads that divide the features' length, and temperature > 0")
        if not 0 <= self.base_share <= 1 or not 0 <= self.novel_share <= 1:
            raise ValueError("base_share and novel_share lie between 0 and 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: short features."""
        views: dict[str, ViewSpec] = {
            "video": FeaturesView(dim=16, steps=4),
            "audio": FeaturesView(dim=9, steps=3),
            "text": FeaturesView(dim=16),
        }
        return cls(views=views, heads=2)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class MOV(Method):
    """What the second stream is brought to the width by, and the attention (`makers`).

    State, equal on all processes: `texts` (classes, D) are the vectors of the classes that are `known`.
    """

    about = About(
        slug="mov",
        title="MOV: frames and flow or sound, named by words that were never learnt",
        paper="Qian et al., Multimodal Open-Vocabulary Video Classification, 2022; arXiv 2207.07646",
        family="fusion",
        state="reconstruction: no code exists and the paper's text was not read; its invariants hold",
    )
    Settings = MOVSettings
    settings: MOVSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-4, weight_decay=0.01),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.05),
        augment=PRESETS["none"],
        batch_size=1024,
        epochs=30,
    )
    small = Recipe(optimiser=OptimiserSettings(kind="adamw", lr=1e-3), augment=PRESETS["none"], batch_size=64)
    coupling: Coupling = "none"
    labelled = True
    least_classes = 2
    texts: Tensor
    known: Tensor
    novel: Tensor

    def __init__(self, settings: MOVSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.frames, self.second, self.text = self.views
        width = settings.views[self.text].shape[-1]
        stream = self.views[self.second]
        stored = stream.stream == "features"
        self.encoders[self.frames] = StepMean(width)
        self.encoders[self.second] = (
            LinearHead(stream.shape[-1], width) if stored else Narrowed(encoder_of(settings, stream), width)
        )
        self.encoders[self.text] = StepMean(width, each=True)
        self.projectors.update({name: UnitLength(width) for name in (self.frames, self.text)})
        self.makers["fusion"] = TwoWayFusion(width, settings.heads, settings.depth)
        self.both = f"{self.frames}_{self.second}", f"{self.second}_{self.frames}"
        self.register_buffer("texts", torch.zeros(facts.classes, width))
        self.register_buffer("known", torch.zeros(facts.classes, dtype=torch.bool))
        self.register_buffer("novel", torch.zeros(facts.classes, dtype=torch.bool))

    def study(self, source: Source) -> str:
        """Find the novel classes by name, and the vectors of the others.

        Raises:
            UsageError: a novel class is none of the collection's, or fewer than two are left.
        """
        for name in self.settings.novel:
            if name not in source.classes:
                near = difflib.get_close_matches(name, source.classes, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"novel: {source.name} has no class {name!r}{hint}")
            self.novel[source.classes.index(name)] = True
        texts = narrowed(source, {self.text})
        sums, batches = torch.zeros_like(self.texts), torch.split(torch.arange(len(source)), _ROWS)
        for batch in (texts.read_window(rows, 0, 1) for rows in batches):
            label = self._learnt_from(batch.label.to(sums.device))
            there = batch.present[self.text].to(sums.device) & (label >= 0)
            said = unit(self.encoders[self.text](batch.views[self.text].to(sums.device)))
            sums.index_add_(0, label[there], said[there].to(sums))
        self.known.copy_(sums.any(1))
        self.texts.copy_(unit(sums))
        base, novel = int(self.known.sum()), int(self.novel.sum())
        if base < 2:
            raise UsageError(f"{source.name}: mov learns from two classes with texts or more, and {base} are left")
        return f"{base} classes are learnt from, {novel} are kept back"

    def usable(self, batch: Batch) -> Batch | None:
        """See `Method.usable`; recordings of novel classes count as without a label."""
        return super().usable(replace(batch, label=self._learnt_from(batch.label)))

    def learn(self, batch: Batch) -> Step:
        """Return the loss of both directions; parts: accuracy/<direction> among the base classes that are known."""
        fused = dict(zip(self.both, map(unit, self.makers["fusion"](*self._streams(batch))), strict=True))
        texts, known = self._classes(batch)
        self.later(texts, known)
        losses, parts = [], {}
        for name, value in fused.items():
            logits = class_logits(value, texts, self.settings.temperature).masked_fill(~known, -torch.inf)
            losses.append(cross_entropy(logits, batch.label, reduction="none"))
            parts[f"accuracy/{name}"] = mean_over_world((logits.detach().argmax(1) == batch.label).to(losses[-1]))
        return Step(mean_over_world(torch.stack(losses).sum(0)), parts, detached(fused))

    def take_in(self, texts: Tensor, known: Tensor) -> None:
        """Keep the vectors of the classes that were met, each as it was met first."""
        self.texts.copy_(torch.where(self.known[:, None], self.texts, texts))
        self.known.logical_or_(known)

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`: the frozen frames, the texts, and each of frames and second stream enriched by the other.

        The last two are called such as "video_audio" and "audio_video".
        """
        views = {name: batch.views[name] for name in (self.frames, self.text) if name in batch.views}
        found = super().embed(replace(batch, views=views), space)
        if self.frames in batch.views and self.second in batch.views:
            fusion = cast(TwoWayFusion, self.makers["fusion"])
            streams = self._streams(batch)
            means = fusion(*streams) if space == "projected" else fusion.pooled(*streams)
            there = (batch.present[self.frames] & batch.present[self.second])[:, None]
            for name, value in zip(self.both, means, strict=True):
                found[name] = torch.where(there, unit(value) if space == "projected" else value, 0.0)
        return found

    def kept_back(self) -> tuple[str, ...]:
        """See `Method.kept_back`."""
        return self.settings.novel

    def made_of(self, name: str) -> tuple[str, ...]:
        """See `Method.made_of`."""
        return (self.frames, self.second) if name in self.both else (name,)

    def class_scores(
        self, embedded: Mapping[str, Tensor], there: Mapping[str, Tensor], texts: Tensor, novel: Tensor
    ) -> dict[str, Tensor]:
        """See `Method.class_scores`: frozen frames mixed with both directions, of recordings with frames."""
        frozen, *fused = (
            class_logits(embedded[name], texts, self.settings.temperature) for name in (self.frames, *self.both)
        )
        share = torch.where(novel, self.settings.novel_share, self.settings.base_share)
        mixed = mixed_probabilities(frozen, fused, share)
        return {self.frames: torch.where(there[self.both[0]][:, None], mixed, frozen.softmax(1))}

    def _learnt_from(self, label: Tensor) -> Tensor:
        """Return labels (B,) with -1 for those of novel classes."""
        kept = self.novel[label.clamp(min=0)] if len(self.novel) else torch.zeros_like(label, dtype=torch.bool)
        return torch.where(kept, -1, label)

    def _classes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the classes' vectors (C, D) and which are known; new ones from the step's texts on all processes."""
        label, said = gather(batch.label), gather(unit(self.encoders[self.text](batch.views[self.text])))
        sums = torch.zeros_like(self.texts).index_add_(0, label, said.to(self.texts))
        met = torch.bincount(label, minlength=len(self.known)) > 0
        return torch.where(self.known[:, None], self.texts, unit(sums)), self.known | met

    def _streams(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return frames and second stream (B, T, D), and which of their steps are there (B, T).

        A view without time has one step; what fills a short sequence lies behind its length, or is nothing but zeros.
        """
        values, theres = [], []
        for name in (self.frames, self.second):
            view = or_zeros(batch, name)
            steps = view if view.ndim == 3 else view.flatten(1)[:, None]
            there = steps.ne(0).any(2)
            if name in batch.length and view.ndim == 3 and self.views[name].stream == "features":
                there = there & batch.mask(name)  # statistics take zeros from what fills it
            theres.append(there)
            if name == self.frames:
                values.append(steps)
            else:
                own = steps if self.views[name].stream == "features" else view
                value = self.encoders[name](own)
                values.append(value if value.ndim == 3 else value[:, None])
        return values[0], values[1], theres[0], theres[1]
