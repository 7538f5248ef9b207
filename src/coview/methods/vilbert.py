"""ViLBERT: a stream of words and a stream of regions that read each other, taught by masked words, masked regions, and
whether a text belongs to a picture.

J. Lu, D. Batra, D. Parikh, S. Lee, "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for
Vision-and-Language Tasks", NeurIPS 2019 (arXiv 1908.02265). A picture is a sequence of regions that a detector found
beforehand: features, boxes as shares of width and height, and the detector's distribution over its classes. Half of the
texts are replaced by another sample's; with t_r a masked region's distribution and w_i a masked word,

    loss = mean_i - log p(w_i) + mean_r KL(t_r | p_r) + mean - log p(belong together).

The other sample is drawn from the batch of all processes; a text that reads the same is no wrong one. The released code
masks in pairs that do not belong together too (`mask_only_aligned`: its successor does not). What a sample is embedded
as: each stream's first state where the other sees nothing but its own first token, and of both together the product
that says whether they belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self, cast

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.dictionary import frequencies, kept
from coview.data.source import Source, narrowed
from coview.data.views import Batch, FeaturesView, TextView, ViewSpec
from coview.encoders import LinearHead
from coview.encoders.caption_tokens import NOTHING, TokenEmbedding, WordTokens, framed
from coview.encoders.co_attention import FirstState, MaskedHead, StreamSize, TwoStreams, draw_weights
from coview.encoders.regions import RegionEmbedding, with_whole
from coview.errors import InputError, UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import or_zeros
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.masked_modelling import masked_regions, masked_words, partners, region_costs, word_costs
from coview.parallel import gather, mean_over_world, rank, row_counts

_TEXT, _WORDS, _REGIONS = 17001, 17011, 17021  # streams of a sample's key
_ROWS = 1024  # recordings read at a time
BOTH = "regions_text"  # a picture and a text together


@dataclass(frozen=True, kw_only=True)
class ViLBERTSettings:
    """Settings of ViLBERT; the defaults are the published ones, with words in place of word pieces."""

    regions: FeaturesView = field(default_factory=lambda: FeaturesView(dim=2048, steps=36))
    boxes: FeaturesView = field(default_factory=lambda: FeaturesView(dim=4, steps=36))
    classes: FeaturesView = field(default_factory=lambda: FeaturesView(dim=1601, steps=36))
    text: TextView = field(default_factory=lambda: TextView(length=400, tokens="words"))
    tokens: int = 36  # of a text, with beginning and end
    words: int = 30522  # different tokens; words beyond the most frequent ones are unknown
    text_stream: StreamSize = field(default_factory=lambda: StreamSize(width=768, heads=12, hidden=3072, layers=12))
    region_stream: StreamSize = field(default_factory=lambda: StreamSize(width=1024, heads=8, hidden=1024, layers=6))
    joint: int = 1024  # width of the connections, and of the vectors of a whole text and a whole picture
    joint_heads: int = 8  # heads of the connections
    text_anchors: tuple[int, ...] = (6, 7, 8, 9, 10, 11)  # layers of words before each connection
    region_anchors: tuple[int, ...] = (0, 1, 2, 3, 4, 5)  # layers of regions before each connection
    dropout: float = 0.1
    first_deviation: float = 0.02  # of weights as they are drawn; narrow streams need a larger one
    mask_only_aligned: bool = False  # mask only in pairs that belong together

    def __post_init__(self) -> None:
        if self.text.tokens != "words":
            raise ValueError(f"text.tokens: a dictionary is made of words, not of {self.text.tokens}")
        steps = {self.regions.steps, self.boxes.steps, self.classes.steps}
        if len(steps) > 1 or not self.regions.steps or self.boxes.dim != 4:
            raise ValueError("regions, boxes and classes are sequences of as many steps, and a box is 4 numbers")
        if self.boxes.normalise != "none" or self.classes.normalise != "none":
            raise ValueError("boxes and classes stay as they are: normalise none")
        if self.tokens < 3 or self.words < 7 or not 0 <= self.dropout < 1 or self.first_deviation <= 0:
            raise ValueError("vilbert needs tokens >= 3, words >= 7, 0 <= dropout < 1 and first_deviation > 0")
        if self.joint < 1 or self.joint_heads < 1 or self.joint % self.joint_heads:
            raise ValueError("joint_heads divide joint")
        for anchors, stream in ((self.text_anchors, self.text_stream), (self.region_anchors, self.region_stream)):
            if list(anchors) != sorted(anchors) or any(not 0 <= anchor <= stream.layers for anchor in anchors):
                raise ValueError("anchors never fall, and are at most a stream's layers")
        if len(self.text_anchors) != len(self.region_anchors) or not self.text_anchors:
            raise ValueError("there are as many text_anchors as region_anchors, one or more")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: short features and narrow streams."""
        return cls(
            regions=FeaturesView(dim=12, steps=6),
            boxes=FeaturesView(dim=4, steps=6),
            classes=FeaturesView(dim=9, steps=6),
            text=TextView(length=60, tokens="words"),
            tokens=16,
            words=64,
            text_stream=StreamSize(width=48, heads=4, hidden=96, layers=3),
            region_stream=StreamSize(width=48, heads=4, hidden=96, layers=2),
            joint=48,
            joint_heads=4,
            text_anchors=(1, 2),
            region_anchors=(0, 1),
            dropout=0.0,
            first_deviation=0.1,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"regions": self.regions, "boxes": self.boxes, "classes": self.classes, "text": self.text}


class ViLBERT(Method):
    """What words and regions enter by (`encoders`); both streams, how each is summed up, and the alignment (`makers`).

    In training also what says masked words, whose matrix is the words' own vectors, and masked regions.
    """

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
        self.makers["reader"] = WordTokens(settings.words)
        text, regions = settings.text_stream, settings.region_stream
        self.encoders["regions"] = RegionEmbedding(settings.regions.dim, regions.width, settings.dropout)
        self.encoders["text"] = TokenEmbedding(
            settings.words, text.width, settings.tokens, self.reader.end, settings.dropout
        )
        self.makers["streams"] = TwoStreams(
            text, regions, settings.joint, settings.joint_heads, settings.text_anchors, settings.region_anchors,
            settings.dropout,
        )  # fmt: skip
        self.makers["text"] = FirstState(text.width, settings.joint)
        self.makers["regions"] = FirstState(regions.width, settings.joint)
        self.makers["alignment"] = nn.Sequential(nn.Dropout(settings.dropout), LinearHead(settings.joint, 2))
        self.heads = nn.ModuleDict()
        if facts.training:
            self.heads["words"] = MaskedHead(text.width, settings.words, tied=True)
            self.heads["regions"] = MaskedHead(regions.width, settings.classes.dim)
        draw_weights(self, settings.first_deviation)

    @property
    def reader(self) -> WordTokens:
        """What makes tokens of texts."""
        return cast(WordTokens, self.makers["reader"])

    def study(self, source: Source) -> str:
        """Make the dictionary of the captions, and see that boxes are shares of a picture.

        A dictionary that was taken over with another run's weights stays: its vectors are those of its words.

        Raises:
            UsageError: fewer than two words are there, or a box lies outside of its picture.
        """
        counts, captions = frequencies(()), 0
        old = self.reader.dictionary()
        for batch in _read(source, {"text", "boxes"}):
            boxes = batch.views["boxes"][batch.mask("boxes") & batch.present["boxes"][:, None]]
            if bool(((boxes < -1e-3) | (boxes > 1 + 1e-3)).any()):
                raise UsageError(
                    f"{source.name}: boxes lie between {float(boxes.min()):g} and {float(boxes.max()):g}; expected "
                    "left, top, right and bottom as shares of the picture's width and height: divide by them"
                )
            texts = batch.views["text"][batch.present["text"]]
            said = ["".join(chr(code - 1) for code in row if code).split() for row in texts.tolist()]
            captions += len(said)
            counts.update(frequencies(said))
        dictionary = {word: counts[word] for word in old} or kept(counts, 0, len(self.reader.hashes))
        if sum(map(bool, dictionary.values())) < 2:
            raise UsageError(f"{source.name}: its captions have {len(counts)} different words that are known; vilbert "
                             "needs two or more")  # fmt: skip
        self.reader.take(dictionary, captions)
        unknown = sum(counts.values()) - sum(dictionary.values())
        return f"{len(dictionary)} words of {len(counts)} are known; {unknown} of {sum(counts.values())} are not"

    def learn(self, batch: Batch) -> Step:
        """Return the loss of samples that have every view.

        Parts: words, regions and alignment, the three losses; accuracy of each.
        """
        settings, tokens = self.settings, self.tokens(batch)
        tokens, aligned = self._paired(tokens, batch.key)
        kept_pairs = aligned if settings.mask_only_aligned else torch.ones_like(aligned)
        words = (tokens > NOTHING) & (tokens != self.reader.begin) & (tokens != self.reader.end)
        masked, said = masked_words(
            tokens, words & kept_pairs[:, None], batch.key, _WORDS, self.reader.mask, self.reader.first,
            self.reader.last,
        )  # fmt: skip
        there = self._there(batch)
        chosen, emptied = masked_regions(there & kept_pairs[:, None], batch.key, _REGIONS)
        features = torch.where(emptied[..., None], 0.0, batch.views["regions"])
        text, regions = self.streams(masked, features, batch.views["boxes"], there)
        word_scores = self.heads["words"](text, self.encoders["text"].words.weight)
        region_scores = self.heads["regions"](regions[:, 1:])
        belong = self.makers["alignment"](self.product(text, regions))
        target = batch.views["classes"]
        terms = {
            "words": (word_costs(word_scores, tokens), word_scores.argmax(2) == tokens, said),
            "regions": (region_costs(region_scores, target), region_scores.argmax(2) == target.argmax(2), chosen),
            "alignment": (word_costs(belong, 1 - aligned.long()), belong.argmax(1) == 1 - aligned.long(), None),
        }
        losses, parts = [], {}
        for name, (costs, right, where) in terms.items():
            where = where if where is None else where.flatten()
            losses.append(mean_over_world(costs.flatten(), where))
            parts[name] = losses[-1].detach()
            parts[f"accuracy/{name}"] = mean_over_world(right.flatten().to(costs), where)
        return Step(torch.stack(losses).sum(), parts, used=len(batch))

    def tokens(self, batch: Batch) -> Tensor:
        """Return the texts' tokens, int64 (B, `settings.tokens`), `NOTHING` behind the last."""
        words = self.reader(or_zeros(batch, "text"))
        return framed(words, self.settings.tokens, self.reader.begin, self.reader.end)

    def streams(self, tokens: Tensor, features: Tensor, boxes: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of tokens (B, T, E_t) and of regions (B, 1 + R, E_r), the whole picture's first.

        Args:
            tokens: int64 (B, T).
            features, boxes: (B, R, D) and (B, R, 4).
            there: bool (B, R), which regions there are.
        """
        features, boxes, there = with_whole(features, boxes, there)
        enter = self.encoders["text"](tokens), self.encoders["regions"](features, boxes)
        text, regions, _ = self.makers["streams"](*enter, tokens != NOTHING, there)
        return text, regions

    def product(self, text: Tensor, regions: Tensor) -> Tensor:
        """Return what says whether a text and a picture belong together, (B, joint), of both streams' states."""
        product: Tensor = self.makers["text"](text) * self.makers["regions"](regions)
        return product

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`: "regions" and "text", each where the other stream sees nothing, and "regions_text"."""
        pictured = all(name in batch.views for name in ("regions", "boxes"))
        present = {"text": batch.present.get("text")}
        if pictured:
            present["regions"] = batch.present["regions"] & batch.present["boxes"]
            features, boxes, there = or_zeros(batch, "regions"), or_zeros(batch, "boxes"), self._there(batch)
            there = there & present["regions"][:, None]
        else:
            features, boxes = (
                batch.key.new_zeros(len(batch), 1, spec.dim, dtype=torch.float32)
                for spec in (self.settings.regions, self.settings.boxes)
            )
            there = torch.zeros_like(features[..., 0], dtype=torch.bool)
        unseen = torch.zeros_like(there)
        unsaid = framed(batch.key.new_zeros(len(batch), 1), self.settings.tokens, self.reader.begin, self.reader.end)
        found: dict[str, Tensor] = {}
        if pictured:
            found["regions"] = self._alone("regions", self.streams(unsaid, features, boxes, there)[1], space)
        if "text" in batch.views:
            tokens = self.tokens(batch)
            found["text"] = self._alone("text", self.streams(tokens, features, boxes, unseen)[0], space)
        if len(found) == 2:
            states = self.streams(tokens, features, boxes, there)
            firsts = torch.cat([states[0][:, 0], states[1][:, 0]], 1)
            found[BOTH] = firsts if space == "backbone" else self.product(*states)
            present[BOTH] = present["regions"] & present["text"]
        return {name: torch.where(present[name][:, None], value, 0.0) for name, value in found.items()}

    def _alone(self, name: str, states: Tensor, space: Space) -> Tensor:
        return states[:, 0] if space == "backbone" else self.makers[name](states)

    def made_of(self, name: str) -> tuple[str, ...]:
        """See `Method.made_of`."""
        return {"text": ("text",), "regions": ("regions", "boxes")}.get(name, ("regions", "boxes", "text"))

    def comparable(self, one: str, other: str) -> bool:
        """See `Method.comparable`: a text and a picture are compared by reading them together alone."""
        return one == other

    def example_batch(self, size: int, seed: int) -> Batch:
        """See `Method.example_batch`: with boxes inside of their pictures, and classes that are distributions."""
        batch = super().example_batch(size, seed)
        corners = batch.views["boxes"].sigmoid().unflatten(2, (2, 2)).sort(2).values
        batch.views |= {"boxes": corners.flatten(2), "classes": batch.views["classes"].softmax(2)}
        return batch

    def _paired(self, tokens: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text that each sample is shown, and whether it belongs to it or reads as if it did."""
        everyone, counts = gather(tokens), row_counts(tokens)
        place = sum(counts[: rank()]) + torch.arange(len(tokens), device=tokens.device)
        shown = everyone[partners(key, _TEXT, place, len(everyone))]
        return shown, (shown == tokens).all(1)

    def _there(self, batch: Batch) -> Tensor:
        """Return which regions there are, bool (B, R).

        Raises:
            InputError: a recording has not as many boxes, or distributions, as regions.
        """
        there = batch.mask("regions")
        for name in ("boxes", "classes"):
            if name in batch.length:
                both = batch.present["regions"] & batch.present[name]
                if bool((batch.mask(name) != there)[both].any()):
                    raise InputError(
                        f"{name}: expected as many as regions of every recording; write them anew together"
                    )
        return there


def _read(source: Source, names: set[str]) -> Iterator[Batch]:
    """Yield some views of all recordings, in their order."""
    part = narrowed(source, names)
    for rows in torch.split(torch.arange(len(source)), _ROWS):
        yield part.read_window(rows, 0, 1)
