"""Words of captions, in any language and as noisy as they are, teach a picture; their vectors are learnt with it.

Joulin, van der Maaten, Jabri & Vasilache, "Learning Visual Features from Large Weakly Supervised Data", ECCV 2016
(arXiv 1511.02251). A picture has features f(x), a word k of the dictionary a vector w_k and the score f(x) . w_k
(`coview.objectives.word_targets`). A word is drawn uniformly, then one of the pictures whose captions have it, and this
word alone is the target; the softmax is over the words that the batch has as targets. The words' vectors are what the
caption's network holds: a text is the mean of the vectors of its words.

The draw is made in two parts that come to the same: the loader draws a picture with p(n) = sum_k y_nk / (K N_k), and
one of its words with p(k | n), as 1 / N_k, is drawn from the sample's key.

Recipe: SGD in batches of 128 from .1, halved on the way, as the card has it; which rate, how often halved, how many
epochs, is not published in full. Without momentum and decay a word that is no target of a batch stays where it is.
The auxiliary classifiers of GoogLeNet count .3 each, as in its own paper (arXiv 1409.4842).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.dictionary import frequencies, kept
from coview.data.source import Source, narrowed
from coview.data.views import Batch, ImageView, TextView, ViewSpec
from coview.encoders import Encoder, LinearHead, build_for
from coview.encoders.words import WordVectors
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, enough
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.parts.towers import dim_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.word_targets import (
    drawn_word,
    multi_class,
    one_vs_all,
    one_word,
    picture_chances,
    word_chances,
)
from coview.parallel import mean_over_world

_WORD = 16001  # stream of a sample's key
_ROWS = 1024  # captions at a time


@dataclass(frozen=True, kw_only=True)
class WeakCaptionsSettings:
    """Settings; the defaults are the published ones with the smallest dictionary."""

    image: ImageView = field(default_factory=lambda: ImageView(margin=256 / 224))
    text: TextView = field(default_factory=lambda: TextView(length=500, tokens="words"))
    image_encoder: str = "googlenet"  # network of pictures; caffenet-fc7 is the other published one
    words: int = 1000  # of the dictionary, at most
    frequent: int = 500  # words left out of it, the most frequent ones
    # sampled: a softmax over the words that are targets in the batch; multi-class: over all; one-vs-all: each by itself
    objective: Literal["sampled", "multi-class", "one-vs-all"] = "sampled"
    sampling: Literal["word", "picture"] = "word"  # whether all words are drawn equally often, or all pictures
    side_weight: float = 0.3  # weight of each auxiliary classifier, where the network has them

    def __post_init__(self) -> None:
        if self.text.tokens != "words":
            raise ValueError(f"text.tokens: a dictionary is made of words, not of {self.text.tokens}")
        if self.words < 2 or self.frequent < 0 or self.side_weight < 0:
            raise ValueError("weak-captions needs words >= 2, frequent >= 0 and side_weight >= 0")
        if self.objective == "one-vs-all" and self.sampling == "word":
            raise ValueError("one-vs-all weighs rare words itself: it goes with sampling picture")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        text = TextView(length=40, tokens="words")
        return cls(image=TINY_IMAGE, text=text, image_encoder="image-tiny", words=200, frequent=0)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"image": self.image, "text": self.text}


class WeakCaptions(Method):
    """A network of pictures, and the vectors of words; in training the auxiliary classifiers, and `chance` (rows,)."""

    about = About(
        slug="weak-captions",
        title="Words of noisy captions teach pictures, and are taught by them",
        paper="Joulin et al., Learning Visual Features from Large Weakly Supervised Data, ECCV 2016; arXiv 1511.02251",
        family="words",
        state="verified: losses, gradients and chances equal independent values; no official code exists",
    )
    Settings = WeakCaptionsSettings
    settings: WeakCaptionsSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.1, momentum=0.0, weight_decay=0.0),
        schedule=ScheduleSettings(milestones=(0.25, 0.5, 0.75), gamma=0.5),
        augment=PRESETS["none"],
        batch_size=128,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=3e-3, weight_decay=0.0), augment=PRESETS["none"], batch_size=64)
    coupling: Coupling = "negatives"
    least_batch = 2
    beside = "a word of the dictionary"
    chance: Tensor

    def __init__(self, settings: WeakCaptionsSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        picture = build_for(settings.image, settings.image_encoder)
        self.encoders = nn.ModuleDict({"image": picture, "text": WordVectors(settings.words, picture.dim)})
        self.sides = nn.ModuleDict(picture.side_heads() if facts.training else {})
        self.side_words = nn.ModuleDict()
        for stage, head in self.sides.items():
            layer = LinearHead(dim_of(head), settings.words, bias=False)
            nn.init.normal_(layer.weight, std=0.01)
            self.side_words[stage] = layer
        rows = facts.rows if facts.training and settings.sampling == "word" else 0
        self.register_buffer("chance", torch.zeros(rows, dtype=torch.float64))

    @property
    def words(self) -> WordVectors:
        """The dictionary, and the vectors of its words."""
        return cast(WordVectors, self.encoders["text"])

    def study(self, source: Source) -> str:
        """Make the dictionary of the captions, and know which pictures have which words.

        A dictionary that was taken over with another run's weights stays: its vectors are those of its words.

        Raises:
            UsageError: fewer than two words are left.
        """
        text, old = self.settings.text, self.words.dictionary()
        counts = frequencies((text.words(caption) or "").split() for part in _captions(source) for caption in part)
        dictionary = kept(counts, self.settings.frequent, self.settings.words)
        if old:
            dictionary = {word: counts[word] for word in old}
        if (left := sum(map(bool, dictionary.values()))) < 2:
            why = f"without the {self.settings.frequent} most frequent {left} are left, and two are needed; lower "
            why += "method.frequent, or index more"
            if old:
                why = f"{left} are in the dictionary that was taken over, and two are needed; begin a run of its own"
            raise UsageError(f"{source.name}: its captions have {len(counts)} different words; {why}")
        self.words.take(dictionary, len(source))
        chances = torch.cat([self._chances_of(part) for part in _captions(source)])
        lost = int((chances == 0).sum())
        self.words.captions.fill_(len(source) - lost)
        if len(self.chance):
            self.chance.copy_(chances)
        commonest, rarest = (most(dictionary, key=dictionary.__getitem__) for most in (max, min))
        return (
            f"a dictionary of {len(dictionary)} words out of {len(counts)}, from {commonest!r} in "
            f"{dictionary[commonest]} captions to {rarest!r} in {dictionary[rarest]}; "
            f"{lost} of {len(source)} recordings have none of them and teach nothing"
        )

    def _chances_of(self, captions: Tensor) -> Tensor:
        words = self.words.ids(captions.to(self.words.hashes.device))
        row, column = (words >= 0).nonzero(as_tuple=True)
        return picture_chances(row, words[row, column], self.words.counts[: self.words.size], len(words))

    def chances(self) -> Tensor | None:
        """Return p(n), where words are drawn first."""
        return self.chance if len(self.chance) and bool(self.chance.any()) else None

    def usable(self, batch: Batch) -> Batch | None:
        """Return the samples that have a picture and a word of the dictionary."""
        batch = super().usable(batch) or batch.select(slice(0, 0))
        batch = batch.select(self.words.ids(batch.views["text"])[:, 0] >= 0)
        return batch if enough(batch, self.least_batch) else None

    def learn(self, batch: Batch) -> Step:
        """Return the loss of samples that have a picture and a word; parts: top, without the auxiliary classifiers."""
        picture = cast(Encoder, self.encoders["image"])
        maps = picture.feature_maps(batch.views["image"])
        x = picture.pool(maps[picture.stages[-1]])
        ids = self.words.ids(batch.views["text"])
        top = self._loss(x, self.words.weight, ids, batch.key)
        loss = top
        for stage, head in self.sides.items():
            weight = cast(LinearHead, self.side_words[stage]).weight
            loss = loss + self.settings.side_weight * self._loss(head(maps[stage]), weight, ids, batch.key)
        spelt = self.words(batch.views["text"])
        return Step(loss, {"top": top.detach()}, detached({"image": x, "text": spelt}))

    def _loss(self, x: Tensor, weights: Tensor, ids: Tensor, key: Tensor) -> Tensor:
        """Return the mean loss of features (N_r, D) and words (N_r, W) under vectors (K, D)."""
        settings, size = self.settings, self.words.size
        counts, weights = self.words.counts[:size], weights[:size]
        if settings.sampling == "word" or settings.objective == "sampled":
            chances = word_chances(ids, counts) if settings.sampling == "word" else (ids >= 0).double()
            word = drawn_word(ids, chances, key, _WORD)
            return mean_over_world(one_word(x, weights, word, subset=settings.objective == "sampled"))
        scores, words = x @ weights.T, _many_hot(ids, size)
        if settings.objective == "multi-class":
            return mean_over_world(multi_class(scores, words))
        total = max(2, int(self.words.captions))
        return total * mean_over_world(one_vs_all(scores, words, counts, total))


def _captions(source: Source) -> Iterator[Tensor]:
    """Yield the captions of all recordings as letters, int64 (some, L), without their pictures; 0 for none."""
    texts = narrowed(source, {"text"})
    for rows in torch.split(torch.arange(len(source)), _ROWS):
        batch = texts.read_window(rows, 0, 1)
        yield batch.views["text"] * batch.present["text"][:, None]


def _many_hot(ids: Tensor, size: int) -> Tensor:
    """Return bool (N, size): which words each row of numbers (N, W) names; -1 is none."""
    wide = torch.zeros(len(ids), size + 1, dtype=torch.bool, device=ids.device)
    return wide.scatter_(1, torch.where(ids < 0, size, ids), True)[:, :size]
