"""One bar for commands and for the training loop, on a terminal; lines elsewhere; never where nothing is to be said."""

import io

import pytest
from rich.console import Console

from coview.progress import Lines, duration, progress_bar
from coview.training.display import Display


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (False, False), (True, True)])
def test_a_bar_is_drawn_on_a_terminal_alone(terminal, quiet):
    stream = io.StringIO()
    with progress_bar(Console(file=stream, force_terminal=terminal, quiet=quiet, width=120)) as bar:
        bar.update(bar.add_task("reading", total=4, note="slow"), completed=3)
    drawn = stream.getvalue()
    assert all(text in drawn for text in ("reading", "3/4", "slow")) if terminal and not quiet else drawn == ""


def test_where_there_is_no_terminal_long_steps_say_what_is_left():
    said, now = [], [0.0]
    lines = Lines(said.append, every=10, clock=lambda: now[0])
    for second in range(0, 31, 3):
        now[0] = float(second)
        lines.show("embedding", second * 100, 3000)
    assert said == [
        "embedding: 1,200 of 3,000, about 18 seconds left",
        "embedding: 2,400 of 3,000, about 6 seconds left",
    ]
    lines.show("testing", 1, 3)
    now[0] = 60.0
    lines.show("testing", 1, 3)
    assert said[2:] == ["testing: 1 of 3"]


def test_a_short_step_says_nothing_and_each_step_has_a_time_of_its_own():
    said, now = [], [0.0]
    lines = Lines(said.append, every=10, clock=lambda: now[0])
    for step in ("one", "two", "three"):
        for done in (0, 1, 2):
            now[0] += 4
            lines.show(step, done, 2)
    assert said == []


def test_a_step_that_begins_anew_counts_its_time_anew():
    said, now = [], [0.0]
    lines = Lines(said.append, every=10, clock=lambda: now[0])
    for second, done in ((0, 0), (1000, 100), (1001, 1), (1012, 12)):  # of a slow model, then of a fast one
        now[0] = float(second)
        lines.show("embedding test", done, 100)
    assert said == ["embedding test: 12 of 100, about 88 seconds left"]


def test_training_says_what_is_left_where_there_is_no_terminal(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("coview.training.display.time.monotonic", lambda: now[0])
    with Display(40, 20, quiet=False) as display:  # resumed
        for step in range(21, 41):
            display.step(step, lambda: "loss 1.0000")
            now[0] += 4
    assert capsys.readouterr().err.splitlines()[:2] == [
        "step 21/40  loss 1.0000",
        "step 24/40  loss 1.0000  about 64 seconds left",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 second"), (41.2, "41 seconds"), (200, "3 minutes"), (9000, "2.5 hours")]
)
def test_times_are_said_as_people_do(seconds, said):
    assert duration(seconds) == said
