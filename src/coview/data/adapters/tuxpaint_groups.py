"""Which stamps are the same thing under several ids, so that splits never separate them; and the four folds.

Two items belong together when they share the English caption (ignoring case), the same recording of a description in
any language, or nearly the same picture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import torch
from torch import Tensor
from torch.nn import functional

from coview.data.adapters import Refused
from coview.data.adapters.tuxpaint_items import Stamps
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.errors import MediaError
from coview.media.sounds import to_mono

FOLDS = 4
_SIDE, _CELLS, _ALIKE = 96, 16, 0.04

# Items that exist as SVG only cannot be compared here: a renderer is not among the dependencies. These are alike by
# the same measure; found once with CairoSVG on version 2022.06.04. Ids that a version lacks are passed over.
SVG_ALIKE = (
    ("people/body_parts/eye_blue_left", "people/body_parts/eye_brown_left"),
    ("people/body_parts/eye_brown_left", "people/body_parts/eye_green_left"),
    ("clothes/bluejeans1", "clothes/bluejeans2"),
)


@dataclass(frozen=True)
class Heard:
    """What a sound file declares, and the hash of its compressed packets: equal where the decoded waveforms are."""

    rate: int
    channels: int
    packets: str


def listen(folder: Path, paths: Iterable[str]) -> dict[str, Heard | Refused]:
    """Return path -> what the sound file holds, or why it cannot be read, undecoded: decoding takes twice as long."""
    paths = list(paths)

    def one(path: str) -> Heard | Refused:
        try:
            return _listen(folder / path)
        except MediaError as error:
            return Refused(path=path, reason=error.reason, message=error.message)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # demuxing happens outside Python's lock
        return dict(zip(paths, pool.map(one, paths), strict=True))


def sift(stamps: Stamps) -> tuple[Stamps, dict[str, Heard], list[Refused]]:
    """Return the stamps without sounds and pictures that cannot be read, what the sounds hold, and what was left out.

    An item whose picture cannot be read keeps its sounds.
    """
    found = listen(stamps.folder, [sound.path for sound in (*stamps.sounds, *stamps.lost)] + stamps.orphans)
    heard = {path: known for path, known in found.items() if isinstance(known, Heard)}
    refused = [known for known in found.values() if isinstance(known, Refused)]
    items = []
    for item in stamps.items:
        sounds = tuple(sound for sound in item.sounds if sound.path in heard)
        items.append(dataclasses.replace(item, sounds=sounds))
        if item.png is not None and (bad := _unreadable(stamps.folder, item.png)):
            refused.append(bad)
            items[-1] = dataclasses.replace(items[-1], png=None)
    lost = [sound for sound in stamps.lost if sound.path in heard]
    orphans = [path for path in stamps.orphans if path in heard]
    return dataclasses.replace(stamps, items=items, lost=lost, orphans=orphans), heard, refused


def _unreadable(folder: Path, png: str) -> Refused | None:
    try:
        fit(read_rgba(folder / png), 8)
    except MediaError as error:
        return Refused(path=png, reason=error.reason, message=error.message)
    except ValueError as error:
        return Refused(path=png, reason="invisible", message=str(error))
    return None


def silent(path: Path) -> bool:
    """Tell whether every decoded sample of a sound file is exactly zero; what cannot be decoded is not known to be."""
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            return all(not to_mono(frame).any() for frame in container.decode(audio=0))
    except (av.error.FFmpegError, IndexError, ValueError):
        return False


def alike(pictures: Tensor) -> list[tuple[int, int]]:
    """Return the pairs of pictures (N, 4, 96, 96) that nearly equal each other, as row numbers.

    Each is averaged to 16 x 16; x = (colour on mid-grey minus 0.5, half of alpha); a pair is alike when
    |x - y|^2 / (|x|^2 + |y|^2) < 0.04. (Plain pixel distance would join all thin objects.)
    """
    cells = functional.adaptive_avg_pool2d(pictures, _CELLS)
    x = torch.cat([composite(cells) - 0.5, 0.5 * cells[:, 3:]], dim=1).flatten(1).double()
    energy = x.square().sum(1)
    total = energy[:, None] + energy
    near = (total - 2 * x @ x.T) < _ALIKE * total
    return [(int(a), int(b)) for a, b in near.triu(1).nonzero().tolist()]


def group_items(stamps: Stamps, heard: Mapping[str, Heard]) -> dict[str, str]:
    """Return item id -> group, named by the group's smallest id.

    Args:
        stamps: the items.
        heard: path -> what `listen` says, of every description at least.
    """
    joined = _Union(item.id for item in stamps.items)
    joined.join_equal((item.captions["en"].lower(), item.id) for item in stamps.items if "en" in item.captions)
    spoken = [sound for sound in stamps.sounds if sound.kind == "description"]
    times = Counter(heard[sound.path].packets for sound in spoken)
    # Silence says nothing about an item; only what occurs more than once needs a look.
    one = {heard[sound.path].packets: sound.path for sound in spoken}
    mute = {value for value, count in times.items() if count > 1 and silent(stamps.folder / one[value])}
    joined.join_equal((h, sound.item) for sound in spoken if (h := heard[sound.path].packets) not in mute)
    drawn = [item for item in stamps.items if item.png is not None]
    if drawn:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            squares = pool.map(lambda item: fit(read_rgba(stamps.folder / str(item.png)), _SIDE), drawn)
            pictures = torch.stack(list(squares))
        for a, b in alike(pictures):
            joined.join(drawn[a].id, drawn[b].id)
    for one_id, other in SVG_ALIKE:
        joined.join(one_id, other)
    return {item.id: joined.root(item.id) for item in stamps.items}


def fold(group: str) -> int:
    """Return the fold of a group, 0 to 3: SHA-256 of "0/" + its name, modulo 4."""
    return int.from_bytes(hashlib.sha256(f"0/{group}".encode()).digest(), "big") % FOLDS


def split(group: str) -> str:
    """Return the split of a group: fold 0 is "test", the others "train"; a recording's flag `fold-K` names the fold."""
    return "test" if fold(group) == 0 else "train"


def _listen(path: Path) -> Heard:
    digest = hashlib.sha256()
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.audio[0]
            rate, channels = int(stream.rate), int(stream.channels)
            for packet in container.demux(stream):
                if packet.size:
                    digest.update(bytes(packet))
    except (av.error.FFmpegError, IndexError, TypeError, ValueError) as error:
        raise MediaError(str(path), "undecodable", f"expected a sound ({error})") from error
    return Heard(rate, channels, digest.hexdigest())


class _Union:
    """Disjoint sets of names, each known by its smallest member."""

    def __init__(self, names: Iterable[str]) -> None:
        self.parent = {name: name for name in names}

    def root(self, name: str) -> str:
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        if one in self.parent and other in self.parent:
            low, high = sorted((self.root(one), self.root(other)))
            self.parent[high] = low

    def join_equal(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Join the names that come with an equal key."""
        first: dict[str, str] = {}
        for key, name in pairs:
            self.join(first.setdefault(key, name), name)
