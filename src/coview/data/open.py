"""Opening a source by name: a collection, a prepared copy of one, a memory-mapped set, features, or a procedural world;
or several of them, joined by recording: PART+PART.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coview.data.collection import Collection
from coview.data.features_source import is_features, open_features
from coview.data.joined import JoinedSource
from coview.data.media_source import MediaSource
from coview.data.memmap import MemmapSource
from coview.data.recording import Split
from coview.data.shards.layout import CARD
from coview.data.shards.read import ShardSource
from coview.data.shuffle import ShuffledPairs
from coview.data.source import Source
from coview.data.synthetic import COUNTS, NOISY_DIGITS, is_world, noisy_digits, parse_world
from coview.data.views import ViewSpec, raw_views
from coview.errors import UsageError


def open_source(
    name: str,
    views: Mapping[str, ViewSpec] | None,
    *,
    split: Split | None = None,
    fold: int | None = None,
    seed: int = 0,
    shuffled: bool = False,
) -> Source:
    """Return the source called `name`, cut into `views`.

    Args:
        name: a folder that holds a collection, a prepared copy or a memory-mapped set; or a world: "digits-av" or
            "objects-av", where the level or the shared factors may follow a colon ("digits-av:C",
            "objects-av:object+action"), or "noisy-digits"; or feature files (see `features_source.open_features`).
            Names joined by +, such as "films+teacher=emb", are parts of one source (`JoinedSource`): the first says
            which recordings there are, and the views that no features or arrays hold are cut from the one that is cut.
        views: what is cut; None means the world's own or the stored views (a collection has none). Crops of
            another view are left to `Preprocess`.
        split: the part of a collection or of its copy (see `Collection.select`), or of a world ("train" for None); a
            memory-mapped set is one part already.
        fold: the official fold of a collection whose split is meant, from 1 on.
        seed: of a world's clips and of the shuffling.
        shuffled: break the pairs, as a control (`ShuffledPairs`).

    Raises:
        UsageError: there is no such source, or it cannot be cut this way.
    """
    source = _open(name, raw_views(views) if views else views, split, fold, seed)
    return ShuffledPairs(source, seed) if shuffled else source


def is_decoded(name: str) -> bool:
    """Return whether reading a source means decoding media, which other processes can do ahead."""
    return any((Path(part) / card).is_file() for part in _parts(name) for card in ("collection.json", CARD))


def _parts(name: str) -> list[str]:
    """Return the names that + joins; one that is no source belongs to the name before, as a world's factors do."""
    if Path(name).exists():
        return [name]
    first, *others = name.split("+")
    parts = [first]
    for other in others:
        if _is_source(other):
            parts.append(other)
        else:
            parts[-1] += f"+{other}"
    return parts


def _is_source(name: str) -> bool:
    cards = ("memmap.json", CARD, "collection.json")
    folder = any((Path(name) / card).is_file() for card in cards)
    return folder or is_world(name) or name == NOISY_DIGITS or is_features(name)


def _join(name: str, views: Mapping[str, ViewSpec] | None, split: Split | None, fold: int | None, seed: int) -> Source:
    """Open the parts of a name: what features and arrays hold is taken from them, the rest from what is cut."""
    names = _parts(name)
    held = {part: _open(part, None, None, None, seed).views for part in names if _holds_views(part)}
    cut = [part for part in names if part not in held]
    if len(cut) > 1:
        raise UsageError(f"{name}: {' and '.join(cut)} are both cut by views; join one of them with features or arrays")
    wanted, offered = dict(views) if views else None, {view for there in held.values() for view in there}
    rest = None if wanted is None else {view: spec for view, spec in wanted.items() if view not in offered}
    if rest and not cut:
        there = ", ".join(sorted(offered))
        raise UsageError(f"{name}: no part has the views {', '.join(rest)}; there are {there}")
    sources = []
    for number, part in enumerate(names):
        mine = rest if part in cut else None if wanted is None else {n: v for n, v in wanted.items() if n in held[part]}
        if mine == {} and number:
            continue  # nothing of this part is wanted
        if mine == {}:
            raise UsageError(f"{name}: its first part has none of the views {', '.join(wanted or ())}")
        sources.append(_open(part, mine, split if not number else None, fold if not number else None, seed))
    return JoinedSource(name, sources) if len(sources) > 1 else sources[0]


def _holds_views(name: str) -> bool:
    """Return whether a part says by itself which views it has."""
    return (Path(name) / "memmap.json").is_file() or (not Path(name, CARD).is_file() and is_features(name))


def _open(name: str, views: Mapping[str, ViewSpec] | None, split: Split | None, fold: int | None, seed: int) -> Source:
    folder = Path(name)
    if fold is not None and not is_decoded(name):
        raise UsageError(f"{name}: official folds belong to a collection or its prepared copy, and this is none")
    if len(_parts(name)) > 1:
        return _join(name, views, split, fold, seed)
    if (folder / "memmap.json").is_file():
        return MemmapSource(folder, views)
    if (folder / CARD).is_file():
        return ShardSource(folder, views, split, fold)
    if (folder / "collection.json").is_file():
        if not views:
            raise UsageError(f"{name}: say which views to cut from a collection")
        return MediaSource(Collection.open(folder).select(split=split, fold=fold), views)
    if is_world(name):
        return parse_world(name, split or "train", seed=seed, views=views)
    if name == NOISY_DIGITS:
        return noisy_digits.NoisyDigits(split or "train", seed=seed, views=views)
    if is_features(name):
        return open_features(name, views, split, seed)
    if folder.is_dir():
        raise UsageError(
            f"{name}: neither a collection, a prepared copy nor a memory-mapped set; make a collection by "
            f"`coview index {name} -o NAME`"
        )
    raise UsageError(f"{name}: neither a folder that exists nor a world ({', '.join([*COUNTS, NOISY_DIGITS])})")
