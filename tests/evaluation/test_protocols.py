import json
from pathlib import Path

import pytest
import torch
from measuring import NumberSource, PassThrough, SmallModel

from coview.errors import CoviewError, UsageError
from coview.evaluation.protocols import PROTOCOLS, evaluate

NAMES = [f"{view}_{what}" for view in ("video", "audio") for what in ("probe", "probe_clip", "knn")]


def test_all_protocols_and_their_names(tmp_path: Path) -> None:
    result = evaluate(PROTOCOLS, PassThrough(), NumberSource(240), NumberSource(121, seed=1), name="xid", windows=2)
    figures = {m.name.removesuffix("/xid"): m for m in result.results}
    pairs = [f"retrieval_{d}_{k}" for d in ("v2a", "a2v", "v2v", "a2a") for k in ("r1", "r5", "r10", "median_rank")]
    classes = [f"class_{k}_{d}" for d in ("v2a", "a2v", "v2v", "a2a") for k in ("p1", "r5", "r10")]
    classes += [f"class_{k}_{d}" for d in ("v2a", "a2v") for k in ("map", "mrr")]
    assert set(figures) == {*NAMES, *pairs, *classes}
    assert figures["video_probe"].value > 0.6  # the classes are there, under noise
    assert figures["class_p1_v2a"].value > 0.5
    assert figures["retrieval_v2a_r10"].value > 0.5
    assert figures["retrieval_v2a_r10"].n == 110  # eleven recordings without sound
    assert result.choices["retrieval"]["left_out"] == {"v2v": 0, "v2a": 11, "a2v": 11, "a2a": 11}
    assert figures["video_probe"].chance == pytest.approx(1 / 3)
    assert figures["retrieval_v2a_r10"].chance == pytest.approx(10 / 110)
    assert figures["class_p1_v2v"].n == sum(NumberSource(121, seed=1).labels >= 0)
    result.save(tmp_path / "run" / "evaluations" / "all.json")
    stored = json.loads((tmp_path / "run" / "evaluations" / "all.json").read_text())
    assert stored["results"][0]["name"].endswith("/xid")
    assert list((tmp_path / "run" / "evaluations").iterdir()) == [tmp_path / "run" / "evaluations" / "all.json"]


def test_measuring_repeats_and_proves_that_the_model_stayed() -> None:
    runs = [evaluate("linear-probe", SmallModel(), NumberSource(90), NumberSource(60, seed=1), name="x") for _ in "ab"]
    assert runs[0].to_dict() == runs[1].to_dict()
    frozen = runs[0].choices["frozen"]
    assert frozen["sha256_before"] == frozen["sha256_after"]


def test_a_model_whose_statistics_drift_is_caught() -> None:
    with pytest.raises(CoviewError, match="changed while it was measured"):
        evaluate("knn", SmallModel(leak=True), NumberSource(90), NumberSource(60, seed=1), name="x")


def test_without_labels_a_sentence_and_retrieval_by_pair() -> None:
    test = NumberSource(60, seed=1, labelled=False)
    result = evaluate(PROTOCOLS, PassThrough(), NumberSource(90, labelled=False), test, name="x")
    assert any("has no labels" in note for note in result.notes)
    assert all(m.name.startswith("retrieval_") for m in result.results)


def test_recordings_of_one_window_have_no_pairs_within_a_view() -> None:
    result = evaluate("retrieval", PassThrough(), None, NumberSource(60, windows=1), name="x")
    names = {m.name for m in result.results}
    assert "retrieval_v2v_r1/x" not in names
    assert "class_p1_v2v/x" in names
    assert any("as long as two clips" in note for note in result.notes)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="no protocol"):
        evaluate("probing", SmallModel(), None, NumberSource(60), name="x")
    with pytest.raises(UsageError, match="same recordings"):
        evaluate("knn", SmallModel(), NumberSource(60), NumberSource(60), name="x")
    other = NumberSource(60, seed=1)
    other.classes = ["x", "y", "z"]
    with pytest.raises(UsageError, match="different classes"):
        evaluate("knn", SmallModel(), NumberSource(60), other, name="x")


def test_untrained_random_retrieval_is_near_chance() -> None:
    result = evaluate("retrieval", SmallModel(), None, NumberSource(400, noise=3.0), name="random")
    for measurement in result.results:
        if measurement.name.startswith(("retrieval_v2a_r", "retrieval_a2v_r")):
            assert measurement.chance is not None
            assert measurement.value == pytest.approx(measurement.chance, abs=0.03)
    assert torch.is_grad_enabled()
