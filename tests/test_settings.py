from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from coview import settings
from coview.errors import SettingsError


@dataclass(kw_only=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, found {self.rate}")


@dataclass(kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    folder: Path | None = None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    value = Outer(name="x", kind="b", limit=3, inner=Inner(rate=0.5, sizes=(3, 4)))
    settings.dump_yaml(value, tmp_path / "s.yaml")
    assert settings.load_yaml(Outer, tmp_path / "s.yaml") == value


def test_all_problems_are_listed_at_once_with_the_nearest_name() -> None:
    wrong = {"nmae": "x", "kind": "c", "limit": "many", "inner": {"rate": True, "sizes": [1, 2, 3]}}
    with pytest.raises(SettingsError) as caught:
        settings.from_dict(Outer, wrong)
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    for part in ("did you mean 'name'", "name: missing", "'a', 'b'", "limit: expected int", "inner.rate", "2 values"):
        assert part in text, (part, text)


def test_a_components_own_check_is_a_setting_problem() -> None:
    with pytest.raises(SettingsError, match="inner: rate must not be negative"):
        settings.from_dict(Outer, {"name": "x", "inner": {"rate": -1}})


def test_whole_numbers_are_accepted_as_floats() -> None:
    assert settings.from_dict(Outer, {"name": "x", "inner": {"rate": 2}}).inner.rate == 2.0


def test_exponents_without_a_point_are_numbers_as_people_mean_them(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: x\ninner: {rate: 3e-4}\n")
    assert settings.load_yaml(Outer, tmp_path / "s.yaml").inner.rate == 0.0003
    with pytest.raises(SettingsError, match="expected float, found 'fast'"):
        settings.from_dict(Outer, {"name": "x", "inner": {"rate": "fast"}})


def test_diff_names_every_changed_leaf() -> None:
    lines = settings.diff(Outer(name="x"), Outer(name="y", inner=Inner(rate=0.2)))
    assert lines == ["name: x -> y", "inner.rate: 0.1 -> 0.2"]
