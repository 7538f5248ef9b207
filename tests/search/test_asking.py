"""Labels while they are given: whom the queue asks, what may be said of the rest, what another index gets."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from coview.data.collection import Collection, write_tables
from coview.data.recording import Recording
from coview.data.stored import Stored
from coview.errors import UsageError
from coview.search.asking import ROUND, Asking
from coview.search.few_labels import Fitted, Vectors, supported
from coview.search.labelling import Labelling
from coview.search.labels import CLUSTER, KEY, RANDOM, SUGGESTED, LabelLog, Proposal

NAMES = ("dog", "rain", "bell")


def collection_of(folder, count, own=lambda k: None, content="f", caption=None):
    folder.mkdir(parents=True)
    made = [
        Recording(
            id=f"{k:04d}", path=f"{k}.wav", start=0.0, end=1.0, duration=1.0, has_video=False, has_audio=True,
            label=own(k), digest=f"{content}{k}", caption=caption,
        )
        for k in range(count)
    ]  # fmt: skip
    write_tables(folder, made, [], {"source": "s", "root": ".", "ignored": {}, "report": {}})
    return Collection.open(folder)


def stored_of(ids, truth, noise, views=("sound",), width=16):
    """Return a store in which every class has a direction, of two windows, the last one absent in every third row."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(len(NAMES), width))
    clips, present = {}, {}
    for view in views:
        vectors = centres[truth][:, None] + noise * generator.normal(size=(len(ids), 2, width))
        present[view] = np.ones((len(ids), 2), bool)
        present[view][::3, 1] = False
        clips[view] = np.where(present[view][..., None], vectors, np.nan).astype(np.float32)
    start = {view: np.zeros((len(ids), 2)) for view in views}
    return Stored(Path(), {}, clips, present, start, list(ids), [""] * len(ids), [], "")


@pytest.fixture
def world(tmp_path):
    """Yield labels, queue and truth of 600 recordings of three classes, told apart by stored features."""
    collection = collection_of(tmp_path / "c", 600)
    truth = np.random.default_rng(1).integers(0, 3, 600)
    labelling = Labelling(collection, LabelLog(tmp_path / "data" / "c" / "labels.sqlite"))
    asking = Asking(labelling, Vectors(stored_of(collection.ids, truth, 1.2), collection.ids))
    yield labelling, asking, truth
    labelling.close()


def answer(labelling, asking, truth, rounds):
    for _ in range(rounds):
        for row, how in asking.next():
            labelling.say(row, NAMES[truth[row]], how)


def test_one_of_five_is_random_and_is_never_learnt_from(world):
    labelling, asking, truth = world
    answer(labelling, asking, truth, 12)
    said, random = labelling.now()
    assert len(said) == 12 * ROUND and len(random) == 12  # nobody is asked for twice
    state = asking.state()
    assert state["labelled"] == 60 and state["learns"] and state["estimate"]["from"] == 48
    found = state["estimate"]
    assert found["of"] == 12 and found["right"] >= 9 and found["low"] < found["right"] / 12 <= found["high"]
    assert sum(count for _, _, count in found["confusion"]) == 12
    assert found["commonest"] == max(Counter(truth[row] for row in random).values())
    # The random ones are the first of an order that labels have no part in, so a rerun draws the same.
    assert sorted(random) == sorted(asking._kept[:12].tolist())
    # What is asked for already is not asked for again.
    first = [row for row, _ in asking.next()]
    assert not set(first) & {row for row, _ in asking.next(first)}


def test_the_estimate_covers_the_accuracy_on_all_the_rest(world):
    labelling, asking, truth = world
    answer(labelling, asking, truth, 40)
    said, random = labelling.now()
    fitted = asking._fitted(said, random)
    rest = np.array([row for row in range(600) if row not in said])
    guessed, _ = fitted.guesses(rest)
    accuracy = np.mean([name == NAMES[truth[row]] for row, name in zip(rest, guessed, strict=True)])
    found = asking.state()["estimate"]
    assert found["of"] == 40 and found["low"] <= accuracy <= found["high"]


def test_the_least_sure_are_asked_for(world):
    labelling, asking, truth = world
    answer(labelling, asking, truth, 10)
    said, random = labelling.now()
    asked = [row for row, how in asking.next() if how == KEY]
    rest = np.array([row for row in asking._rest if row not in said])
    two = np.sort(asking._fitted(said, random).probabilities(rest))[:, -2:]
    nearest = rest[np.argsort(two[:, 1] - two[:, 0])[:40]]
    assert len(asked) == 4 and set(asked) <= set(nearest.tolist())


def test_suggestions_wait_for_enough_random_ones(world):
    labelling, asking, truth = world
    answer(labelling, asking, truth, 15)
    early = asking.suggest(0.9)
    assert early["offered"] is None and early["count"] == 0 and early["least"] == 44
    answer(labelling, asking, truth, 45)
    found = asking.suggest(0.8)
    assert found["offered"]["of"] <= 60 and found["offered"]["low"] >= 0.8 and found["count"] > 0
    with pytest.raises(UsageError, match=f"there are {found['count']} by now"):
        asking.suggest(0.8, found["count"] + 1)
    asking.suggest(0.8, found["count"])
    said, _ = labelling.now()
    given = {row: line for row, line in said.items() if line.how == SUGGESTED}
    assert len(given) == found["count"] and all(0 < line.confidence <= 1 for line in given.values())
    assert asking.state()["estimate"]["from"] == 240  # four of five of 300: it does not learn from its own guesses
    assert np.mean([line.label == NAMES[truth[row]] for row, line in given.items()]) >= 0.8
    assert len(labelling.undo()["rows"]) == found["count"] and asking.state()["suggested"] == 0
    # A person is still asked about one that got its label with many others, where it is drawn at random.
    asking.suggest(0.8, found["count"])
    drawn = [row for row, how in asking.next() if how == RANDOM]
    assert drawn and drawn == asking._kept[60 : 60 + len(drawn)].tolist()


def test_how_sure_is_sure_enough():
    sure, right = np.linspace(1, 0.4, 100), np.arange(100) < 70
    found = supported(sure, right, 0.9)
    assert found["of"] == 60 and found["right"] == 60 and found["above"] == pytest.approx(sure[59])
    assert found["low"] == pytest.approx(0.01 ** (1 / 60))  # of 60 that are all right: the exact limit
    assert supported(sure, ~right, 0.5) is None and supported(sure[:0], right[:0], 0.5) is None
    assert supported(sure, right, 0.6)["of"] == 80  # 70 of 100 have a lower limit of .58
    # In 400 worlds where .85 are right whatever the confidence, .9 is hardly ever promised.
    generator = np.random.default_rng(0)
    promised = [supported(generator.uniform(size=80), generator.uniform(size=80) < 0.85, 0.9) for _ in range(400)]
    assert np.mean([one is not None for one in promised]) <= 0.05


def test_features_are_means_of_what_is_there(tmp_path):
    ids = [f"{k:04d}" for k in range(9)]
    stored = stored_of([*ids[:6], "another"], np.zeros(7, int), 1.0, ("picture", "sound"))
    vectors = Vectors(stored, ids)
    assert vectors.has.tolist() == [True] * 6 + [False] * 3
    found = vectors.take(np.arange(6))
    assert found.shape == (6, 32) and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.allclose(found.mean(0), 0, atol=1e-5) and np.allclose(found.std(0), 1, atol=1e-4)
    assert np.isfinite(vectors.take(np.array([8, 0]))).all()
    # What is not finite is not there, whatever else the store holds.
    stored.clips["sound"][1, 0, 3], stored.clips["sound"][3] = np.nan, np.inf
    assert np.isfinite(Vectors(stored, ids).take(np.arange(9))).all()


def test_two_thousand_labels_are_fitted_at_once():
    truth = np.random.default_rng(0).integers(0, 3, 2000)
    ids = [str(k) for k in range(2000)]
    vectors = Vectors(stored_of(ids, truth, 3.0, ("picture", "sound"), 256), ids)
    began = time.process_time()
    Fitted(vectors, np.arange(2000), [NAMES[k] for k in truth])
    assert time.process_time() - began < 0.5


def test_without_features_and_with_labels_of_its_own(tmp_path):
    collection = collection_of(tmp_path / "c", 20, own=lambda k: "snow" if k % 2 else None)
    labelling = Labelling(collection, LabelLog(tmp_path / "d" / "c" / "labels.sqlite"))
    asking = Asking(labelling)
    seen = []
    while asked := asking.next():
        for row, how in asked:
            seen.append(row)
            labelling.say(row, "dog", how)
    assert sorted(seen) == list(range(0, 20, 2))  # what has a label is not asked for
    state = asking.state()
    assert not state["features"] and state["estimate"] is None and state["own"] == 10 and state["labelled"] == 10
    assert state["classes"] == [{"name": "snow", "count": 0, "own": 10}, {"name": "dog", "count": 10, "own": 0}]
    with pytest.raises(UsageError, match="has recordings"):
        labelling.name("snow", gone=True)
    labelling.name(" cat ")
    labelling.name("cat", gone=True)
    assert [each["name"] for each in labelling.counts()["classes"]] == ["snow", "dog"]
    for label, how in (("dog", "skip"), (None, KEY), ("dog", "undo")):
        with pytest.raises(UsageError, match="by key, or"):
            labelling.say(0, label, how)
    for wrong in ("", " ", "x" * 101, "\ud800"):
        with pytest.raises(UsageError, match="label"):
            labelling.say(0, wrong, KEY)
    # Many at once never overrule what somebody looked at.
    assert labelling.say_all({0: ("cat", None), 1: ("cat", None)}, CLUSTER) == 1
    assert labelling.spoken()[0]["0000"].label == "dog"


def test_what_is_known_step_by_step_is_what_the_whole_log_says(tmp_path):
    collection, path = collection_of(tmp_path / "c", 6), tmp_path / "d" / "c" / "labels.sqlite"
    one, other = Labelling(collection, LabelLog(path)), Labelling(collection, LabelLog(path))
    acts = [
        lambda: one.name("cat"), lambda: one.say(0, "dog", KEY), lambda: other.say(1, "rain", RANDOM), other.undo,
        lambda: one.say_all({1: ("cat", 0.9), 2: ("cat", 0.8)}, SUGGESTED), lambda: other.say(1, None, "skip"),
        lambda: one._log.propose([Proposal("0003", "bell", 0.5)]), one.undo, lambda: other.name("owl"),
        lambda: one.name("owl", gone=True), one.undo, other.undo, lambda: one.say(2, "dog", RANDOM),
    ]  # fmt: skip
    for act in acts:
        act()
        whole = Labelling(collection, LabelLog(path))
        assert one.now() == other.now() == whole.now() and one.counts() == other.counts() == whole.counts()
        whole.close()
    assert {row: line.label for row, line in one.now()[0].items()} == {0: "dog", 1: "cat", 2: "dog"}


def test_an_empty_collection_asks_for_nothing(tmp_path):
    labelling = Labelling(collection_of(tmp_path / "c", 0), LabelLog(tmp_path / "d" / "c" / "labels.sqlite"))
    assert Asking(labelling).next() == [] and labelling.undo() == {}


def test_another_index_of_the_same_recordings_gets_the_labels(tmp_path):
    data = tmp_path / "data"
    first = collection_of(tmp_path / "a", 8)
    labelling = Labelling(first, LabelLog(data / "a" / "labels.sqlite"))
    assert labelling.carried == (0, 0)
    labelling.name("never")
    labelling.name("gone")
    labelling.name("gone", gone=True)
    for row, label in enumerate(("dog", "rain", "dog", "rain")):
        labelling.say(row, label, RANDOM)
    labelling.say(4, None, "broken")
    labelling.undo()
    labelling.say(5, None, "broken")
    labelling.close()
    # The same but for a caption and a ninth; of the third the file is another one.
    again = collection_of(tmp_path / "b", 9, content="f", caption="new")
    assert again.fingerprint != first.fingerprint
    labelling = Labelling(again, LabelLog(data / "b" / "labels.sqlite"))
    assert labelling.carried == (4, 1)
    labels, broken = labelling.spoken()
    assert {name: line.label for name, line in labels.items()} == {
        "0000": "dog", "0001": "rain", "0002": "dog", "0003": "rain",
    }  # fmt: skip
    assert broken == {"0005"} and labelling.now()[1] == frozenset()  # drawn at random they were elsewhere
    assert [each["name"] for each in labelling.counts()["classes"]] == ["never", "dog", "rain"]
    assert len(labelling.undo()["rows"]) == 5 and labelling.spoken() == ({}, set())  # it is one act
    labelling.close()
    other = Labelling(collection_of(tmp_path / "e", 8, content="g"), LabelLog(data / "e" / "labels.sqlite"))
    assert other.carried == (0, 0)
    # What a model proposed for the new index before somebody labels there keeps nothing from coming.
    with LabelLog(data / "h" / "labels.sqlite") as log:
        log.propose([Proposal("0000", "cat", 0.9)])
    proposed = Labelling(collection_of(tmp_path / "h", 7), LabelLog(data / "h" / "labels.sqlite"))
    assert proposed.carried.labels == 4 and proposed.spoken()[0]["0000"].label == "dog"
    proposed.close()
    reopened = Labelling(again, LabelLog(data / "b" / "labels.sqlite"))  # what was taken back does not come again
    assert reopened.carried == (0, 0) and reopened.spoken() == ({}, set())
