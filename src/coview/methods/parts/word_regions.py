"""Reading a picture and a text together: two streams with co-attention, on stored regions or on a grid's cells.

Lu et al., ViLBERT, NeurIPS 2019 (arXiv 1908.02265).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from coview.data.dictionary import frequencies, kept
from coview.data.source import Source, narrowed
from coview.data.views import Batch, FeaturesView, ImageView, TextView, ViewSpec
from coview.encoders import LinearHead, build_for
from coview.encoders.caption_tokens import NOTHING, TokenEmbedding, WordTokens, framed
from coview.encoders.co_attention import FirstState, TwoStreams, TwoStreamSize, draw_weights
from coview.encoders.regions import RegionEmbedding, with_whole
from coview.encoders.word_pieces import WordPieces, take_bert
from coview.errors import UsageError
from coview.methods.contract import Facts, Method
from coview.methods.pair_reader import PairReader, Read
from coview.methods.parts.batch import or_zeros
from coview.methods.parts.regions import GridRegions, RegionCodes, Regions, require_shares, stored_regions
from coview.methods.reading import Space

_ROWS = 1024  # recordings read at a time
_PAIRS = 1024  # pairs read at a time


@dataclass(frozen=True, kw_only=True)
class WordRegionSettings:
    """What a picture and a text are, and how large the streams are that read them; as ViLBERT was published."""

    picture: Literal["regions", "grid"] = "regions"  # regions that were stored, or the cells of a grid over pictures
    regions: FeaturesView = field(default_factory=lambda: FeaturesView(dim=2048, steps=36))
    boxes: FeaturesView = field(default_factory=lambda: FeaturesView(dim=4, steps=36))
    image: ImageView = field(default_factory=ImageView)
    image_encoder: str = "resnet-50"  # of a grid; frozen: its weights are those of an image model (--init-from)
    grid: int = 7  # cells in a row of a grid
    shown: Literal["features", "codes"] = "features"  # what the stream of regions sees
    codes: int = 1024  # K, different codes of regions
    text: TextView = field(default_factory=lambda: TextView(length=400, tokens="words"))
    tokens: int = 36  # of a text, with beginning and end
    words: int = 30522  # different tokens; words beyond the most frequent ones are unknown
    size: TwoStreamSize = field(default_factory=TwoStreamSize)
    bert: str | None = None  # a local folder of BERT, whose pieces are read and whose weights the words start from
    dropout: float = 0.1  # of states, in attention and before the answers
    first_deviation: float = 0.02  # of weights as they are drawn; narrow streams need a larger one

    def __post_init__(self) -> None:
        wanted = "letters" if self.bert else "words"
        if self.text.tokens != wanted:
            raise ValueError(
                f"text.tokens: {wanted} are read {'with' if self.bert else 'without'} BERT, not {self.text.tokens}"
            )
        if self.boxes.dim != 4 or self.boxes.normalise != "none" or not 0 < self.regions.steps == self.boxes.steps:
            raise ValueError("regions and boxes are sequences of as many steps, a box 4 numbers that stay as they are")
        if self.grid < 1 or self.codes < 2:
            raise ValueError("grid is at least 1, and codes at least 2")
        if self.tokens < 3 or self.words < 7 or not 0 <= self.dropout < 1 or self.first_deviation <= 0:
            raise ValueError("tokens are at least 3, words 7; 0 <= dropout < 1, and first_deviation is above 0")

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        if self.picture == "grid":
            return {"image": self.image, "text": self.text}
        return {"regions": self.regions, "boxes": self.boxes, "text": self.text}


class WordsAndRegions(PairReader, Method, base=True):
    """What words and regions enter by (`encoders`), both streams, how each is summed up, and whether they belong
    together (`makers`).

    A sample is embedded as each stream's first state where the other sees nothing but its own first token, and as the
    product, of both streams, that says whether they belong together.
    """

    settings: WordRegionSettings

    def __init__(self, settings: WordRegionSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        size, dropout = settings.size, settings.dropout
        self.picture, self.dim, grid = "regions", settings.regions.dim, None
        if settings.picture == "grid":
            grid = GridRegions(build_for(settings.image, settings.image_encoder), settings.grid)
            self.picture, self.dim = "image", grid.encoder.dim
        self.both = f"{self.picture}_text"
        shown = settings.codes if settings.shown == "codes" else 0
        self.encoders[self.picture] = RegionEmbedding(self.dim, size.regions.width, dropout, shown)
        self.encoders["text"] = TokenEmbedding(settings.words, size.text.width, settings.tokens, dropout)
        self.makers["streams"] = TwoStreams(size, dropout)
        self.makers[self.picture] = FirstState(size.regions.width, size.joint)
        self.makers["text"] = FirstState(size.text.width, size.joint)
        self.makers["alignment"] = nn.Sequential(nn.Dropout(dropout), LinearHead(size.joint, 2))
        draw_weights(self, settings.first_deviation)
        self.makers["reader"] = WordPieces(settings.words) if settings.bert else WordTokens(settings.words)
        if settings.bert and facts.training:
            folder, streams = Path(settings.bert), cast(TwoStreams, self.makers["streams"])
            cast(WordPieces, self.makers["reader"]).take(folder)
            take_bert(folder, cast(TokenEmbedding, self.encoders["text"]), streams.text, size.text)
        if grid is not None:
            self.makers["grid"] = grid  # has weights of its own
        if shown:
            self.makers["codes"] = RegionCodes(settings.codes, self.dim)

    @property
    def reader(self) -> WordTokens | WordPieces:
        """What makes tokens of texts."""
        return cast(WordTokens | WordPieces, self.makers["reader"])

    def lr_scale(self, name: str) -> float:
        """See `Method.lr_scale`: what starts from BERT has a tenth of the rate."""
        return 0.1 if self.settings.bert and name.startswith(("encoders.text.", "makers.streams.text.")) else 1.0

    def taken_over(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.taken_over`: of a model of pictures its encoder becomes the grid's, and nothing else is taken."""
        pictured = {name: value for name, value in stored.items() if name.startswith("encoders.image.")}
        if "grid" not in self.makers or not pictured or any(name.startswith("makers.streams.") for name in stored):
            return dict(stored)
        own = self.state_dict()
        found: dict[str, Tensor] = {}
        for name, value in pictured.items():
            inner = name.replace("encoders.image.", "makers.grid.encoder.", 1)
            found[inner if inner in own and own[inner].shape == value.shape else name] = value
        return found

    def study(self, source: Source) -> str:
        """Make the dictionary of the captions, and see that boxes are shares of a picture.

        A dictionary that was taken over with another run's weights stays: its vectors are those of its words.

        Raises:
            UsageError: fewer than two words are there, or a box lies outside of its picture.
        """
        counts, captions, reader = frequencies(()), 0, self.reader
        for rows in torch.split(torch.arange(len(source)), _ROWS):
            batch = narrowed(source, {"text", "boxes"}).read_window(rows, 0, 1)
            if "boxes" in batch.views:
                require_shares(batch, source.name)
            texts = batch.views["text"][batch.present["text"]]
            said = ["".join(chr(code - 1) for code in row if code).split() for row in texts.tolist()]
            captions += len(said)
            counts.update(frequencies(said))
        if isinstance(reader, WordPieces):
            return f"{reader.last} word pieces of BERT are known"
        old = reader.dictionary()
        dictionary = {word: counts[word] for word in old} or kept(counts, 0, len(reader.hashes))
        if sum(map(bool, dictionary.values())) < 2:
            raise UsageError(
                f"{source.name}: its captions have {len(counts)} different words, fewer than two of them known"
            )
        reader.take(dictionary, captions)
        unknown = sum(counts.values()) - sum(dictionary.values())
        return f"{len(dictionary)} words of {len(counts)} are known; {unknown} of {sum(counts.values())} are not"

    def tokens(self, batch: Batch) -> Tensor:
        """Return the texts' tokens, int64 (B, `settings.tokens`), `NOTHING` behind the last."""
        words = self.reader(or_zeros(batch, "text"))
        return framed(words, self.settings.tokens, self.reader.begin, self.reader.end)

    def regions(self, batch: Batch) -> Regions:
        """Return the regions of a batch's pictures."""
        return self.makers["grid"](batch) if "grid" in self.makers else stored_regions(batch)

    def streams(self, tokens: Tensor, regions: Regions, emptied: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the states of tokens (B, T, E_t) and of regions (B, 1 + R, E_r), the whole picture's first.

        Args:
            tokens: int64 (B, T).
            emptied: bool (B, R), of which regions no feature is shown; None: of all it is.
        """
        features, hidden = regions.features, torch.zeros_like(regions.there) if emptied is None else emptied
        shown, boxes, there = with_whole(features.masked_fill(hidden[..., None], 0.0), regions.boxes, regions.there)
        if self.settings.shown == "codes":
            count = self.settings.codes
            codes = self.makers["codes"](features).masked_fill(hidden, count)
            shown = pad(codes, (1, 0), value=count + 1)
        enter = self.encoders["text"](tokens), self.encoders[self.picture](shown, boxes)
        text, states, _ = self.makers["streams"](*enter, tokens != NOTHING, there)
        return text, states

    def product(self, text: Tensor, regions: Tensor) -> Tensor:
        """Return what says whether a text and a picture belong together, (B, joint), of both streams' states."""
        product: Tensor = self.makers["text"](text) * self.makers[self.picture](regions)
        return product

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`: picture and text, each where the other stream sees nothing, and both together."""
        pictured, told = all(name in batch.views for name in self.made_of(self.picture)), "text" in batch.views
        blank = batch.key.new_zeros(len(batch), 1, self.dim, dtype=torch.float32)
        unseen = Regions(blank, blank[..., :1].expand(-1, -1, 4), torch.zeros_like(blank[..., 0], dtype=torch.bool))
        regions = self.regions(batch) if pictured else unseen
        tokens = self.tokens(batch) if told else None
        silent = framed(batch.key.new_zeros(len(batch), 1), self.settings.tokens, self.reader.begin, self.reader.end)
        found: dict[str, Tensor] = {}
        if pictured:
            found[self.picture] = self._alone(self.picture, self.streams(silent, regions)[1], space)
        if tokens is not None:
            found["text"] = self._alone("text", self.streams(tokens, unseen)[0], space)
        if pictured and tokens is not None:
            states = self.streams(tokens, regions)
            firsts = torch.cat([each[:, 0] for each in states], 1)
            found[self.both] = firsts if space == "backbone" else self.product(*states)
        for name, value in found.items():
            there = torch.stack([batch.present[view] for view in self.made_of(name)]).all(0)
            found[name] = torch.where(there[:, None], value, 0.0)
        return found

    def _alone(self, name: str, states: Tensor, space: Space) -> Tensor:
        return states[:, 0] if space == "backbone" else self.makers[name](states)

    def belonging(self, pictures: Batch, texts: Batch) -> Tensor:
        """See `PairReader.belonging`."""
        regions, tokens = self.regions(pictures), self.tokens(texts)
        pairs = torch.cartesian_prod(*(torch.arange(len(each), device=tokens.device) for each in (pictures, texts)))
        found = []
        for picture, text in (part.unbind(1) for part in torch.split(pairs, _PAIRS)):
            shown = Regions(regions.features[picture], regions.boxes[picture], regions.there[picture])
            scores = self.makers["alignment"](self.product(*self.streams(tokens[text], shown)))
            found.append(scores[:, 0] - scores[:, 1])
        return torch.cat(found).view(len(pictures), len(texts))

    def read(self, batch: Batch) -> Read:
        """See `PairReader.read`."""
        regions = self.regions(batch)
        text, states = self.streams(self.tokens(batch), regions)
        return Read(self.product(text, states), states[:, 1:], regions.boxes, regions.there)

    def made_of(self, name: str) -> tuple[str, ...]:
        """See `Method.made_of`."""
        pictured = ("image",) if self.picture == "image" else ("regions", "boxes")
        return {"text": ("text",), self.picture: pictured}.get(name, (*pictured, "text"))

    def comparable(self, one: str, other: str) -> bool:
        """See `Method.comparable`: a text and a picture are compared by reading them together alone."""
        return one == other

    def example_batch(self, size: int, seed: int) -> Batch:
        """See `Method.example_batch`: with boxes inside of their pictures."""
        batch = super().example_batch(size, seed)
        if "boxes" in batch.views:
            boxes = batch.views["boxes"]
            corners = boxes.sigmoid().view(*boxes.shape[:2], 2, 2).sort(2).values
            batch.views["boxes"] = corners.flatten(2)
        return batch
