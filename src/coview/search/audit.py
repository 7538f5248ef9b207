"""What is suspect in a collection: found by its index, by what recordings show, and by a model of theirs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.collection import Collection
from coview.data.source import Source
from coview.embedding.extract import Features
from coview.evaluation.bench import Progress
from coview.search.fingerprints import Fingerprints, fingerprints
from coview.search.pairs import Fit, fit, groups, nearest

KINDS = {
    "leak": "The same recording in several splits",
    "copy": "The same recording more than once",
    "mismatch": "The sound may not belong to the picture",
    "shared sound": "One sound under different pictures",
    "nothing": "Silent, clipped, black, of one colour or frozen",
    "label": "A label that the neighbours do not have",
}
BETTER = 0.2  # share of random pairs that look better than a suspect one
_LIKE = 0.8  # cosine of candidates
# Correlation of copies in one view alone, and in both; below the last, pictures differ. Measured on films of 32 x 32
# that were encoded anew at a rate factor of 30: .96 of pictures, 1.00 of sounds; other recordings reach .52 and .65.
_SAME, _BOTH, _OTHER = 0.97, 0.9, 0.8
_BLIND = (
    "This model does not know which sound goes with which picture here: for half of the recordings more than a fifth "
    "of random pairs look better than their own. None is listed for that; ask a model that has learnt from such ones."
)
_NEAR, _FEWEST, _LOUD = 10, 20, 0.999


@dataclass(frozen=True)
class Suspect:
    """Recordings (rows of the source) that are suspect together; `score` orders those of a kind, the worst first."""

    kind: str
    rows: list[int]
    score: float
    why: str


@dataclass(frozen=True)
class Audit:
    """What was found, in the order of `KINDS`; `notes` says what could not be looked for, or not be seen."""

    suspects: list[Suspect]
    notes: list[str]
    counts: Mapping[str, int]


def audit(
    source: Source,
    features: Features,
    pair: tuple[str, str] | None,
    collection: Collection | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Audit:
    """Look for what is suspect in a source.

    Args:
        source: all recordings, in views of the model.
        features: what the model makes of them where views are compared, in rows of the source.
        pair: the names of the picture's and the sound's embedding, None where the model has no such two.
        collection: what the recordings were indexed into, whose rows are those of the source by id.

    Leaks, copies and what shows nothing are facts of the files, or seen in them; the rest is what a model finds
    unlikely, to be looked at by a person.
    """
    prints = fingerprints(source, partial(progress, "looking and listening"))
    units = {view: normalize(features.values[view].float(), dim=1) for view in features.values}
    whole = normalize(torch.cat(list(units.values()), 1), dim=1)
    near = nearest(whole) if len(source) > 1 else None
    splits = _of(collection, source, "split") if collection else [""] * len(source)
    suspects, notes = copies(source, prints, near, collection, splits), list[str]()
    if pair is None:
        notes.append("The model has no picture and sound to compare; whether they fit was not looked at.")
    else:
        both = torch.nonzero(features.present[pair[0]] & features.present[pair[1]]).flatten()
        known = {frozenset(found.rows) for found in suspects}
        if len(both) < _FEWEST:
            notes.append(f"{len(both)} recordings have picture and sound, which are too few to tell a wrong pair.")
        else:
            found = fit(units[pair[0]][both], units[pair[1]][both])
            knows = float(found.better.median()) <= BETTER
            suspects += mismatches(found, both) if knows else []
            notes.append(_sight(found) if knows else _BLIND)
        shared = shared_sounds(units[pair[1]], features.present[pair[1]], prints)
        suspects += [each for each in shared if frozenset(each.rows) not in known]
    suspects += nothing(source, prints, collection)
    labelled = features.labels >= 0
    if int(labelled.sum()) >= _FEWEST and len(set(features.labels[labelled].tolist())) > 1:
        suspects += outliers(whole, features)
    else:
        notes.append("There are too few labels, or there is one only, to find those that the neighbours do not have.")
    order = {kind: place for place, kind in enumerate(KINDS)}
    suspects.sort(key=lambda each: (order[each.kind], -each.score, each.rows))
    counted = Counter(each.kind for each in suspects)
    return Audit(suspects, notes, {kind: counted[kind] for kind in KINDS})


def copies(
    source: Source,
    prints: Fingerprints,
    near: tuple[Tensor, Tensor] | None,
    collection: Collection | None,
    splits: Sequence[str],
) -> list[Suspect]:
    """Return groups of the same recording: by the bytes of files, by decoded content, and by what is seen and heard.

    What lies in several splits is a leak. Candidates of the last kind are near by the model, and both the pictures and
    the sounds have to correlate, as far as the recordings have them: the same music alone makes no copy.
    """
    exact: list[tuple[int, int]] = []
    for values in (_of(collection, source, "digest"), _of(collection, source, "content")) if collection else ():
        alike = defaultdict(list)
        for row, value in enumerate(values):
            alike[value].append(row)
        exact += [(rows[0], row) for value, rows in alike.items() if value for row in rows[1:]]
    one, other = torch.tensor(exact, dtype=torch.int64).view(-1, 2).unbind(1)
    if near is not None:
        rows = torch.arange(len(source))[:, None].expand_as(near[0])
        chosen = (near[1] > _LIKE) & (rows != near[0])
        first, second = rows[chosen], near[0][chosen]
        same = _same(prints, first, second)
        one, other = torch.cat([one, first[same]]), torch.cat([other, second[same]])
    certain = {row for pair in exact for row in pair}
    found = []
    for group in groups(one, other):
        parts = sorted({splits[row] for row in group} - {""})
        how = "the same bytes or content" if certain.issuperset(group) else "the same to look at and to listen to"
        kind, where = ("leak", f" in {' and '.join(parts)}") if len(parts) > 1 else ("copy", "")
        found.append(Suspect(kind, group, float(len(group)), f"{len(group)} recordings{where}: {how}"))
    return found


def _same(prints: Fingerprints, first: Tensor, second: Tensor) -> Tensor:
    looks, sounds = prints.alike(first, second)
    seen, heard = ((values.abs().sum(1) > 0) for values in (prints.looks, prints.sounds))
    fits = (seen[first] == seen[second]) & (heard[first] == heard[second]) & (seen | heard)[first]
    least = torch.where((seen & heard)[first], _BOTH, _SAME)
    return fits & ((looks > least) | ~seen[first]) & ((sounds > least) | ~heard[first])


def mismatches(found: Fit, rows: Tensor) -> list[Suspect]:
    """Return the recordings of which more than a fifth of random pairs look better."""
    return [
        Suspect("mismatch", [int(rows[place])], share, f"{100 * share:.0f} % of random pairs look better")
        for place, share in enumerate(found.better.tolist())
        if share > BETTER
    ]


def _sight(found: Fit) -> str:
    return (
        f"Of {found.sample} pictures, this model finds the own sound first for {100 * found.first:.1f} % (chance "
        f"{100 / found.sample:.1f} %). Where that is low it tells kinds apart and not recordings, and a sound that was "
        "exchanged within its kind is not seen."
    )


def shared_sounds(sounds: Tensor, present: Tensor, prints: Fingerprints) -> list[Suspect]:
    """Return groups of recordings that sound the same and show something else: music laid over, a station's signal."""
    rows = torch.nonzero(present).flatten()
    if len(rows) < 2:
        return []
    near, cosine = nearest(sounds[rows])
    first = torch.arange(len(rows))[:, None].expand_as(near)[cosine > _LIKE]
    first, second = rows[first], rows[near[cosine > _LIKE]]
    looks, heard = prints.alike(first, second)
    seen = prints.looks.abs().sum(1) > 0
    chosen = (heard > _SAME) & (looks < _OTHER) & seen[first] & seen[second]
    made = groups(first[chosen], second[chosen])
    return [Suspect("shared sound", each, float(len(each)), f"{len(each)} recordings with one sound") for each in made]


def nothing(source: Source, prints: Fingerprints, collection: Collection | None) -> list[Suspect]:
    """Return recordings that show or say nothing."""
    said: dict[int, list[str]] = defaultdict(list)
    for row, words in prints.odd.items():
        said[row].append(words)
    if collection:
        facts = zip(_of(collection, source, "silent"), _of(collection, source, "peak"), strict=True)
        for row, (silent, peak) in enumerate(facts):
            said[row] += ["silent"] if silent else ["loud up to full scale: perhaps clipped"] if peak >= _LOUD else []
    return [Suspect("nothing", [row], float(len(why)), ", ".join(why)) for row, why in sorted(said.items()) if why]


def outliers(whole: Tensor, features: Features) -> list[Suspect]:
    """Return recordings whose label is not the one that most of their ten nearest labelled neighbours have."""
    rows = torch.nonzero(features.labels >= 0).flatten()
    near, _ = nearest(whole[rows], _NEAR)
    labels = features.labels[rows]
    votes = torch.zeros(len(rows), len(features.classes)).scatter_add_(1, labels[near], torch.ones(near.shape))
    most, winner = votes.max(1)
    own = votes.gather(1, labels[:, None])[:, 0]
    found = []
    for place in torch.nonzero(most > own).flatten().tolist():
        theirs, mine = features.classes[int(winner[place])], features.classes[int(labels[place])]
        votes_said = f"{int(most[place])} of {near.shape[1]} neighbours are {theirs!r}, {int(own[place])} {mine!r}"
        why = f"labelled {mine!r}; {votes_said}"
        found.append(Suspect("label", [int(rows[place])], float(most[place] - own[place]), why))
    return found


def _of(collection: Collection, source: Source, name: str) -> list[Any]:
    """Return a column of the collection in the order of the source's rows."""
    if name != "split" and name not in collection.columns([name]).column_names:
        return [None] * len(source)
    values = collection.splits().to_pylist() if name == "split" else collection.column(name)
    known = dict(zip(collection.ids, values, strict=True))
    return [known[each] for each in source.ids]
