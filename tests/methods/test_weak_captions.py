"""Words teach pictures: the dictionary, which pictures are drawn, and that drawing words first teaches the rare ones.

Decisive experiment of the card, `toy`: 60 kinds of things, Zipf(1.2), are noisy points in 24 dimensions; a caption has
the true word in 70 % of 6,000, and three more words by Zipf's law. 1,500 steps of 64; 4,000 new points.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from coview import encoders
from coview.cli.main import main
from coview.data.order import Order
from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView, TextView
from coview.encoders import Encoder
from coview.errors import UsageError
from coview.methods.contract import Facts
from coview.methods.weak_captions import WeakCaptions, WeakCaptionsSettings

KINDS, ITEMS, NEW, DIM = 60, 6000, 4000, 24
WORDS = [chr(97 + k // 26) + chr(97 + k % 26) for k in range(KINDS)]
SMALL = {"image": ImageView(size=8, margin=1.0), "text": TextView(length=24, tokens="words"), "frequent": 0}


class Points(Encoder):
    """A small network on the first numbers of a "picture"."""

    dim = 64
    stages = ("layer",)

    def __init__(self, channels=3):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(DIM, 64), nn.ReLU())

    def feature_maps(self, x):
        return {"layer": self.layer(x.flatten(1)[:, :DIM])}

    def pool(self, maps):
        return maps


class Captioned:
    """A source of pictures that are already model views, and of captions."""

    name, classes, fingerprint, labels = "captioned", [], "captioned", torch.empty(0, dtype=torch.int64)

    def __init__(self, captions, pictures=None):
        self.views = {"image": SMALL["image"], "text": SMALL["text"]}
        self.ids = [str(number) for number in range(len(captions))]
        self.text = torch.stack([SMALL["text"].spell(caption) for caption in captions])
        self.pictures = torch.zeros(len(captions), 3, 8, 8) if pictures is None else pictures

    def __len__(self):
        return len(self.ids)

    def read(self, row, key):
        return Batch(views={"image": self.pictures[row], "text": self.text[row]}, row=row, key=key)

    def read_window(self, row, window, count):
        return self.read(row, row)


def method_of(rows, monkeypatch, **changes):
    monkeypatch.setitem(encoders.IMAGE, "points", Points)
    torch.manual_seed(0)
    settings = WeakCaptionsSettings(**{**SMALL, "image_encoder": "points", "words": 100, **changes})
    return WeakCaptions(settings, Facts(rows=rows))


CAPTIONS = ["Cat, dog!", "the cat", "", "42", "猫 cat", "dog dog", "rare"]


def test_study_makes_the_dictionary_and_the_chances(monkeypatch):
    method = method_of(7, monkeypatch)
    said = method.study(Captioned(CAPTIONS))
    assert sorted(method.words.dictionary()) == sorted(["cat", "dog", "the", "猫", "rare"])
    assert "5 words out of 5, from 'cat' in 3 captions" in said and "2 of 7 recordings have none" in said
    chances = method.chances()
    # Words are equally likely, and so are the pictures of a word.
    expected = torch.tensor([1 / 3 + 1 / 2, 1 / 3 + 1, 0, 0, 1 / 3 + 1, 1 / 2, 1], dtype=torch.float64) / 5
    torch.testing.assert_close(chances, expected)
    counts = dict(zip(method.words.dictionary(), method.words.counts.tolist(), strict=False))
    assert counts == {"cat": 3, "dog": 2, "the": 1, "猫": 1, "rare": 1}
    assert int(method.words.captions) == 5


def test_frequent_words_are_dropped_before_the_dictionary_is_cut(monkeypatch):
    method = method_of(7, monkeypatch, frequent=1, words=2)
    method.study(Captioned(CAPTIONS))
    assert sorted(method.words.dictionary()) == ["dog", "rare"]  # of equal counts the first in the order of letters
    assert int((method.chances() > 0).sum()) == 3
    with pytest.raises(UsageError, match="5 different words; without the 4 most frequent 1 are left"):
        method_of(7, monkeypatch, frequent=4).study(Captioned(CAPTIONS))
    with pytest.raises(UsageError, match="0 different words"):
        method_of(2, monkeypatch).study(Captioned(["", "12 !"]))


def test_a_dictionary_that_was_taken_over_keeps_its_vectors(monkeypatch):
    method, more = method_of(7, monkeypatch), method_of(3, monkeypatch)
    method.study(Captioned(CAPTIONS))
    encoders = {name: value for name, value in method.state_dict().items() if name.startswith("encoders.")}
    more.load_state_dict(encoders, strict=False)
    said = more.study(Captioned(["a cat", "rare new cat", "new"]))
    assert more.words.dictionary() == method.words.dictionary() and "1 of 3 recordings have none" in said
    assert int(more.words.captions) == 2
    counts = dict(zip(more.words.dictionary(), more.words.counts.tolist(), strict=False))
    assert counts == {"cat": 2, "rare": 1, "dog": 0, "the": 0, "猫": 0}
    cat, both = more.chances()[:2] / more.chances().sum()
    assert (float(cat), float(both)) == pytest.approx((1 / 4, 3 / 4))
    with pytest.raises(UsageError, match="1 are in the dictionary that was taken over"):
        more.study(Captioned(["cat", "new", "other"]))


def test_samples_without_a_word_of_the_dictionary_teach_nothing(monkeypatch):
    method, source = method_of(7, monkeypatch), Captioned(CAPTIONS)
    method.study(source)
    batch = source.read(torch.arange(7), sample_keys(0, 0, torch.arange(7)))
    assert method.usable(batch).row.tolist() == [0, 1, 4, 5, 6]
    assert method(batch.select(torch.tensor([2, 3, 6]))).idle
    assert not method(batch).idle


def test_the_dictionary_is_kept_with_the_weights(monkeypatch):
    method, other = method_of(7, monkeypatch), method_of(7, monkeypatch)
    method.study(Captioned(CAPTIONS))
    other.load_state_dict(method.state_dict())
    assert other.words.dictionary() == method.words.dictionary()
    torch.testing.assert_close(other.chances(), method.chances())
    to_embed = WeakCaptions(method.settings, Facts(rows=7, training=False))
    assert not len(to_embed.chance) and not len(to_embed.sides) and to_embed.chances() is None


def test_settings_that_do_not_fit_are_named():
    for changes, said in (
        ({"text": TextView()}, "words, not of characters"),
        ({"objective": "one-vs-all"}, "sampling picture"),
        ({"words": 1}, "words >= 2"),
    ):
        with pytest.raises(ValueError, match=said):
            WeakCaptionsSettings(**changes)


def toy(seed, monkeypatch, objective="sampled", sampling="word", steps=1500):
    """Return the accuracy by kind, mean over kinds, and over all new points."""
    draw = np.random.default_rng(seed)
    zipf = 1 / np.arange(1, KINDS + 1) ** 1.2
    zipf /= zipf.sum()
    centres = draw.normal(size=(KINDS, DIM))
    kind = draw.choice(KINDS, ITEMS + NEW, p=zipf)
    points = np.zeros((ITEMS + NEW, 3 * 64), np.float32)
    points[:, :DIM] = centres[kind] + draw.normal(size=(len(kind), DIM))
    pictures = torch.from_numpy(points).view(-1, 3, 8, 8)
    told, noise = draw.random(ITEMS) < 0.7, draw.choice(KINDS, (ITEMS, 3), p=zipf)
    captions = [
        " ".join([WORDS[kind[item]]] * bool(told[item]) + [WORDS[word] for word in noise[item]])
        for item in range(ITEMS)
    ]
    source = Captioned(captions, pictures[:ITEMS])
    method = method_of(ITEMS, monkeypatch, objective=objective, sampling=sampling, words=KINDS)
    method.study(source)
    order = Order(ITEMS, 1, 64, 1, 64)
    chances = method.chances()
    order = order if chances is None else order.weighted(chances)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    per_epoch = ITEMS // 64
    for step in range(steps):
        epoch, index = divmod(step, per_epoch)
        position = torch.arange(index * 64, index * 64 + 64)
        batch = source.read(order.rows_of(position, seed, epoch), sample_keys(seed, epoch, position))
        optimiser.zero_grad()
        method(batch).loss.backward()
        optimiser.step()
    names = method.words.dictionary()
    with torch.no_grad():
        scores = method.encoders["image"](pictures[ITEMS:]) @ method.words.weight[: len(names)].T
    right = np.array([WORDS.index(names[best]) for best in scores.argmax(1)]) == kind[ITEMS:]
    there = np.unique(kind[ITEMS:])
    return float(np.mean([right[kind[ITEMS:] == one].mean() for one in there])), float(right.mean())


@pytest.mark.slow
def test_words_first_multiplies_rare_kinds(monkeypatch):
    by_word, overall = toy(0, monkeypatch)
    by_picture, overall_by_picture = toy(0, monkeypatch, sampling="picture", objective="multi-class")
    assert by_word > 2 * by_picture
    assert overall < overall_by_picture, "the share of each kind is no longer known"


@pytest.mark.slow
def test_pictures_with_captions_from_a_manifest_to_a_search(tmp_path, capsys):
    draw, lines = np.random.default_rng(0), []
    colours = {"red rouge": (220, 30, 30), "green vert": (30, 200, 40), "blue bleu": (30, 50, 220)}
    for number in range(96):
        name = list(colours)[number % len(colours)]
        Image.fromarray(np.uint8(np.clip(colours[name] + draw.normal(0, 25, (40, 48, 3)), 0, 255))).save(
            tmp_path / f"{number}.png"
        )
        split = "train" if number < 64 else "test"
        lines.append(
            {"path": f"{number}.png", "caption": f"{name} No {number}", "label": name.split()[1], "split": split}
        )
    lines[0]["caption"] = ""
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data, run = str(tmp_path / "collection"), str(tmp_path / "run")
    assert main(["index", str(tmp_path / "manifest.jsonl"), "-o", data, "--workers", "0"]) == 0
    words = ["--tiny", "--train.steps", "60", "--train.batch-size", "16", "--train.workers", "0"]
    words += ["--train.device", "cpu", "--optimiser.lr", "0.003"]
    assert main(["pretrain", "weak-captions", "--collection", data, "-o", run, *words]) == 0
    capsys.readouterr()
    asked = ["--model", run, "--collection", data, "--to", "image", "--windows", "1", "--device", "cpu", "--json"]
    assert main(["search", *asked, "--text", "Rouge", "-k", "8"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert sum(int(hit["id"].partition(".")[0]) % 3 == 0 for hit in hits) >= 7
    (tmp_path / "pairs.csv").write_text("a,b,how\nred,rouge,9\nred,vert,1\nblue,bleu,9\ngreen,bleu,2\nred,never,5\n")
    words = ["--model", run, "--collection", data, "--device", "cpu", "--json", "--controls", "--map"]
    assert main(["evaluate", "words", *words, "--similarities", str(tmp_path / "pairs.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    figures = {row["name"]: row for row in found["results"]}
    own, common = (figures[f"image_words_p5/{who}"]["value"] for who in ("weak-captions", "commonest"))
    # Of the five likeliest words a caption can have three, and all have "no".
    assert own > 0.59 and common < 0.5 and figures["image_words_p5/random"]["value"] < own
    assert figures["similarity/weak-captions"]["n"] == 4 and figures["similarity/weak-captions"]["value"] > 0.5
    assert "rouge" in (tmp_path / "run" / "evaluations" / "words.svg").read_text()
    assert main(["evaluate", "zero-shot", *words[:-1]]) == 0
    named = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}[
        "image_zero_shot/weak-captions"
    ]
    assert named["value"] > 0.9 and named["n"] == 32 and named["chance"] == pytest.approx(1 / 3)
    assert main(["search", *asked, "--text", "unheard"]) == 2
    assert "says nothing to this model" in capsys.readouterr().err


@pytest.mark.slow
def test_the_auxiliary_classifiers_of_googlenet_are_trained_and_not_kept():
    settings = WeakCaptionsSettings(
        image=ImageView(size=64, margin=1.0), text=SMALL["text"], image_encoder="googlenet", words=30, frequent=0
    )
    torch.manual_seed(0)
    method = WeakCaptions(settings, Facts(rows=8))
    step = method(method.example_batch(8, 0))
    step.loss.backward()
    # Untrained, every classifier is as good as the others.
    assert step.loss.item() == pytest.approx(step.parts["top"].item() * (1 + 2 * 0.3), rel=0.05)
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert list(method.sides) == ["inception4a", "inception4d"]
    assert not WeakCaptions(settings, Facts(rows=8, training=False)).sides
