import copy
import hashlib

import pytest
import torch
import worlds
from measured import tiny_model
from measuring import NumberSource, SmallModel

from coview.data.synthetic.digits import DigitsWorld
from coview.evaluation.bench import Bench
from coview.evaluation.controls import drift
from coview.evaluation.linear_probe import linear_probe
from coview.evaluation.protocols import PROTOCOLS, evaluate
from coview.evaluation.scores import hits, score


def test_softmax_before_the_mean_over_clips() -> None:
    clips = torch.tensor([[[4.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]).softmax(-1)  # the mean and the majority disagree
    figures = {m.name: m for m in score("p", "x", clips, torch.tensor([0]), 2, seed=0)}
    assert figures["p/x"].value == 1
    assert figures["p_clip/x"].value == pytest.approx(1 / 3)
    assert figures["p_clip/x"].n == 1  # one recording, whatever the number of its clips


def test_top_five_is_counted_where_it_means_something() -> None:
    probability = torch.eye(8)[torch.arange(40) % 8][:, None] + torch.arange(8) / 100
    truth = torch.where(torch.arange(40) < 20, torch.arange(40) % 8, 0)
    figures = {m.name: m for m in score("p", "x", probability, truth, 8, seed=0)}
    assert figures["p/x"].chance == 1 / 8
    assert figures["p_top5/x"].chance == 5 / 8
    assert figures["p_top5/x"].value == pytest.approx((20 + 2) / 40)  # class 0 is last but for its own two
    assert set(figures) == {"p/x", "p_top5/x"}
    assert {m.name for m in score("p", "x", torch.rand(6, 2, 3), torch.zeros(6).long(), 3, seed=0)} == {
        "p/x",
        "p_clip/x",
    }


def test_equal_scores_are_no_hit() -> None:
    assert not hits(torch.ones(4, 5), torch.arange(4), 1).any()


def test_features_are_extracted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = SmallModel.encode
    monkeypatch.setattr(SmallModel, "encode", lambda self, *a: calls.append(a[1]) or real(self, *a))
    with Bench(SmallModel(), NumberSource(90), NumberSource(60, seed=1), name="x") as bench:
        assert bench.features("train") is bench.features("train")
    assert calls == ["backbone", "backbone"]  # two batches


def test_a_probe_leaves_the_encoder_as_it_is_and_the_released_drift_happens_to_a_copy() -> None:
    model = tiny_model()
    before = copy.deepcopy(model.method.state_dict())
    train, test = DigitsWorld("A", "train", 60), DigitsWorld("A", "test", 30)
    with Bench(model, train, test, name="x") as bench:
        linear_probe(bench, as_released=True)
    after = model.method.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {"video_probe/x", "video_probe_bn-adapt/x"} <= {m.name for m in bench.result.results}
    choices = bench.result.choices
    assert choices["frozen"]["sha256_before"] == choices["frozen"]["sha256_after"] == model.digest
    assert choices["bn-adapt"]["sha256"] != model.digest  # its running statistics have moved
    drift(model, train)
    changed = {name for name, value in model.method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


def _digest() -> str:
    """Every figure and choice of all frozen protocols, on 61 and 33 recordings in batches of 4."""
    torch.set_num_threads(1)
    result = evaluate(
        PROTOCOLS, SmallModel(), NumberSource(61), NumberSource(33, seed=1), name="x", windows=2, batch_size=4,
        spaces=("projected", "backbone"), galleries=("test", "train"),
    )  # fmt: skip
    return hashlib.sha256(repr(result.to_dict()).encode()).hexdigest()


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_measure_exactly_what_one_does(world: int) -> None:
    assert set(worlds.run(world, _digest)) == set(worlds.run(1, _digest))  # on the same number of threads
