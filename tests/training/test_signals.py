"""Signs in a log, looks at embeddings: ranks with known answers, the plateau's sentence, the guard's names."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import tiny
import torch

from coview.data.views import Batch
from coview.methods.contract import Step
from coview.training.look import effective_rank, knn, look
from coview.training.signals import collapse, plateau, still
from coview.training.unwell import unwell


def test_effective_rank_of_what_is_known():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(50, 8) - torch.randn(50, 8).mean(0)).Q
    basis = torch.linalg.qr(basis - basis.mean(0)).Q
    assert effective_rank(basis) == pytest.approx(8, rel=1e-3)
    assert effective_rank(basis[:, :3] @ torch.linalg.qr(torch.randn(8, 8)).Q[:3]) == pytest.approx(3, rel=1e-3)
    assert effective_rank(torch.ones(10, 4)) == 1.0
    uneven = basis[:, :2] * torch.tensor([3.0, 1.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(uneven) == pytest.approx(math.exp(entropy), rel=1e-3)


def test_look_sees_collapse():
    torch.manual_seed(0)
    step = Step(torch.tensor(0.0), {}, {"well": torch.randn(64, 8), "collapsed": torch.ones(64, 8)})
    values = look(step)
    assert values["std/collapsed"] == 0 and values["rank/collapsed"] == 1
    assert values["std/well"] == pytest.approx(1, abs=0.15) and values["rank/well"] > 6
    assert look(Step(torch.tensor(0.0))) == {}


def entries(values, name="loss"):
    return [{"step": index, "loss": 0.0, name: value} for index, value in enumerate(values)]


def test_the_plateau_is_named():
    chance = math.log(64)
    assert "chance plateau" in (plateau(entries([5.0] * 60 + [chance * 1.01] * 40), 63) or "")
    assert "ln(64)" in (plateau(entries([chance] * 100, "infonce"), 63) or "")
    assert plateau(entries([chance] * 75 + [chance * 0.9] * 25), 63) is None
    assert plateau(entries([chance] * 79), 63) is None  # too short to say
    assert plateau(entries([chance] * 100), None) is None


def test_a_collapse_is_named_with_its_cure():
    chance = math.log(30)
    well = [{"loss": 2.5, "used": 0.9, "rank/image": 9.0, "std/image": 0.2}] * 20
    assert collapse(well, "assignment", chance) is None
    assert collapse(entries([chance] * 20), "negatives", chance) is None  # a plateau: others look there
    assert "method.epsilon" in (collapse(entries([chance * 1.01] * 20), "assignment", chance) or "")
    assert collapse(entries([chance] * 19), "assignment", chance) is None  # too short to say
    assert "2.0% of the prototypes" in (collapse([{"loss": 0.0, "used": 0.02}] * 20, "assignment", chance) or "")
    low = [{"loss": 20.0, "variance": 0.96}] * 20
    assert "variance part is 0.96" in (collapse(low, "statistics", None) or "")
    assert collapse(low, "negatives", None) is None  # a part of another meaning
    flat = [*well[:-1], {"loss": 2.5, "rank/image": 1.0, "std/image": 1e-6}]
    sentence = collapse(flat, "statistics", None) or ""
    assert "effective rank of image" in sentence and "deviation of image" in sentence and "variance" in sentence


def seen(rank, std=0.5, steps=20):
    return [{"loss": 1.0 + 0.01 * step, "rank/video": rank, "std/video": std} for step in range(steps)]


def test_a_collapse_is_judged_by_the_dimensions_that_there_are():
    for dim, healthy, collapsed in ((1, 1.0, None), (2, 1.9, 1.1), (4, 3.0, 1.5), (9, 5.0, 2.9), (128, 20.0, 2.5)):
        assert collapse(seen(healthy), "negatives", None, {"video": dim}) is None, dim
        said = collapsed and collapse(seen(collapsed), "negatives", None, {"video": dim})
        assert not collapsed or "effective rank of video" in (said or ""), dim
    assert collapse(seen(1.9), "negatives", None) is None  # an old run, whose dimensions nobody knows
    # four samples span three dimensions, however many the space has
    assert collapse(seen(2.4), "negatives", None, {"video": 3}) is None
    assert "deviation" in (collapse(seen(20.0, 1e-5), "negatives", None, {"video": 128}) or "")


def test_idle_steps_are_no_part_of_a_plateau_or_a_collapse():
    chance = math.log(64)
    log = [entry for loss in [chance] * 100 for entry in ({"loss": None}, {"loss": loss})]
    assert "chance plateau" in (plateau(log, 63) or "")
    assert plateau([{"loss": None}] * 100, 63) is None
    assert plateau(log[:158], 63) is None  # 79 steps have learnt: too few to say
    assigned = [entry for loss in [math.log(30)] * 20 for entry in ({"loss": None}, {"loss": loss})]
    assert "equal embeddings cost" in (collapse(assigned, "assignment", math.log(30)) or "")


def test_a_loss_that_stands_still_is_said():
    moving = [{"loss": 1 / (step + 1)} for step in range(30)]
    assert still(moving) is None and still([{"loss": 0.0}] * 19) is None
    assert "exactly 0 in each of the last 20 steps" in (still([*moving, *[{"loss": 0.0}, {"loss": None}] * 20]) or "")


def test_the_guard_names_rows_by_input_then_embedding_then_all():
    batch = Batch(views={"video": torch.zeros(3, 2)}, row=torch.tensor([7, 8, 9]), key=torch.arange(3))
    embedding = torch.zeros(3, 4)
    step = Step(torch.tensor(math.inf), {}, {"video": embedding})
    assert unwell(step, batch) == "rank 0: loss inf, rows [7, 8, 9] of the batch"
    embedding[1] = math.nan
    assert "rows [8] of the batch" in unwell(step, batch)
    batch.views["video"][2, 0] = math.inf
    assert "rows [9] whose input is not finite" in unwell(step, batch)


def test_knn_of_a_model_that_knows_the_answer():
    source = tiny.TinySource()
    device = torch.zeros(1)

    def encode(batch, space):
        good = torch.nn.functional.one_hot(batch.label, 2).float()
        return {"left": good, "right": torch.ones(len(batch), 2)}

    model = SimpleNamespace(
        encode=encode,
        views=source.views,
        reads={"left": ("left",), "right": ("right",)},
        present=lambda batch, name: torch.ones(len(batch), dtype=torch.bool),
        method=SimpleNamespace(parameters=lambda: iter([device])),
    )
    values = knn(model, source, 16)
    assert values["knn/left"] == 1.0 and 0.2 < values["knn/right"] < 0.8
    source.labels = torch.full((40,), -1)
    assert knn(model, source, 16) == {}
