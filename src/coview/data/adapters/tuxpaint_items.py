"""The stamps of Tux Paint as items: one picture with its captions, its sounds and what its `.dat` file forbids.

The folder is that of the Debian package tuxpaint-stamps-default (GPL-2; the user installs it, nothing of it is kept
here). An item's id is its picture's path without extension; a PNG is preferred to the SVG of the same id.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.parsers import expat

from coview.data.adapters import Refused
from coview.data.identity import as_text, kept_name
from coview.errors import UsageError
from coview.media.regular import is_regular

PACKAGE = "tuxpaint-stamps-default"
USUAL_FOLDER = Path("/usr/share/tuxpaint/stamps")
ALPHABETS = "symbols/alphabets/"
# The package tuxpaint-data installs its own few pictures into the same folder.
FOREIGN = "cartoon/"

_SOUNDS = (".ogg", ".wav")
_LANGUAGE = r"[a-z]{2,3}(?:_[A-Za-z]{2})?(?:@[a-z]+)?"
_CAPTION = re.compile(rf"({_LANGUAGE})\.utf8=(.*)")
_DESCRIPTION = re.compile(rf"_desc_({_LANGUAGE})")
_WORD = re.compile(r"_([a-z]{2}(?:_[A-Za-z]{2})?)")

Kind = Literal["description", "word", "effect"]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound file of an item: `path` relative to the folder; `language` is "" for an effect."""

    path: str
    item: str
    kind: Kind
    language: str


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A picture and what belongs to it.

    Attributes:
        png, svg: paths relative to the folder; at least one of them is there.
        captions: language -> text, never blank.
        nomirror, noflip: augmentation must not mirror it left-right, top-bottom: it would become another item.
    """

    id: str
    png: str | None
    svg: str | None
    captions: dict[str, str] = field(default_factory=dict)
    sounds: tuple[Sound, ...] = ()
    nomirror: bool = False
    noflip: bool = False

    @property
    def category(self) -> str:
        """The top folder."""
        return self.id.partition("/")[0]

    @property
    def core(self) -> bool:
        """Not a letter of an alphabet: those are thin, near-identical shapes."""
        return not self.id.startswith(ALPHABETS)

    def descriptions(self) -> dict[str, Sound]:
        """Language -> spoken description."""
        return {sound.language: sound for sound in self.sounds if sound.kind == "description"}


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """All items of a folder, ordered by id, and what was left out.

    Attributes:
        orphans: sounds of no item, relative to the folder; reported, not guessed.
        lost: sounds of items whose picture was refused.
        refused: files that were not read, and why.
        ignored: what else was left out on purpose -> how many.
    """

    folder: Path
    items: list[Stamp]
    orphans: list[str]
    lost: list[Sound]
    refused: list[Refused]
    ignored: dict[str, int]

    @property
    def sounds(self) -> list[Sound]:
        """The sounds of all items."""
        return [sound for item in self.items for sound in item.sounds]


def walk(folder: Path) -> Stamps:
    """Read the folder's structure: names, captions, `.dat` files and the declarations of SVG files.

    Raises:
        UsageError: the folder does not exist or holds no stamps.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder; install the Debian package {PACKAGE} (apt install {PACKAGE}), "
            "or name the folder of its stamps by --folder"
        )
    every = sorted(
        (Path(place) / name).relative_to(folder).as_posix() for place, _, names in os.walk(folder) for name in names
    )
    refused: list[Refused] = []
    for path in every[:]:
        if as_text(path) != path or not is_regular(folder / path):
            every.remove(path)
            message = "expected a file whose name is UTF-8"
            refused.append(Refused(path=kept_name(Path(path)), reason="not-a-file", message=message))
    files = [path for path in every if not path.startswith(FOREIGN)]
    known = set(files)
    pictures = {path[:-4] for path in files if path.endswith((".png", ".svg"))}
    if not pictures:
        raise UsageError(f"{folder} holds no PNG or SVG picture; expected the stamps of the package {PACKAGE}")
    mirrored = {name for name in pictures if name.endswith("_mirror") and name.removesuffix("_mirror") in pictures}
    names = pictures - mirrored
    sounds, orphans = _sounds(files, names)
    items: list[Stamp] = []
    lost: list[Sound] = []
    for name in sorted(names):
        item = _stamp(folder, name, known, tuple(sounds.get(name, ())), refused)
        if item is None:
            lost += sounds.get(name, [])
        else:
            items.append(item)
    ignored = {
        "mirrored pictures": len(mirrored),
        "sounds without a picture": len(orphans),
        "sounds of refused pictures": len(lost),
        "pictures of another package": sum(path.endswith((".png", ".svg")) for path in every if path not in known),
    }
    return Stamps(folder=folder, items=items, orphans=orphans, lost=lost, refused=refused, ignored=ignored)


def parse_sound(path: str, names: set[str]) -> Sound | None:
    """Return what a sound file is, by its name, among items `names`; None where no rule fits.

    The item is the longest id that is the file's stem, or a prefix of it that ends before an underscore: ids
    themselves contain underscores.
    """
    stem = path
    while stem.endswith(_SOUNDS):  # one file ends .ogg.ogg
        stem = stem[:-4]
    item = stem
    while item not in names:
        item, underscore, tail = item.rpartition("_")
        if not underscore or "/" in tail:
            return None
    rest = stem[len(item) :]
    if not rest:
        return Sound(path=path, item=item, kind="effect", language="")
    if rest == "_desc":
        return Sound(path=path, item=item, kind="description", language="en")
    for kind, pattern in (("description", _DESCRIPTION), ("word", _WORD)):
        if match := pattern.fullmatch(rest):
            return Sound(path=path, item=item, kind=kind, language=match[1])  # type: ignore[arg-type]
    return None


def parse_captions(text: str) -> dict[str, str]:
    """Return language -> caption of an item's text file: line 1 English, then `LANG.utf8=text`; blank is absent."""
    first, _, rest = text.partition("\n")
    found = {"en": first.strip()}
    for line in rest.splitlines():
        if match := _CAPTION.fullmatch(line.strip()):
            found[match[1]] = match[2].strip()
    return {language: caption for language, caption in found.items() if caption}


def unsafe_svg(data: bytes) -> str | None:
    """Return why an SVG file must not be read, or None: it declares entities, or is not well-formed XML.

    Entities can multiply into gigabytes or name other files; pictures need none.
    """
    parser = expat.ParserCreate()

    def entity(name: str, *_: object) -> None:
        raise ValueError(f"it declares the XML entity {name!r}; save it again without a DOCTYPE")

    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        return f"it is not well-formed XML ({error})"
    except ValueError as error:
        return str(error)
    return None


def _sounds(files: list[str], names: set[str]) -> tuple[dict[str, list[Sound]], list[str]]:
    sounds: dict[str, list[Sound]] = {}
    orphans = []
    for path in files:
        if path.endswith(_SOUNDS):
            sound = parse_sound(path, names)
            if sound is None:
                orphans.append(path)
            else:
                sounds.setdefault(sound.item, []).append(sound)
    return sounds, orphans


def _stamp(folder: Path, name: str, known: set[str], sounds: tuple[Sound, ...], refused: list[Refused]) -> Stamp | None:
    png = f"{name}.png" if f"{name}.png" in known else None
    svg = f"{name}.svg" if f"{name}.svg" in known else None
    if svg and (reason := unsafe_svg((folder / svg).read_bytes())):
        refused.append(Refused(path=svg, reason="unsafe-svg", message=reason))
        svg = None
    if png is None and svg is None:
        return None
    captions: dict[str, str] = {}
    if f"{name}.txt" in known:
        try:
            captions = parse_captions((folder / f"{name}.txt").read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            refused.append(Refused(path=f"{name}.txt", reason="not-utf8", message=f"expected UTF-8 text ({error})"))
    words: set[str] = set()
    if f"{name}.dat" in known:
        words = set((folder / f"{name}.dat").read_text(encoding="utf-8", errors="replace").split())
    return Stamp(
        id=name,
        png=png,
        svg=svg,
        captions=captions,
        sounds=sounds,
        nomirror="nomirror" in words,
        noflip="noflip" in words,
    )
