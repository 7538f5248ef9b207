"""One bar for commands and for the training loop: on a terminal only, never where nothing is to be said."""

import io

import pytest
from rich.console import Console

from coview.progress import progress_bar


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (False, False), (True, True)])
def test_a_bar_is_drawn_on_a_terminal_alone(terminal, quiet):
    stream = io.StringIO()
    with progress_bar(Console(file=stream, force_terminal=terminal, quiet=quiet, width=120)) as bar:
        bar.update(bar.add_task("reading", total=4, note="slow"), completed=3)
    drawn = stream.getvalue()
    assert all(text in drawn for text in ("reading", "3/4", "slow")) if terminal and not quiet else drawn == ""
