"""Protocol words: which words a model says of pictures, and what the vectors of its words know.

Joulin et al., ECCV 2016 (arXiv 1511.02251), section 4: precision at k of predicted words on new pictures, analogies,
and rank correlation with people's judgements, of the model's vectors, of given ones, and of both joined. Any model will
do whose captions are read by a dictionary with vectors, `encoders.words.WordVectors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.source import narrowed
from coview.data.views import cut_from
from coview.encoders.words import WordVectors
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.statistics import Measurement, accuracy, mean
from coview.evaluation.verdict import COMMONEST, GIVEN, is_control
from coview.evaluation.word_files import Pair
from coview.evaluation.word_vectors import analogies, cosines, joined, precision_at, rank_correlation, rank_correlations
from coview.randomness import integers, make_key

if TYPE_CHECKING:
    from coview.model import Model

_KS = (1, 5, 10)
_ROWS = 256  # recordings whose scores are held at once
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the vectors of words are asked.

    Attributes:
        analogies: section -> questions a, b, c, d.
        similarities: pairs of words and how similar people found them.
        vectors: word -> vector from elsewhere, to compare and to join with the model's own.
    """

    analogies: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)
    similarities: Sequence[Pair] = ()
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def dictionary_of(model: Model) -> tuple[str, WordVectors]:
    """Return the view of captions of a model that has a dictionary, and its words.

    Raises:
        UsageError: there is none.
    """
    for name, encoder in model.method.encoders.items():
        if isinstance(encoder, WordVectors) and encoder.dictionary():
            return name, encoder
    raise UsageError(
        "words measures models that have learnt a dictionary with a vector for every word; `coview methods` lists them "
        "under 'words'"
    )


def words(bench: Bench, asked: Asked) -> None:
    """Add the figures of predicted words, and of what was asked of their vectors, to the bench's result."""
    view, lexicon = dictionary_of(bench.model)
    names = lexicon.dictionary()
    bench.result.choices["words"] = {"dictionary": len(names), "captions": int(lexicon.captions)}
    _predicted(bench, view, lexicon)
    own = lexicon.weight[: len(names)].detach().cpu().numpy()
    name = bench.name
    kinds = [("", name, names, own)]  # behind the figure, whose it is, words, vectors
    if asked.vectors:
        both = [number for number, word in enumerate(names) if word in asked.vectors]
        if not both:
            raise UsageError("none of the dictionary's words has a vector in the file; give one of its languages")
        given = np.stack([asked.vectors[names[number]] for number in both])
        known = [names[number] for number in both]
        kinds = [("", name, known, own[both]), ("_joined", name, known, joined(own[both], given))]
        kinds += [] if is_control(name) else [("", GIVEN, known, given)]
        bench.result.notes.append(f"{len(both)} of {len(names)} words have given vectors; only they are asked about")
    for suffix, who, known, vectors in kinds:
        number = {word: place for place, word in enumerate(known)}
        if asked.analogies:
            _analogies(bench, asked.analogies, number, vectors, suffix, who)
        if asked.similarities:
            _similarities(bench, asked.similarities, number, vectors, suffix, who)


def _predicted(bench: Bench, view: str, lexicon: WordVectors) -> None:
    """Add "<view>_words_p<k>", the share of the k likeliest words that the caption has, and that of the commonest k.

    The commonest words are no control's: with one they would be measured twice.
    """
    size = lexicon.size
    ids = _ids_of_test(bench, view, lexicon)
    features = bench.features("test", "projected")
    commonest = lexicon.counts[:size].cpu().double().numpy()
    weights = lexicon.weight[:size].detach().cpu().double()
    for name in bench.model.distinct_views():
        if name == view or features.values[name].shape[1] != lexicon.dim:
            continue
        used = features.present[name] & (ids[features.rows, 0] >= 0)
        bench.result.choices[f"{name}_words"] = {"left_out": int((~used).sum()), "windows": "features averaged"}
        if not bool(used.any()):
            bench.result.lacks(f"{name}_words", ["no test recording has this view and a word of the dictionary"])
            continue
        x, told = features.values[name][used].double(), ids[features.rows][used]
        by_k: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
        shares = []
        for first in range(0, len(x), _ROWS):
            some = _many_hot(told[first : first + _ROWS], size).numpy()
            scores = (x[first : first + _ROWS] @ weights.T).numpy()
            shares.append(some.mean(1))
            for k in (k for k in _KS if k < size):
                by_k.setdefault((bench.name, k), []).append(precision_at(scores, some, k))
                if not is_control(bench.name):
                    prior = np.broadcast_to(commonest, scores.shape)
                    by_k.setdefault((COMMONEST, k), []).append(precision_at(prior, some, k))
        chance = float(np.concatenate(shares).mean())
        for (who, k), parts in by_k.items():
            items = torch.from_numpy(np.concatenate(parts))
            bench.result.results.append(mean(f"{name}_words_p{k}/{who}", items, chance, bench.seed))


def _ids_of_test(bench: Bench, view: str, lexicon: WordVectors) -> Tensor:
    """Return the words of the test recordings' captions, int64 (N, W); -1 is none."""
    cut = cut_from(view, bench.model.views[view])
    source, found = narrowed(bench.test, {cut}), []
    for rows in torch.split(torch.arange(len(source)), _ROWS):
        batch = source.read_window(rows, 0, 1)
        raw = batch.views[cut] * batch.present[cut][:, None]
        found.append(lexicon.ids(raw.to(lexicon.weight.device)).cpu())
    return torch.cat(found)


def _analogies(
    bench: Bench,
    sections: Mapping[str, Sequence[tuple[str, ...]]],
    number: Mapping[str, int],
    vectors: NDArray[np.floating],
    suffix: str,
    who: str,
) -> None:
    """Add the share of questions whose fourth word is found, all together and by section."""
    every: list[Tensor] = []
    count = sum(map(len, sections.values()))
    for section, questions in sections.items():
        known = [[number[word] for word in question] for question in questions if set(question) <= number.keys()]
        if not known:
            continue
        asked = np.array(known, dtype=np.int64)
        right = torch.from_numpy(analogies(vectors, asked[:, :3]) == asked[:, 3])
        every.append(right)
        if len(sections) > 1:
            what = section.replace(" ", "-").replace("/", "-")
            bench.result.results.append(accuracy(f"analogies{suffix}:{what}/{who}", right, _blind(number)))
    if not every:
        bench.result.lacks(f"analogies{suffix}", [f"none of {count} questions has four words of the dictionary"])
        return
    right = torch.cat(every)
    bench.result.choices[f"analogies{suffix}"] = {"asked": len(right), "with unknown words": count - len(right)}
    bench.result.results.append(accuracy(f"analogies{suffix}/{who}", right, _blind(number)))


def _blind(number: Mapping[str, int]) -> float:
    return 1 / max(1, len(number) - 3)


def _similarities(
    bench: Bench,
    pairs: Sequence[Pair],
    number: Mapping[str, int],
    vectors: NDArray[np.floating],
    suffix: str,
    who: str,
) -> None:
    """Add Spearman's correlation of cosines and judgements, with an interval from resampled pairs."""
    known = [(number[a], number[b], judged) for a, b, judged in pairs if a in number and b in number]
    if len(known) < 3:
        reason = f"{len(known)} of {len(pairs)} pairs have both words in the dictionary, and three are needed"
        bench.result.lacks(f"similarity{suffix}", [reason])
        return
    places, judged = np.array([pair[:2] for pair in known]), np.array([pair[2] for pair in known])
    near = cosines(vectors, places)
    value = rank_correlation(near, judged)
    if np.isnan(value):
        bench.result.lacks(f"similarity{suffix}", ["all judgements, or all cosines, are the same"])
        return
    drawn = integers(make_key(bench.seed, torch.arange(_RESAMPLES)), 0, len(near), len(near)).numpy()
    low, high = np.nanquantile(rank_correlations(near[drawn], judged[drawn]), [0.025, 0.975])
    bench.result.choices[f"similarity{suffix}"] = {"pairs": len(known), "with unknown words": len(pairs) - len(known)}
    figure = f"similarity{suffix}/{who}"
    bench.result.results.append(Measurement(figure, value, float(low), float(high), 0.0, len(known)))


def _many_hot(ids: Tensor, size: int) -> Tensor:
    wide = torch.zeros(len(ids), size + 1, dtype=torch.bool)
    return wide.scatter_(1, torch.where(ids < 0, size, ids), True)[:, :size]
