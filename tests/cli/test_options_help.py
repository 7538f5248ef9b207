"""Every option of every verb and method says what it is; help from a card has the options of the settings."""

import dataclasses
import importlib
import pkgutil
import re

import pytest

import coview.cli
import coview.cli.evaluate
from coview.cli import options
from coview.data.augment import AugmentSettings
from coview.methods import METHODS
from coview.methods.cards import card_of
from coview.methods.describe import helps_of
from coview.methods.recipe import OptimiserSettings, ScheduleSettings
from coview.training.settings import RunSettings, TrainSettings


def verbs() -> list[type]:
    """Return what every verb and every protocol takes."""
    found = [options.RunArguments]
    for package in (coview.cli, coview.cli.evaluate):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            kind = getattr(importlib.import_module(module.name), "Arguments", None)
            found += [kind] if kind is not None else []
    return found


def test_every_option_of_every_verb_has_a_help_text() -> None:
    kinds = verbs()
    assert len(kinds) > 18
    lacking = [
        f"{kind.__module__}: {item.name}"
        for kind in kinds
        for item in dataclasses.fields(kind)
        if not helps_of(kind).get(item.name)
    ]
    assert not lacking


@pytest.mark.parametrize("kind", [RunSettings, TrainSettings, OptimiserSettings, ScheduleSettings, AugmentSettings])
def test_every_setting_of_a_run_has_a_help_text(kind: type) -> None:
    groups = {"augment", "train", "optimiser", "schedule"} if kind is RunSettings else set()
    assert not [
        item.name for item in dataclasses.fields(kind) if item.name not in groups and not helps_of(kind)[item.name]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_a_method_has_a_help_text(method: str) -> None:
    def lacking(group: dict, where: str) -> list[str]:
        found = []
        for name, entry in group["options"].items():
            if isinstance(entry, dict):
                found += lacking(entry, f"{where}.{name}")
            elif not entry[2]:
                found.append(f"{where}.{name}")
        return found

    assert not lacking(card_of(method).settings, "method")


def helped(capsys: pytest.CaptureFixture[str], method: str) -> tuple[list[str], list[str]]:
    """Return the options with what they take, and the defaults, in order; the words between them may differ."""
    with pytest.raises(SystemExit):
        options.read_run("pretrain", method, ["--help"], "")
    text = " ".join(line.strip("│ ") + ("\n" if "--" in line else "") for line in capsys.readouterr().out.splitlines())
    return re.findall(r"--[a-z].*", text), re.findall(r"\(default: [^\n]*?\)(?= |$)", text)


@pytest.mark.parametrize(
    "method",
    ["xid", "vae-cca", *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m not in ("xid", "vae-cca"))],
)
def test_help_from_a_card_has_the_options_of_the_settings(method: str, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from_card = helped(capsys, method)
    monkeypatch.setattr(options, "published", options.recommended)
    assert from_card == helped(capsys, method)
