"""Who sees which pair when, in a study of two alternatives: a function of the seed and the participant's number.

Every participant sees every picture at most once. Over the models the test pictures go round in a Latin square: picture
i is coloured by model (i + participant) mod models, so that as many participants as models see it in all forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.randomness import make_key, uniform

MOST = 40  # test pairs of a participant, as Zhang, Isola & Efros (ECCV 2016) showed
_LEAST = 4
_ORDER, _SIDES, _CATCHES, _EQUALS, _PICTURES = range(7700, 7705)

Kind = Literal["practice", "test", "catch", "identity"]


@dataclass(frozen=True)
class Plan:
    """How many pairs of each kind a participant sees; the numbers of pictures, for they are disjoint.

    Practice pairs come first, with feedback. A catch pair holds an obvious fake, an identity pair one picture twice.
    """

    practice: int
    test: int
    catch: int
    identity: int

    @property
    def pictures(self) -> int:
        """Pictures that are needed."""
        return self.practice + self.test + self.catch + self.identity


@dataclass(frozen=True)
class Trial:
    """One pair: which picture, made by which model (-1: grossly false, or true), and whether the made one is left."""

    kind: Kind
    picture: int
    model: int
    fake_left: bool


def plan(pictures: int, models: int) -> Plan:
    """Return the largest plan for so many pictures, with as many test pairs of every model.

    Raises:
        UsageError: they are too few.
    """
    for test in range(MOST - MOST % models, 0, -models):
        found = Plan(practice=max(2, test // 4), test=test, catch=max(1, test // 10), identity=max(1, test // 20))
        if found.pictures <= pictures and test >= _LEAST:
            return found
    fewest = -(-_LEAST // models) * models
    raise UsageError(
        f"a study of {models} models needs at least {fewest + max(2, fewest // 4) + 2} pictures with colour, and there "
        f"are {pictures}; give more"
        if fewest <= MOST
        else f"a participant sees at most {MOST} pairs, too few for {models} models"
    )


def shuffled(count: int, seed: int) -> list[int]:
    """Return the numbers of pictures in the order in which a study takes them: practice, test, catch, identity."""
    return _order(make_key(seed), _PICTURES, count)


def trials(plan: Plan, models: int, seed: int, participant: int) -> list[Trial]:
    """Return the pairs of a participant (from 0), in order; `picture` counts in the order of `shuffled`.

    The made picture is as often left as right with every model; of the catch pairs, one lies in each equal part.
    """
    key = make_key(seed, participant)
    first = plan.practice
    own = [(item + participant) % models for item in range(plan.test)]
    left = _balanced(key, own)
    placed = [
        ((place + 0.5) / plan.test, Trial("test", first + item, own[item], left[item]))
        for place, item in enumerate(_order(key, _ORDER, plan.test))
    ]
    kinds: tuple[tuple[Kind, int, int], ...] = (("catch", plan.catch, _CATCHES), ("identity", plan.identity, _EQUALS))
    first += plan.test
    for kind, count, stream in kinds:
        where, side = uniform(key, stream, count), uniform(key, stream + 100, count) < 0.5
        placed += [
            ((item + float(where[item])) / count, Trial(kind, first + item, -1, bool(side[item])))
            for item in range(count)
        ]
        first += count
    # Half of them grossly false, half by the models in turn; the same for all.
    practice = [
        Trial("practice", item, -1 if item % 2 == 0 else item // 2 % models, item // 2 % 2 == 0)
        for item in range(plan.practice)
    ]
    return practice + [trial for _, trial in sorted(placed, key=lambda each: each[0])]


def _order(key: Tensor, stream: int, count: int) -> list[int]:
    numbers: list[int] = torch.argsort(uniform(key, stream, count), stable=True).tolist()
    return numbers


def _balanced(key: Tensor, models: list[int]) -> list[bool]:
    """Return for every test pair whether the made picture is left: half of each model's, drawn at random."""
    left = [False] * len(models)
    for model in set(models):
        own = [item for item, each in enumerate(models) if each == model]
        drawn = _order(make_key(key, model), _SIDES, len(own))
        for place in drawn[: (len(own) + model % 2) // 2]:
            left[own[place]] = True
    return left
