"""Rendering: pictures that move and stay whole, speech at one level, digits dealt out evenly."""

from __future__ import annotations

from collections import Counter

import torch

from coview.data.adapters.tuxpaint_clips import SIZE, active_part, clip_key, film, smooth_field
from coview.data.adapters.tuxpaint_digits import Spoken, digit_square, language_folds, pair


def test_a_picture_moves_zooms_and_stays_inside() -> None:
    square = torch.ones(4, SIZE, SIZE)  # an opaque white picture
    for number in range(8):
        key = clip_key(0, f"clip {number}")
        frames = film(square, torch.zeros(3, SIZE, SIZE), key)
        assert frames.shape == (3, 30, SIZE, SIZE) and frames.dtype == torch.uint8
        lit = frames[0] > 127
        width = lit.any(1).sum(1).tolist()
        assert sorted((width[0], width[-1])) in ([56, 96], [56, 97], [57, 96], [57, 97])  # 44 and 75 % of 128
        # Nothing is cut off: the white area is a whole square in every frame.
        assert all(abs(float(frame.sum()) - side * side) <= 2 * side for frame, side in zip(lit, width, strict=True))
        assert torch.equal(frames, film(square, torch.zeros(3, SIZE, SIZE), key))


def test_clips_differ_by_name_and_by_seed() -> None:
    fields = [smooth_field(clip_key(seed, name), 16) for seed, name in ((0, "a"), (0, "b"), (1, "a"))]
    assert all(float(field.min()) >= 0 and float(field.max()) <= 1 for field in fields)
    assert not torch.equal(fields[0], fields[1]) and not torch.equal(fields[0], fields[2])
    assert torch.equal(fields[0], smooth_field(clip_key(0, "a"), 16))


def test_the_active_part_has_no_silent_edges() -> None:
    tone = 0.5 * torch.sin(torch.arange(4800) * 0.1)
    padded = torch.cat([torch.zeros(9600), tone, 0.001 * torch.randn(9600, generator=torch.Generator().manual_seed(0))])
    part = active_part(padded)
    assert part is not None and torch.equal(part, tone)
    assert active_part(torch.zeros(1000)) is None


def test_digits_are_dealt_out_evenly_and_apart_in_both_parts() -> None:
    labels = [k % 10 for k in range(1797)]
    languages = ["fr", "de", "es", "ru", "it", "pt", "nl"]
    voices = [Spoken(digit=d, language=name, path=f"{d}_{name}") for d in range(10) for name in languages]
    pairs = pair(labels, voices, seed=0)
    assert len(pairs) == 2 * 1797 and len({(image, turn) for image, turn, _ in pairs}) == 2 * 1797
    assert all(labels[image] == voice.digit for image, _, voice in pairs)
    for images in (range(1200), range(1200, 1797)):
        for digit in range(10):
            counts = Counter(v.language for image, _, v in pairs if image in images and v.digit == digit)
            assert len(counts) == 7 and max(counts.values()) - min(counts.values()) <= 1
    assert pairs == pair(labels, voices, seed=0) and pairs != pair(labels, voices, seed=1)


def test_variants_of_a_language_share_a_fold() -> None:
    folds = language_folds(["en", "en_GB", "nb", "nn", "bg", "fr", "sv", "zh_tw"])
    assert folds["en"] == folds["en_GB"] and folds["nb"] == folds["nn"]
    assert set(folds.values()) == {0, 1, 2, 3, 4}


def test_a_digit_is_bright_with_a_transparent_margin() -> None:
    image = torch.zeros(8, 8)
    image[:, 4] = 16
    square = digit_square(image)
    assert square.shape == (4, SIZE, SIZE)
    assert torch.equal(square[0], square[3]) and float(square.min()) >= 0 and float(square.max()) <= 1
    assert not square[:, :16].any() and not square[..., :16].any() and float(square[3, 64, 70]) > 0.9
