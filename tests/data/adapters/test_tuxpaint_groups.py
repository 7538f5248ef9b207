"""What counts as the same thing under two ids, on a small made-up tree."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import png
import torch

from coview.data.adapters.tuxpaint_groups import alike, fold, group_items, listen, silent
from coview.data.adapters.tuxpaint_items import walk


def sound(path: Path, seed: int | None, rate: int = 8000) -> None:
    """Write 0.1 s of noise, or of zeros for no seed."""
    samples = np.zeros(rate // 10) if seed is None else np.random.default_rng(seed).normal(0, 3000, rate // 10)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(samples.astype("<i2").tobytes())


def stamp(folder: Path, name: str, seed: int, caption: str) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    png.write_png(folder / f"{name}.png", pixels, png.RGBA)
    (folder / f"{name}.txt").write_text(caption, encoding="utf-8")


def test_items_join_by_caption_by_recording_and_by_picture(tmp_path: Path) -> None:
    stamp(tmp_path, "a/cow", 1, "A cow.")
    stamp(tmp_path, "b/cow", 2, "a COW.")  # the caption, ignoring case
    stamp(tmp_path, "a/ox", 3, "An ox.")
    stamp(tmp_path, "c/ox", 3, "Another ox.")  # the picture
    stamp(tmp_path, "d/one", 4, "One.")
    stamp(tmp_path, "e/two", 5, "Two.")  # the recording, in another language
    stamp(tmp_path, "f/three", 6, "Three.")
    stamp(tmp_path, "g/four", 7, "Four.")  # silence says nothing
    sound(tmp_path / "d/one_desc_fr.wav", 1)
    sound(tmp_path / "e/two_desc_es.wav", 1)
    sound(tmp_path / "f/three_desc_fr.wav", None)
    sound(tmp_path / "g/four_desc_fr.wav", None)
    stamps = walk(tmp_path)
    heard = listen(tmp_path, [spoken.path for spoken in stamps.sounds])
    assert group_items(stamps, heard) == {
        "a/cow": "a/cow",
        "b/cow": "a/cow",
        "a/ox": "a/ox",
        "c/ox": "a/ox",
        "d/one": "d/one",
        "e/two": "d/one",
        "f/three": "f/three",
        "g/four": "g/four",
    }


def test_listening_tells_rate_and_channels_and_silence_is_exact(tmp_path: Path) -> None:
    sound(tmp_path / "odd.wav", 1, rate=5000)
    sound(tmp_path / "mute.wav", None)
    heard = listen(tmp_path, ["odd.wav", "mute.wav"])
    assert (heard["odd.wav"].rate, heard["odd.wav"].channels) == (5000, 1)
    assert heard["odd.wav"].packets != heard["mute.wav"].packets
    assert silent(tmp_path / "mute.wav") and not silent(tmp_path / "odd.wav")


def test_thin_objects_are_not_alike_just_because_most_of_them_is_background() -> None:
    pictures = torch.zeros(3, 4, 96, 96)
    pictures[0, :, :, 45:51] = 1  # a thin white bar upright, lying, and upright again
    pictures[1, :, 45:51] = 1
    pictures[2, :, :, 45:51] = 0.97
    assert alike(pictures) == [(0, 2)]


def test_a_fold_depends_on_the_name_alone() -> None:
    assert [fold(name) for name in ("animals/amphibians/frog", "animals/birds/seagull")] == [2, 3]
    assert {fold(str(k)) for k in range(50)} == {0, 1, 2, 3}
