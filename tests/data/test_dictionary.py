"""Words of captions in any language, and the dictionary they make."""

import pytest
import torch

from coview.data.dictionary import frequencies, kept, words_of
from coview.data.text import encode_text
from coview.data.views import TextView
from coview.encoders.words import WordVectors, word_hashes

SAID = {
    "Don't panic: 42 Cats!": "don t panic cats",
    "une ÉCOLE, l'eau_douce": "une école l eau douce",
    "e\u0301cole": "école",
    "हिन्दी में बिल्ली": "हिन्दी में बिल्ली",
    "猫と犬 ネコ": "猫 と 犬 ネコ",
    "Кошка ქათამი 닭 γάτα قطة": "кошка ქათამი 닭 γάτα قطة",
    "ไก่ตัวนี้": "ไก่ตัวนี้",
    "2024 -- !?": "",
}


@pytest.mark.parametrize("text", SAID)
def test_words_of_many_scripts_without_signs_and_digits(text):
    assert words_of(text) == SAID[text].split()
    view = TextView(length=40, tokens="words")
    assert view.words(view.spell(text)) == SAID[text]


def test_frequency_counts_captions_and_ties_stand_in_the_order_of_letters():
    counts = frequencies(words_of(text) for text in ("b b b a", "a c", "d", "a"))
    assert counts == {"a": 3, "b": 1, "c": 1, "d": 1}
    assert list(kept(counts, 0, 3)) == ["a", "b", "c"]
    assert kept(counts, 1, 2) == {"b": 1, "c": 1}
    assert kept(counts, 9, 2) == {}


def test_only_whole_words_are_spelt_and_what_is_very_long_is_no_word():
    view = TextView(length=7, tokens="words")
    assert [view.words(encode_text(text, view)) for text in ("one two", "one twos", "elephants", "a bc def")] == [
        "one two", "one", "", "a bc",
    ]  # fmt: skip
    assert words_of("x" * 65 + " y") == ["y"]


def test_equal_words_have_equal_bits_wherever_they_stand():
    view = TextView(length=20, tokens="words")
    first, second = word_hashes(torch.stack([view.spell("cat dog act"), view.spell("dog, cat")]))
    assert first[0] == second[1] and first[1] == second[0]
    assert len({*first[:3].tolist()}) == 3, "letters in another order are another word"
    assert not first[3:].any() and not second[2:].any()


def test_a_text_is_the_mean_of_its_different_words():
    vectors, view = WordVectors(5, 3), TextView(length=20, tokens="words")
    vectors.take({"cat": 3, "dog": 2, "猫": 1}, 4)
    assert vectors.size == 3 and sorted(vectors.dictionary()) == ["cat", "dog", "猫"]
    at = {word: number for number, word in enumerate(vectors.dictionary())}
    texts = ["cat dog cat", "猫 unheard", "unheard", ""]
    codes = torch.stack([view.spell(text) for text in texts])
    ids = vectors.ids(codes)
    assert [sorted(one for one in row if one >= 0) for row in ids.tolist()] == [
        sorted([at["cat"], at["dog"]]), [at["猫"]], [], [],
    ]  # fmt: skip
    made, weight = vectors(codes), vectors.weight
    torch.testing.assert_close(made[0], (weight[at["cat"]] + weight[at["dog"]]) / 2)
    torch.testing.assert_close(made[1], weight[at["猫"]])
    assert not made[2:].any()
    assert vectors.counts[at["dog"]] == 2
