"""Figures are said in words."""

import pytest

from coview.evaluation.statistics import Measurement
from coview.evaluation.verdict import headline
from coview.evaluation.wording import in_words, sentence


def measured(name, value=0.417, chance=1 / 12, n=12):
    return Measurement(f"{name}/xid", value, 0.2, 0.7, chance, n)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("retrieval_a2v_r1", "the sound finds its own picture first in 5 of 12, chance 1 of 12"),
        ("retrieval_v2v_r1", "one picture finds another of the same recording first in 5 of 12, chance 1 of 12"),
        ("class_p1_v2a", "the first sound that the picture finds is of its class in 5 of 12, chance 1 of 12"),
        ("class_p1_a2a", "the most similar sound is of the same class in 5 of 12, chance 1 of 12"),
        ("audio_probe", "a linear classifier on the sound is right in 5 of 12, chance 1 of 12"),
        ("video_purity", "recordings that have their picture cluster's commonest class in 5 of 12, chance 1 of 12"),
        ("cluster_purity", "patches that have their cluster's commonest class in 5 of 12, chance 1 of 12"),
        ("left_knn", "the nearest neighbours of the left name its class in 5 of 12, chance 1 of 12"),
        ("class_map_v2a", ""),
        ("retrieval_a2v_r5", ""),
        ("retrieval_a2v_r1@backbone", ""),
        ("retrieval_a2v_r1_row", ""),
        ("train_class_p1_v2a", ""),
    ],
)
def test_a_figure_in_words(name, said):
    assert sentence(measured(name)) == said and bool(in_words(measured(name))) == bool(said)


def test_what_is_no_share_has_no_sentence():
    assert sentence(measured("audio_probe", value=float("nan"))) == "" == sentence(measured("audio_probe", n=0))
    assert sentence(measured("audio_probe", chance=None)).endswith("in 5 of 12")


def test_the_headline_is_the_model_s_own_and_between_views_first():
    names = ("retrieval_v2v_r1", "retrieval_a2v_r1", "class_p1_v2a", "class_p1_v2v", "video_probe", "class_map_v2a")
    found = [measured(name) for name in names] + [Measurement("video_probe/random", 0.1, None, None, 0.1, 12)]
    assert [m.name for m in headline(found)] == ["video_probe/xid", "class_p1_v2a/xid", "retrieval_a2v_r1/xid"]
