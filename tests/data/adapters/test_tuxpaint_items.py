"""The rules by which the stamps' files become items, on small made-up trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from coview.data.adapters.tuxpaint_items import parse_captions, parse_sound, unsafe_svg, walk
from coview.errors import UsageError

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect/></svg>'
ENTITY = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'


def tree(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/cow.ogg", ("a/cow", "effect", "")),
        ("a/cow_desc.ogg", ("a/cow", "description", "en")),
        ("a/cow_desc_fr.ogg", ("a/cow", "description", "fr")),
        ("a/cow_desc_pt_BR.wav", ("a/cow", "description", "pt_BR")),
        ("a/cow_desc_ca@valencia.ogg", ("a/cow", "description", "ca@valencia")),
        ("a/cow_desc_da.ogg.ogg", ("a/cow", "description", "da")),
        ("a/cow_en_GB.ogg", ("a/cow", "word", "en_GB")),
        ("a/cow_zh_tw.ogg", ("a/cow", "word", "zh_tw")),
        ("a/cow_de.ogg", ("a/cow", "word", "de")),
        # The longest id wins, although a/cow is a prefix as well.
        ("a/cow_white_desc_el.ogg", ("a/cow_white", "description", "el")),
        ("a/cow_white.ogg", ("a/cow_white", "effect", "")),
        # An id ends where the name ends or at an underscore, nowhere else.
        ("a/cowboy.ogg", None),
        ("a/cow-white_desc_el.ogg", None),
        ("a/cow_whole_desc_el.ogg", None),
        ("a/bull_desc_fr.ogg", None),
        ("b/cow.ogg", None),
    ],
)
def test_a_sounds_name_says_what_it_is(path: str, expected: tuple[str, str, str] | None) -> None:
    sound = parse_sound(path, {"a/cow", "a/cow_white"})
    assert (sound and (sound.item, sound.kind, sound.language)) == expected


def test_a_folder_with_an_underscore_is_no_item() -> None:
    assert parse_sound("a_b/cow.ogg", {"a"}) is None


def test_captions_are_read_by_language_and_blank_is_absent() -> None:
    text = "A horse. \nfr.utf8=Un cheval.\nca@valencia.utf8=Un cavall.\nde.utf8=  \nno line\n"
    assert parse_captions(text) == {"en": "A horse.", "fr": "Un cheval.", "ca@valencia": "Un cavall."}
    assert parse_captions("\nfr.utf8=Un cheval.") == {"fr": "Un cheval."}
    assert parse_captions("") == {}
    assert parse_captions("A sum.\nfr.utf8=a=b") == {"en": "A sum.", "fr": "a=b"}


def test_svg_that_declares_entities_or_is_not_xml_is_refused() -> None:
    assert unsafe_svg(SVG) is None
    assert "entity 'a'" in str(unsafe_svg(ENTITY))
    assert "entity 'x'" in str(unsafe_svg(b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/hosts">]><s>&x;</s>'))
    assert "well-formed" in str(unsafe_svg(b"<svg>"))


def test_the_walk_keeps_png_first_drops_mirrors_and_reports_the_rest(tmp_path: Path) -> None:
    folder = tree(
        tmp_path,
        {
            "a/cow.png": b"-",
            "a/cow.svg": SVG,
            "a/cow_mirror.png": b"-",
            "a/cow_mirror_desc_fr.ogg": b"-",
            "a/cow.txt": "A cow.\nfr.utf8=Une vache.",
            "a/cow.dat": "nomirror\nnoflip\nscale 14%",
            "a/cow_desc_fr.ogg": b"-",
            "a/hand_mirror.svg": SVG,
            "a/bee.png": b"-",
            "a/bee.svg": ENTITY,
            "a/bread.svg": ENTITY,
            "a/bread_desc_fr.ogg": b"-",
            "a/lost.txt": "A lost caption.",
            "a/lost.ogg": b"-",
            "cartoon/tux/tux.png": b"-",
            "symbols/alphabets/a.png": b"-",
        },
    )
    stamps = walk(folder)
    assert [(item.id, item.png, item.svg) for item in stamps.items] == [
        ("a/bee", "a/bee.png", None),
        ("a/cow", "a/cow.png", "a/cow.svg"),
        ("a/hand_mirror", None, "a/hand_mirror.svg"),  # a mirror to hold: there is no a/hand
        ("symbols/alphabets/a", "symbols/alphabets/a.png", None),
    ]
    cow = stamps.items[1]
    assert cow.nomirror and cow.noflip and cow.captions == {"en": "A cow.", "fr": "Une vache."}
    assert list(cow.descriptions()) == ["fr"]
    assert [item.core for item in stamps.items] == [True, True, True, False]
    assert stamps.orphans == ["a/cow_mirror_desc_fr.ogg", "a/lost.ogg"]
    assert [sound.path for sound in stamps.lost] == ["a/bread_desc_fr.ogg"]
    assert [(refused.path, refused.reason) for refused in stamps.refused] == [
        ("a/bee.svg", "unsafe-svg"),
        ("a/bread.svg", "unsafe-svg"),
    ]
    assert stamps.ignored == {
        "mirrored pictures": 1,
        "sounds without a picture": 2,
        "sounds of refused pictures": 1,
        "pictures of another package": 1,
    }


def test_captions_that_are_not_utf8_are_refused_and_the_item_kept(tmp_path: Path) -> None:
    stamps = walk(tree(tmp_path, {"a/cow.png": b"-", "a/cow.txt": b"A cow.\nfr.utf8=\xff"}))
    assert stamps.items[0].captions == {}
    assert [(refused.path, refused.reason) for refused in stamps.refused] == [("a/cow.txt", "not-utf8")]


def test_a_missing_or_empty_folder_names_the_package(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="tuxpaint-stamps-default"):
            walk(folder)
