"""Scores a study of two alternatives: how often a made picture was taken for the real one, by model, with its interval.

An answer fools where the real picture was chosen as the made one; a perfect model reaches one half. The interval is of
participants AND pictures, both resampled: another study would have others of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview.errors import UsageError, shown
from coview.evaluation.statistics import Measurement
from coview.files import read_json
from coview.randomness import integers, make_key

_RESAMPLES = 2000
_BYTES = 1 << 20  # of one participant's answers
_SIDE, _FASTEST, _INVALID = 37 / 40, 250.0, 0.2  # beyond which answers are not counted; see `study.RULES`


@dataclass
class Scores:
    """What a study found.

    Attributes:
        results: for every model "fooled/<model>", without those who are left out, and "fooled/<model>/everyone"; the
            share of answers "left", which should be one half.
        left_out: participant -> why.
        errors: model -> standard errors by resampling participants, pictures and both.
    """

    results: list[Measurement]
    recruited: int
    left_out: dict[str, str]
    errors: dict[str, dict[str, float]] = field(default_factory=dict)


def score(study: Path, answers: Path, seed: int = 0) -> tuple[Scores, list[tuple[str, str]]]:
    """Return the scores of the answers (JSON files in a folder) to a study, and (file, reason) of those not counted.

    Raises:
        UsageError: there is no study, or no answer to it.
    """
    key = read_json(study / "key.json", "the key of a study", remedy="give the folder that coview paint --study wrote")
    try:
        models = [str(model["name"]) for model in key["models"]]
        designs: Mapping[str, list[dict[str, Any]]] = {name: list(own) for name, own in key["participants"].items()}
        pictures = len(key["pictures"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{study / 'key.json'}: this is not the key of a study; give the folder that has it"
        ) from error
    given, problems = _read(answers, designs)
    if not given:
        raise UsageError(
            f"{answers}: no file here has answers to this study" + (f" ({problems[0][1]})" if problems else "")
        )
    left_out = {name: why for name, own in given.items() if (why := _unfit(own, designs[name]))}
    found = Scores([], len(given), left_out)
    for model, called in enumerate(models):
        everyone = _table(given, designs, model, pictures)
        kept = everyone[[index for index, name in enumerate(given) if name not in left_out]]
        for table, name in ((kept, f"fooled/{called}"), (everyone, f"fooled/{called}/everyone")):
            if not table.isnan().all():
                found.results.append(fooling_rate(name, table, seed))
        if not kept.isnan().all():
            found.errors[called] = standard_errors(kept, seed)
    chosen = [each["chosen"] == "left" for name, own in given.items() if name not in left_out for each in own.values()]
    if chosen:
        found.results.append(Measurement("left/everything", sum(chosen) / len(chosen), None, None, 0.5, len(chosen)))
    return found, problems


def fooling_rate(name: str, table: Tensor, seed: int = 0) -> Measurement:
    """Return the share of 1 in a table (participants, pictures) of 0, 1 and NaN (not asked, or not valid), with the
    percentile interval over participants and pictures, resampled independently.
    """
    rates = _resampled(table, seed, participants=True, pictures=True)
    low, high = rates.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    asked = int((~table.isnan()).sum())
    return Measurement(name, float(table.nansum()) / asked, low, high, 0.5, asked)


def standard_errors(table: Tensor, seed: int = 0) -> dict[str, float]:
    """Return the bootstrap's standard errors of the rate of a table: over participants, over pictures, over both."""
    kinds = {"participants": (True, False), "pictures": (False, True), "both": (True, True)}
    return {name: float(_resampled(table, seed, *which).std()) for name, which in kinds.items()}


def _resampled(table: Tensor, seed: int, participants: bool, pictures: bool) -> Tensor:
    """Return the rates of resampled tables, float64, each a ratio of sums; those that hold no answer are left out."""
    there = (~table.isnan()).double()
    ones = table.nan_to_num(0.0).double()
    rows = _counts(make_key(seed, 1), table.shape[0]) if participants else torch.ones(1, table.shape[0]).double()
    columns = _counts(make_key(seed, 2), table.shape[1]) if pictures else torch.ones(1, table.shape[1]).double()
    hits, asked = (((rows @ each) * columns).sum(1) for each in (ones, there))
    return hits[asked > 0] / asked[asked > 0]


def _counts(key: Tensor, count: int) -> Tensor:
    """Return how often each of `count` is drawn in every resample, float64 (resamples, count)."""
    drawn = integers(make_key(key, torch.arange(_RESAMPLES)), 0, count, count)
    return torch.zeros(_RESAMPLES, count, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())


def _read(
    folder: Path, designs: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, dict[int, dict[str, Any]]], list[tuple[str, str]]]:
    """Return participant -> pair -> the answer that counts, of all files, and (file, reason) of files that do not."""
    given: dict[str, dict[int, dict[str, Any]]] = {}
    problems = []
    for path in sorted(folder.glob("*.json")):
        try:
            told = read_json(path, "the answers of a participant", remedy="ask for the file again", limit=_BYTES)
            name, answers = told.get("participant"), told.get("answers")
            if not isinstance(name, str) or name not in designs or not isinstance(answers, list):
                raise UsageError(f"no participant of this study: {shown(name)}")
            if name in given:
                raise UsageError(f"{name} has answered in another file already")
            given[name] = _checked(answers, len(designs[name]))
        except UsageError as error:
            problems.append((str(path), str(error)))
    return given, problems


def _checked(answers: Sequence[Any], pairs: int) -> dict[int, dict[str, Any]]:
    """Return pair -> answer; of a pair that was shown again, the later answer."""
    found: dict[int, dict[str, Any]] = {}
    for each in answers:
        right = (
            isinstance(each, dict)
            and type(each.get("pair")) is int
            and 0 <= each["pair"] < pairs
            and each.get("chosen") in ("left", "right")
            and isinstance(each.get("valid"), bool)
            and isinstance(each.get("rt_ms"), (int, float))
        )
        if not right:
            raise UsageError("an answer is damaged: expected a pair, the side chosen, its time and whether it is valid")
        found[each["pair"]] = each
    return found


def _unfit(answers: Mapping[int, Mapping[str, Any]], design: Sequence[Mapping[str, Any]]) -> str:
    """Return why a participant is left out, by the rules that stand in the key; "" where they are not."""
    test = [each for pair, each in answers.items() if design[pair]["kind"] == "test"]
    wrong = sum(
        _fooled(each, design[pair])
        for pair, each in answers.items()
        if design[pair]["kind"] == "catch" and each["valid"]
    )
    if wrong > 1:
        return f"{wrong} catch pairs answered wrongly"
    if not test:
        return "no test pair answered"
    commonest = max(Counter(each["chosen"] for each in test).values()) / len(test)
    if commonest >= _SIDE:
        return f"{100 * commonest:.0f} % of the answers on one side"
    if float(torch.tensor([float(each["rt_ms"]) for each in test]).median()) < _FASTEST:
        return f"the median answer under {_FASTEST:.0f} ms"
    invalid = sum(not each["valid"] for each in test) / len(test)
    return f"{100 * invalid:.0f} % of the pairs invalid" if invalid > _INVALID else ""


def _fooled(answer: Mapping[str, Any], trial: Mapping[str, Any]) -> bool:
    """Tell whether the real picture was chosen as the made one."""
    return (answer["chosen"] == "left") is not bool(trial["fake_left"])


def _table(
    given: Mapping[str, Mapping[int, Mapping[str, Any]]],
    designs: Mapping[str, Sequence[Mapping[str, Any]]],
    model: int,
    pictures: int,
) -> Tensor:
    """Return (participants, pictures): 1 where fooled by a model, 0 where not, NaN without a valid answer."""
    table = torch.full((len(given), pictures), float("nan"), dtype=torch.float64)
    for row, (name, answers) in enumerate(given.items()):
        for pair, answer in answers.items():
            trial = designs[name][pair]
            if trial["kind"] == "test" and trial["model"] == model and answer["valid"]:
                table[row, trial["picture"]] = float(_fooled(answer, trial))
    return table[:, ~table.isnan().all(0)]
