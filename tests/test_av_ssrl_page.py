"""What docs/av-ssrl.md names exists: tests, recipes, verbs, protocols, data sets."""

import re
from pathlib import Path

from coview.cli.evaluate import PROTOCOLS
from coview.cli.main import VERBS
from coview.data.adapters import ADAPTERS
from coview.recipes import EVALUATIONS, RUNS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "av-ssrl.md").read_text(encoding="utf-8")


def test_every_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    missing = [f"{path}::{name}" for path, name in named if not has(path, name)]
    assert not missing


def has(path: str, name: str) -> bool:
    file = ROOT / path
    return file.is_file() and f"\ndef {name}(" in file.read_text(encoding="utf-8")


def test_every_weakness_has_a_line() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+)\. ", PAGE, re.MULTILINE)] == list(range(1, 21))


def test_commands_recipes_and_data_sets_exist() -> None:
    assert set(re.findall(r"coview ([a-z]+)\b(?=[ `])", PAGE)) - {"downloads"} <= set(VERBS)
    assert set(re.findall(r"coview evaluate ([a-z-]+)", PAGE)) <= set(PROTOCOLS)
    recipes = set(re.findall(r"av_ssrl\.\w+", PAGE)) - {"av_ssrl.py"}
    assert recipes == {*RUNS, *EVALUATIONS}
    assert set(re.findall(r"coview index ([a-z0-9-]+)", PAGE)) <= set(ADAPTERS)
