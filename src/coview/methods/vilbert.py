"""ViLBERT: a stream of words and a stream of regions that read each other, taught by masked words, masked regions, and
whether a text belongs to a picture.

J. Lu, D. Batra, D. Parikh, S. Lee, "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for
Vision-and-Language Tasks", NeurIPS 2019 (arXiv 1908.02265). A picture is a sequence of regions: what a detector found
beforehand (features, boxes, a distribution over its classes), or the cells of a grid over the maps of a frozen encoder,
which `--init-from` takes from a model of pictures. Half of the texts are replaced by another sample's; with t_r a
masked region's distribution and w_i a masked word,

    loss = mean_i - log p(w_i) + mean_r KL(t_r | p_r) + mean - log p(belong together).

t_r is the detector's, or says which of K codes the region has (k-means over features, made before the first step), one
alone or how likely each is; or the feature itself is to be found, in squared error. Codes can be all that the stream of
regions is shown, too.

The other sample is drawn from the batch of all processes; a text that reads the same is no wrong one. The released code
masks in pairs that do not belong together too (`mask_only_aligned`: its successor does not).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from coview.data.augment import PRESETS
from coview.data.source import Source, narrowed
from coview.data.views import Batch, FeaturesView, TextView, ViewSpec
from coview.encoders.caption_tokens import NOTHING, TokenEmbedding
from coview.encoders.co_attention import MaskedHead, StreamSize, TwoStreamSize, draw_weights
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import complete
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.parts.regions import RegionCodes, Regions, require_distributions
from coview.methods.parts.word_regions import WordRegionSettings, WordsAndRegions
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.masked_modelling import (
    feature_costs,
    masked_regions,
    masked_words,
    partners,
    region_costs,
    word_costs,
)
from coview.parallel import gather, mean_over_world, rank, row_counts

_TEXT, _WORDS, _REGIONS = 17001, 17011, 17021  # streams of a sample's key
_LOOKED_AT = 256  # recordings whose classes are looked at before the first step: all would be read twice
_CODED = ("cluster", "soft-cluster")  # targets that are codes


@dataclass(frozen=True, kw_only=True)
class ViLBERTSettings(WordRegionSettings):
    """Settings of ViLBERT; the defaults are the published ones, with words in place of word pieces."""

    classes: FeaturesView = field(default_factory=lambda: FeaturesView(dim=1601, steps=36))
    # What is said of masked regions: the stored classes, the code or how likely each is, or the feature.
    target: Literal["distribution", "cluster", "soft-cluster", "feature"] = "distribution"
    seed: int = 0  # of the codes
    mask_only_aligned: bool = False  # mask only in pairs that belong together

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.picture == "grid" and self.target == "distribution":
            raise ValueError("cells of a grid have no stored classes: target is cluster, soft-cluster or feature")
        if self.classes.steps != self.regions.steps or self.classes.normalise != "none":
            raise ValueError("classes have as many steps as regions, and stay as they are: normalise none")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: short features and narrow streams."""
        narrow = {"width": 48, "heads": 4, "hidden": 96}
        return cls(
            regions=FeaturesView(dim=12, steps=6),
            boxes=FeaturesView(dim=4, steps=6),
            classes=FeaturesView(dim=9, steps=6),
            image=TINY_IMAGE,
            image_encoder="image-tiny",
            grid=2,
            codes=8,
            text=TextView(length=60, tokens="words"),
            tokens=16,
            words=64,
            size=TwoStreamSize(
                text=StreamSize(**narrow, layers=3), regions=StreamSize(**narrow, layers=2), joint=48, heads=4,
                text_anchors=(1, 2), region_anchors=(0, 1),
            ),
            dropout=0.0,
            first_deviation=0.1,
        )  # fmt: skip

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        classes = {"classes": self.classes} if self.target == "distribution" else {}
        return super().specs() | classes


class ViLBERT(WordsAndRegions):
    """Two streams; in training also what says masked words, by the words' own vectors, and masked regions."""

    about = About(
        slug="vilbert",
        title="ViLBERT: words and regions that read each other",
        paper="Lu et al., ViLBERT, NeurIPS 2019; arXiv 1908.02265",
        family="words",
        state="verified: both streams, the maps and the three losses equal the official code's",
    )
    Settings = ViLBERTSettings
    settings: ViLBERTSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-4, weight_decay=0.01),
        schedule=ScheduleSettings(kind="linear", warm_up=0.1),
        augment=PRESETS["none"],
        batch_size=512,
        epochs=10,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-3, weight_decay=0.01),
        schedule=published.schedule,
        augment=PRESETS["none"],
        batch_size=64,
    )
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: ViLBERTSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        if settings.target in _CODED and "codes" not in self.makers:
            self.makers["codes"] = RegionCodes(settings.codes, self.dim)
        self.heads = nn.ModuleDict()
        if facts.training:
            self.heads["words"] = MaskedHead(settings.size.text.width, settings.words, tied=True)
            out = {"distribution": settings.classes.dim, "feature": self.dim}.get(settings.target, settings.codes)
            self.heads["regions"] = MaskedHead(settings.size.regions.width, out)
            draw_weights(self.heads, settings.first_deviation)

    def study(self, source: Source) -> str:
        """See `WordsAndRegions.study`; and see that the first recordings' classes are distributions."""
        if "classes" in self.views:
            some = torch.arange(min(len(source), _LOOKED_AT))
            require_distributions(narrowed(source, {"classes"}).read_window(some, 0, 1), source.name)
        return super().study(source)

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Find the codes of regions among the first pictures."""
        if "codes" in self.makers:
            complete_ones = (complete(batch, self.views) for batch in samples)
            cast(RegionCodes, self.makers["codes"]).fit(map(self.regions, complete_ones), self.settings.seed)

    def learn(self, batch: Batch) -> Step:
        """Return the loss of samples that have every view.

        Parts: words, regions and alignment, the three losses; accuracy of each, of regions where one class is most
        likely.
        """
        tokens, aligned = self.paired(self.tokens(batch), batch.key)
        masking = aligned if self.settings.mask_only_aligned else torch.ones_like(aligned)
        words = (tokens > NOTHING) & (tokens != self.reader.begin) & (tokens != self.reader.end) & masking[:, None]
        ends = self.reader.mask, self.reader.first, self.reader.last
        masked, said = masked_words(tokens, words, batch.key, _WORDS, *ends)
        regions = self.regions(batch)
        chosen, emptied = masked_regions(regions.there & masking[:, None], batch.key, _REGIONS)
        text, states = self.streams(masked, regions, emptied)
        scores = self.heads["words"](text, cast(TokenEmbedding, self.encoders["text"]).words.weight)
        found, target = self.heads["regions"](states[:, 1:]), self.target(batch, regions)
        belong, truth = self.makers["alignment"](self.product(text, states)), 1 - aligned.long()
        costs = feature_costs if self.settings.target == "feature" else region_costs
        terms = {
            "words": (word_costs(scores, tokens), scores.argmax(2) == tokens, said),
            "regions": (costs(found, target), found.argmax(2) == target.argmax(2), chosen),
            "alignment": (word_costs(belong, truth), belong.argmax(1) == truth, torch.ones_like(aligned)),
        }
        losses, parts = [], {}
        for name, (each, right, where) in terms.items():
            losses.append(mean_over_world(each.flatten(), where.flatten()))
            parts[name] = losses[-1].detach()
            if name != "regions" or self.settings.target != "feature":
                parts[f"accuracy/{name}"] = mean_over_world(right.flatten().to(each), where.flatten())
        return Step(torch.stack(losses).sum(), parts, used=len(batch))

    def target(self, batch: Batch, regions: Regions) -> Tensor:
        """Return what is to be said of regions: distributions (B, R, K), or features (B, R, D)."""
        target = self.settings.target
        if target == "distribution":
            return batch.views["classes"]
        if target == "feature":
            return regions.features
        codes = cast(RegionCodes, self.makers["codes"])
        if target == "soft-cluster":
            return codes.posterior(regions.features)
        return one_hot(codes(regions.features), len(codes.centroids)).to(regions.features)

    def example_batch(self, size: int, seed: int) -> Batch:
        """See `Method.example_batch`: with classes that are distributions."""
        batch = super().example_batch(size, seed)
        if "classes" in batch.views:
            batch.views["classes"] = batch.views["classes"].softmax(2)
        return batch

    def paired(self, tokens: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text that each sample is shown, and whether it belongs to it or reads as if it did."""
        everyone, counts = gather(tokens), row_counts(tokens)
        place = sum(counts[: rank()]) + torch.arange(len(tokens), device=tokens.device)
        shown = everyone[partners(key, _TEXT, place, len(everyone))]
        return shown, (shown == tokens).all(1)
