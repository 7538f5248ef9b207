import subprocess
import sys
import time

import pytest

from coview.cli import main as cli
from coview.errors import DataProblemsError, MediaError, UsageError


def test_help_names_every_verb_and_answers_at_once() -> None:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "coview", "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 1.0
    assert all(f"\n  {verb} " in done.stdout for verb in cli.VERBS)


def test_an_unknown_verb_is_wrong_use_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrian"]) == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err


def test_no_verb_prints_the_help_and_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "Start here:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such thing"), 2),
        (DataProblemsError("2 files are unreadable"), 3),
        (MediaError("a.mp4", "truncated", "the file ends early"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_messages_and_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from coview.cli import methods

    def fail(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(methods, "main", fail)
    assert cli.main(["methods"]) == code
    assert capsys.readouterr().err.startswith("coview methods: ")
