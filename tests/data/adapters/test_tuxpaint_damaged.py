"""A stamp collection with damaged files: they are in quarantine, and everything else is indexed."""

from __future__ import annotations

import os
from pathlib import Path

from test_tuxpaint_groups import sound, stamp

from coview.data.adapters import Options
from coview.data.index import index_source


def test_half_a_sound_an_empty_picture_and_stranger_files_end_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "stamps"
    for number, name in enumerate(("a/cow", "a/ox", "a/fox_mirror", "b/owl")):
        stamp(folder, name, number, f"A {name}.")
        sound(folder / f"{name}_desc_fr.wav", number)
    sound(folder / "a/cow.wav", 9)
    whole = (folder / "a/cow.wav").read_bytes()
    (folder / "a/cow_de.ogg").write_bytes(b"OggS" + bytes(20))  # half a header
    (folder / "a/ox.ogg").write_bytes(whole[:30])
    (folder / "a/ox_desc.ogg").write_bytes(b"")
    (folder / "a/ox.png").write_bytes(b"")
    (folder / "b/owl.png").write_bytes((folder / "b/owl.png").read_bytes()[:50])
    (folder / os.fsdecode(b"a/latin\xe9.png")).write_bytes(b"")
    os.mkfifo(folder / "a" / "pipe.svg")
    collection = index_source("tuxpaint", tmp_path / "c", options=Options(folder=folder), workers=0)
    assert collection.ids == ["a/cow", "a/cow_desc_fr", "a/fox_mirror_desc_fr", "a/ox_desc_fr", "b/owl_desc_fr"]
    refused = {row.path: row.reason for row in collection.quarantine()}
    assert set(refused) == {"a/cow_de.ogg", "a/ox.ogg", "a/ox_desc.ogg", "a/ox.png", "b/owl.png"}
    assert collection.about["report"]["items with PNG"] == 2
    assert sum(count for name, count in collection.about["ignored"].items() if "not-a-file" in name) == 2
