"""Scores of made participants are what they must be; the rules of the key leave out whom they name."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.cli.main import main
from coview.errors import UsageError
from coview.evaluation.statistics import wilson
from coview.evaluation.study_design import plan, trials
from coview.evaluation.study_score import _resampled, fooling_rate, score, standard_errors
from coview.randomness import make_key, uniform

GOLDEN = {
    name: torch.as_tensor(value)
    for name, value in np.load(Path(__file__).parents[1] / "golden" / "protocols-image-transfer.npz").items()
}


def study(folder, participants, models=2, seed=0):
    """Write the key of a study; return each participant's pairs."""
    folder.mkdir()
    planned = plan(60, models)
    designs = {
        f"participant-{n + 1:03d}": [vars(t) for t in trials(planned, models, seed, n)] for n in range(participants)
    }
    names = [{"name": f"model-{index}"} for index in range(models)]
    key = {"models": names, "pictures": ["x"] * planned.pictures, "participants": designs}
    (folder / "key.json").write_text(json.dumps(key))
    return designs


def answer(folder, name, pairs, choose, **changes):
    """Write a participant's file; `choose` tells from the number of a pair and the pair whether the fake is found."""
    folder.mkdir(exist_ok=True)
    answers = []
    for number, pair in enumerate(pairs):
        found = choose(number, pair) or pair["kind"] == "catch"
        chosen = "left" if found is pair["fake_left"] else "right"
        answers.append({"pair": number, "chosen": chosen, "rt_ms": 700.0, "valid": True} | changes)
    (folder / f"{name}.json").write_text(json.dumps({"participant": name, "answers": answers}))
    return answers


def figures(found):
    return {each.name: each for each in found.results}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_who_always_sees_it_and_who_never_does(rate, tmp_path):
    for name, pairs in study(tmp_path / "study", 4).items():
        answer(tmp_path / "answers", name, pairs, lambda number, pair: rate == 0)
    found, problems = score(tmp_path / "study", tmp_path / "answers")
    assert not problems and not found.left_out and found.recruited == 4
    for model in ("model-0", "model-1"):
        each = figures(found)[f"fooled/{model}"]
        assert (each.value, each.low, each.high, each.n, each.chance) == (rate, rate, rate, 80, 0.5)


def test_models_are_told_apart_and_intervals_cover(tmp_path):
    for number, (name, pairs) in enumerate(study(tmp_path / "study", 20).items()):
        drawn = uniform(make_key(3, number), 1, len(pairs))
        answer(
            tmp_path / "answers", name, pairs, lambda at, p, d=drawn: bool(d[at] < (0.9 if p["model"] == 0 else 0.6))
        )
    found, _ = score(tmp_path / "study", tmp_path / "answers")
    for model, true in (("model-0", 0.1), ("model-1", 0.4)):
        each = figures(found)[f"fooled/{model}"]
        assert each.low <= true <= each.high and each.high - each.low < 0.2
        assert found.errors[model]["both"] > 0
    assert abs(figures(found)["left/everything"].value - 0.5) < 0.06


def test_rules_leave_out_whom_they_name_and_figures_with_them_stand_beside(tmp_path):
    designs = list(study(tmp_path / "study", 6).items())
    folder = tmp_path / "answers"
    answer(folder, *designs[0], lambda number, pair: True)
    answer(folder, *designs[1], lambda number, pair: True, rt_ms=100.0)
    one_side = answer(folder, *designs[2], lambda number, pair: True)
    for number, pair in enumerate(designs[2][1]):
        one_side[number]["chosen"] = "left" if pair["kind"] == "test" else one_side[number]["chosen"]
    (folder / "participant-003.json").write_text(json.dumps({"participant": "participant-003", "answers": one_side}))
    answer(folder, *designs[3], lambda number, pair: True, valid=False)
    blind = answer(folder, *designs[4], lambda number, pair: False)
    for number, pair in enumerate(designs[4][1]):
        if pair["kind"] == "catch":
            blind[number]["chosen"] = "right" if pair["fake_left"] else "left"
    (folder / "participant-005.json").write_text(json.dumps({"participant": "participant-005", "answers": blind}))
    found, _ = score(tmp_path / "study", folder)
    assert found.left_out == {
        "participant-002": "the median answer under 250 ms",
        "participant-003": "100 % of the answers on one side",
        "participant-004": "100 % of the pairs invalid",
        "participant-005": "4 catch pairs answered wrongly",
    }
    kept, everyone = (figures(found)[f"fooled/model-0{more}"] for more in ("", "/everyone"))
    assert (kept.value, kept.n) == (0.0, 20) and everyone.n == 80 and everyone.value > 0


def test_a_pair_that_was_shown_again_counts_once_and_damaged_files_are_named(tmp_path):
    designs = study(tmp_path / "study", 2)
    name, pairs = next(iter(designs.items()))
    folder = tmp_path / "answers"
    answers = answer(folder, name, pairs, lambda number, pair: True)
    answers[20]["valid"] = False
    answers.append({**answers[20], "valid": True, "again": True})
    (folder / f"{name}.json").write_text(json.dumps({"participant": name, "answers": answers}))
    (folder / "twice.json").write_text(json.dumps({"participant": name, "answers": answers}))
    (folder / "other.json").write_text(json.dumps({"participant": "participant-9\x1b", "answers": []}))
    bad = [{"pair": 10_000, "chosen": "left", "rt_ms": 1, "valid": True}]
    (folder / "short.json").write_text(json.dumps({"participant": "participant-002", "answers": bad}))
    (folder / "torn.json").write_text("{")
    found, problems = score(tmp_path / "study", folder)
    assert sum(each.n for each in found.results if each.name.endswith("everyone")) == 40
    said = {Path(path).name: why for path, why in problems}
    assert said.keys() == {"twice.json", "other.json", "short.json", "torn.json"}
    assert "already" in said["twice.json"] and "\\x1b" in said["other.json"] and "damaged" in said["short.json"]


def test_golden_rates_and_their_errors():
    table = GOLDEN["fooled"].double()
    found = fooling_rate("x", table)
    assert found.value == pytest.approx(float(GOLDEN["rate"]), abs=1e-12)
    errors = standard_errors(table)
    assert errors["participants"] == pytest.approx(float(GOLDEN["se_cluster_participant"]), rel=0.05)
    assert errors["participants"] == pytest.approx(float(GOLDEN["boot_participant_se"]), rel=0.05)
    assert errors["pictures"] == pytest.approx(float(GOLDEN["se_cluster_item"]), rel=0.05)
    assert errors["both"] == pytest.approx(float(GOLDEN["boot_twoway_se"]), rel=0.05)
    assert [found.low, found.high] == pytest.approx(GOLDEN["boot_twoway_ci95"].tolist(), abs=0.01)
    alone = _resampled(table, 0, participants=True, pictures=False).quantile(torch.tensor([0.025, 0.975]).double())
    assert alone.tolist() == pytest.approx(GOLDEN["boot_participant_ci95"].tolist(), abs=0.01)
    # What counts every answer alone is too sure.
    assert wilson(int(table.sum()), table.numel()) == pytest.approx(GOLDEN["wilson95"].tolist(), abs=1e-8)
    assert float(GOLDEN["se_binom"]) < 0.5 * errors["both"]


def test_the_verb(tmp_path, capsys):
    for name, pairs in study(tmp_path / "study", 2).items():
        answer(tmp_path / "answers", name, pairs, lambda number, pair: number % 3 > 0)
    words = ["evaluate", "study", "--study", str(tmp_path / "study"), "--answers", str(tmp_path / "answers")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["participants"] == 2
    assert main(words) == 0
    assert shlex.split(capsys.readouterr().err)[-9:] == ["Next:", "coview", *words, "--json"]
    assert main([*words[:5], str(tmp_path / "study")]) == 2
    assert main(["evaluate", "study", "--study", str(tmp_path), "--answers", str(tmp_path)]) == 2
    assert "coview paint --study" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no file here has answers"):
        score(tmp_path / "study", tmp_path)
