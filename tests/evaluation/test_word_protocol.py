"""The protocol words: published files of questions, predicted words beside the commonest ones, a map of the words."""

import numpy as np
import pytest
import torch

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.views import Batch, ImageView, TextView
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.calibration import calibration_error, fitted_scale
from coview.evaluation.naming import class_texts, read_prompts
from coview.evaluation.several_labels import Marks
from coview.evaluation.verdict import verdict
from coview.evaluation.word_files import read_analogies, read_languages, read_similarities, read_vectors
from coview.evaluation.word_map import draw, language_of, neighbours
from coview.evaluation.words import Asked, dictionary_of, words
from coview.evaluation.zero_shot import zero_shot
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.weak_captions import WeakCaptionsSettings
from coview.model import Model


def written(tmp_path, text, name="file.txt"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_analogies_as_word2vec_publishes_them(tmp_path):
    text = ": capital-common-countries\nAthens Greece Oslo Norway\n\n: gram1\nbig bigger small smaller\n"
    found = read_analogies(written(tmp_path, text))
    assert found == {
        "capital-common-countries": [("athens", "greece", "oslo", "norway")],
        "gram1": [("big", "bigger", "small", "smaller")],
    }
    with pytest.raises(UsageError, match="line 2: expected four words, found 3"):
        read_analogies(written(tmp_path, ": a\none two three\n"))
    with pytest.raises(UsageError, match="there are no analogies in it"):
        read_analogies(written(tmp_path, ": only a heading\n"))


@pytest.mark.parametrize(
    "text",
    [
        "Word 1,Word 2,Human (mean)\nTiger,cat,7.35\nold,new,1.58\n",  # WordSim-353
        "# a remark\ntiger\tcat\t7.35\told\nold\tnew\t1.58\tmore\n",
        "tiger cat 7.35\nold new 1.58\n",  # MEN
        "tiger;cat;nan;7.35\nold;new;inf;1.58\n",
        "word1\tword2\tPOS\tSimLex999\tconc(w1)\ntiger\tcat\tN\t7.35\t4.9\nold\tnew\tA\t1.58\t2.7\n",  # SimLex-999
    ],
)
def test_similarities_as_they_are_published(tmp_path, text):
    assert read_similarities(written(tmp_path, text)) == [("tiger", "cat", 7.35), ("old", "new", 1.58)]


def test_wrong_similarities_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"line 2: expected two words and a number, found 'old, new'"):
        read_similarities(written(tmp_path, "tiger,cat,7\nold, new\n"))
    with pytest.raises(UsageError, match="no pairs of words"):
        read_similarities(written(tmp_path, "tiger\tcat\t7,35\n"))
    with pytest.raises(UsageError, match="no pairs of words"):
        read_similarities(written(tmp_path, "Word 1,Word 2,Human\n"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_similarities(tmp_path)


@pytest.mark.parametrize("heading", ["", "3 2\n"])
def test_vectors_of_word2vec_and_glove(tmp_path, heading):
    path = written(tmp_path, f"{heading}Cat 1 2\ncat 5 6\n猫 -1.5 0\nunwanted 0 1\n")
    found = read_vectors(path, ["cat", "猫"])
    assert {word: vector.tolist() for word, vector in found.items()} == {"cat": [1, 2], "猫": [-1.5, 0]}
    with pytest.raises(UsageError, match="no vectors of the dictionary's words"):
        read_vectors(path, ["dog"])


@pytest.mark.parametrize("line", ["dog 1 nan", "dog 1 x", "dog 1"])
def test_wrong_vectors_are_named(tmp_path, line):
    with pytest.raises(UsageError, match="line 2: expected"):
        read_vectors(written(tmp_path, f"cat 1 2\n{line}\n"), ["cat", "dog", "dog 1"])


def test_vectors_between_tabs_are_named_instead_of_being_read_without_numbers(tmp_path):
    with pytest.raises(UsageError, match="line 1: expected a word and numbers between spaces"):
        read_vectors(written(tmp_path, "cat\t1\t2\n"), ["cat"])


def test_languages(tmp_path):
    assert read_languages(written(tmp_path, "Chat\tfr\ncat\ten\n")) == {"chat": "fr", "cat": "en"}
    with pytest.raises(UsageError, match="line 1: expected a word, a tab"):
        read_languages(written(tmp_path, "chat fr\n"))


NAMES = ["cat", "chat", "dog", "кот", "猫"]
VECTORS = np.array([[1, 0.1], [1, 0], [0, 1], [1, 0.2], [-1, 0]])


def test_nearest_words_of_another_language_are_joined(tmp_path):
    assert [language_of(word) for word in NAMES] == ["latin", "latin", "latin", "cyrillic", "cjk"]
    assert [pair[:2] for pair in neighbours(NAMES, VECTORS, {})] == [("cat", "кот")]
    spoken = {"cat": "en", "chat": "fr", "dog": "en"}
    apart = np.array([[1, 0.1], [1, 0], [0, 1], [-1, 0], [-1, 0.2]])
    assert [pair[:2] for pair in neighbours(NAMES, apart, spoken)] == [("cat", "chat"), ("кот", "猫")]
    drawn = draw(NAMES, VECTORS, np.arange(5), tmp_path / "map.svg", {})
    assert [set(pair[:2]) for pair in drawn] == [{"cat", "кот"}]
    assert (tmp_path / "map.svg").stat().st_size > 1000


class Pictures:
    """Raw pictures of one brightness each, and captions."""

    name, classes, fingerprint = "pictures", [], "pictures"

    def __init__(self, captions):
        self.views = {"image": ImageView(size=8, margin=1.0), "text": TextView(length=40, tokens="words")}
        self.ids, self.labels = [str(number) for number in range(len(captions))], torch.full((len(captions),), -1)
        self.text = torch.stack([self.views["text"].spell(caption) for caption in captions])

    def __len__(self):
        return len(self.ids)

    def windows(self, count):
        return 1

    def read_window(self, row, window, count):
        pictures = (row * 20).to(torch.uint8)[:, None, None, None, None].expand(-1, 3, 1, 8, 8)
        start = {name: torch.zeros(len(row), dtype=torch.float64) for name in self.views}
        return Batch(views={"image": pictures, "text": self.text[row]}, row=row, key=row, start=start)


def model_of(source, study=True):
    torch.manual_seed(0)
    settings = WeakCaptionsSettings(**source.views, image_encoder="image-tiny", words=10, frequent=0)
    method = build("weak-captions", settings, Facts(rows=len(source)))
    if study:
        method.study(source)
    return Model.of(method, Preprocess(method.views, PRESETS["none"]), source)


def test_predicted_words_stand_beside_the_commonest(monkeypatch):
    source = Pictures(["cat a", "cat b", "dog cat", "", "unheard? 1"])
    model = model_of(source)
    with Bench(model, None, source, name="m") as bench:
        vectors = {
            "cat": np.array([1.0, 0]),
            "dog": np.array([1.0, 1]),
            "a": np.array([0.0, 1]),
            "b": np.array([1, 2.0]),
        }
        similarities = [("cat", "dog", 3.0), ("cat", "a", 1.0), ("a", "dog", 2.0), ("cat", "cow", 9.0)]
        asked = {"one": [("cat", "dog", "a", "b")], "two": [("cat", "dog", "a", "cow")]}
        words(bench, Asked(analogies=asked, similarities=similarities, vectors=vectors))
    found = {m.name: m for m in bench.result.results}
    assert found["image_words_p1/commonest"].value == pytest.approx(3 / 4)  # cat, of the four with a known word
    assert found["image_words_p1/m"].n == 4 and found["image_words_p1/m"].chance == pytest.approx(7 / 4 / 5)
    assert found["analogies/given"].value == 1 and found["analogies/given"].n == 1
    # cosines .71, 0 and .71 against 3, 1, 2: the two equal ones share a rank
    assert found["similarity/given"].value == pytest.approx(np.sqrt(3) / 2)
    assert {"analogies/m", "analogies_joined/m", "similarity/m", "similarity_joined/m"} <= found.keys()
    assert bench.result.choices["analogies"] == {"asked": 1, "with unknown words": 1}
    assert bench.result.choices["similarity"] == {"pairs": 3, "with unknown words": 1}
    assert "4 of 5 words have given vectors" in bench.result.notes[-1]
    assert not any("commonest" in text or "given" in text for text in verdict(bench.result.results))
    with Bench(model, None, source, name="random") as bench:
        words(bench, Asked(analogies=asked, vectors=vectors))
    assert {m.name.partition("/")[2] for m in bench.result.results} == {"random"}


def test_questions_without_known_words_are_lacking():
    source = Pictures(["cat a", "dog"])
    with Bench(model_of(source), None, source, name="m") as bench:
        words(bench, Asked(analogies={"one": [("x", "y", "z", "w")]}, similarities=[("x", "y", 1.0)]))
    lacking = dict(bench.result.problems)
    assert "none of 1 questions" in lacking["analogies"] and "0 of 1 pairs" in lacking["similarity"]


def test_a_model_without_a_dictionary_is_refused():
    source = Pictures(["cat a", "dog"])
    with pytest.raises(UsageError, match="learnt a dictionary"):
        dictionary_of(model_of(source, study=False))


class Named(Pictures):
    """The same, of three classes."""

    classes = ["cat", "dog_house", "unheard"]

    def __init__(self, captions):
        super().__init__(captions)
        self.labels = torch.tensor([0, 1, 0, 2, 1])


def test_zero_shot_takes_the_nearest_name_and_lists_unknown_ones():
    source = Named(["cat a", "dog", "cat", "", "dog"])
    model = model_of(source)
    with Bench(model, None, source, name="m") as bench:
        zero_shot(bench)
    figure, dealt = bench.result.results
    assert dealt.name == "image_zero_shot/permuted" and (dealt.n, dealt.chance) == (4, 1 / 2)
    features, texts = bench.features("test", "projected").values["image"], model.embed_texts(["cat", "dog house"])
    nearest = torch.cosine_similarity(features[:, None], texts[None], dim=2).argmax(1)
    kept = torch.tensor([0, 1, 2, 4])
    assert figure.name == "image_zero_shot/m" and figure.n == 4 and figure.chance == 1 / 2
    assert figure.value == pytest.approx((nearest[kept] == source.labels[kept]).double().mean().item())
    assert bench.result.problems == [("image_zero_shot", "1 names of classes say nothing to the model: unheard")]
    with pytest.raises(UsageError, match="no classes"), Bench(model, None, Pictures(["cat"]), name="m") as bench:
        zero_shot(bench)


class Signs(Pictures):
    """Of classes that differ by a sign alone, and by case."""

    classes = ["c", "c++", "Cat", "cat"]

    def __init__(self):
        super().__init__(["cat c", "c", "dog"])
        self.labels = torch.tensor([0, 1, 2])


def test_a_name_that_is_read_as_another_word_is_left_out():
    model = model_of(Signs())
    with Bench(model, None, Signs(), name="m") as bench:
        zero_shot(bench)
    said = [reason for _, reason in bench.result.problems]
    assert "1 names of classes are read without their signs, as other words: c++" in said
    assert "2 names of classes are read like another one: Cat, cat" in said
    assert bench.result.choices["image_zero_shot"]["names"] == {"c": True, "c++": False, "Cat": False, "cat": False}
    assert bench.result.results[0].n == 1


def test_sentences_around_names_are_kept_with_the_result():
    source = Named(["cat a", "dog", "cat", "", "dog"])
    model = model_of(source)
    with Bench(model, None, source, name="m") as bench:
        zero_shot(bench, ["a {}", "{} b"])
    assert bench.result.choices["image_zero_shot"]["prompts"] == ["a {}", "{} b"]
    texts = class_texts(model, ["cat", "unheard"], ["a {}", "{} b"])
    each = [torch.nn.functional.normalize(model.embed_texts([text]), dim=1) for text in ("a cat", "cat b")]
    torch.testing.assert_close(texts.vectors[0], torch.nn.functional.normalize(each[0] + each[1], dim=1)[0])
    assert texts.told.tolist() == [True, False]  # of the second only the sentences are left
    for wrong, said in ((["no place"], "expected sentences with {}"), (["{} {}", "{}"], "once in each sentence")):
        with pytest.raises(UsageError, match=said):
            read_prompts(wrong)


def test_several_classes_at_once_and_a_fitted_scale():
    source = Named(["cat a", "dog", "cat", "", "dog"])
    model = model_of(source)
    marks = Marks(["cat", "dog"], torch.tensor([[1, -1], [1, 1], [-1, 1], [0, 0], [-1, 1]]))
    with Bench(model, None, source, name="m") as bench:
        zero_shot(bench, marks=marks, calibrate=True)
    assert ("image_zero_shot_ece_fitted", "recordings of several") in [(w, r[:21]) for w, r in bench.result.problems]
    assert [m.name for m in bench.result.results] == [f"image_zero_shot_map-area/{row}" for row in ("m", "permuted")]
    assert bench.result.results[0].n == 4 and bench.result.choices["image_zero_shot"]["left_out"] == 1
    with pytest.raises(UsageError, match="are the same recordings"), Bench(model, source, source, name="m") as bench:
        zero_shot(bench, calibrate=True)
    train = Named(["cat a", "dog", "cat", "", "dog"])
    train.fingerprint = "others"
    with Bench(model, train, source, name="m") as bench:
        zero_shot(bench, calibrate=True)
    found = {m.name: m for m in bench.result.results}
    assert 0 <= found["image_zero_shot_ece_fitted/m"].value <= 1
    assert 0.1 <= bench.result.choices["image_zero_shot"]["scale_ece_fitted"] <= 1000


def test_a_model_that_has_learnt_a_bias_is_measured_by_the_confidences_that_it_gives(monkeypatch):
    source = Named(["cat a", "dog", "cat", "", "dog"])
    model = model_of(source)
    monkeypatch.setattr(model.method, "sureness", lambda view: (3.0, -1.0))
    with Bench(model, None, source, name="m") as bench:
        zero_shot(bench, ["{}"])
        pictures = bench.features("test", "projected").values["image"][[0, 1, 2, 4]]
    texts = model.embed_texts(["cat", "dog house"])
    logits = 3 * torch.cosine_similarity(pictures[:, None], texts[None], dim=2) - 1
    expected = calibration_error("", torch.sigmoid(logits), torch.tensor([0, 1, 0, 1]), 0).value
    found = {m.name: m.value for m in bench.result.results}
    assert found["image_zero_shot_ece/m"] == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(calibration_error("", logits.softmax(1), torch.tensor([0, 1, 0, 1]), 0).value)


def test_the_interval_of_a_calibration_error_holds_it_and_lies_within_0_and_1():
    for seed in range(4):  # percentiles of resamples lay above it in one case of nine
        generator = torch.Generator().manual_seed(seed)
        sure = torch.softmax(8 * torch.rand(2000, 10, generator=generator), 1)
        found = calibration_error("", sure, torch.multinomial(sure, 1, generator=generator)[:, 0], 0)
        assert 0 < found.low < found.value < found.high < 1
    right = calibration_error("", torch.eye(3)[[0, 1, 2]], torch.arange(3), 0)
    assert (right.value, right.low) == (0, 0) and right.high > 0


def test_the_scale_that_made_the_labels_is_found_and_its_confidences_are_true():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(4000, 5, generator=generator) * 2 - 1
    truth = torch.multinomial(torch.softmax(4 * cosines, 1), 1, generator=generator)[:, 0]
    assert fitted_scale(cosines, truth) == pytest.approx(4, rel=0.05)
    assert fitted_scale(-cosines, truth) == pytest.approx(0.1) and fitted_scale(torch.eye(3), torch.arange(3)) < 1000
    true, sure = (calibration_error("x/m", torch.softmax(scale * cosines, 1), truth, 0) for scale in (4, 40))
    assert true.value < 0.03 < 0.2 < sure.value and true.low <= true.value <= true.high
