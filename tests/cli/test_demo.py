"""The demo refuses what it would spoil; what the whole one makes and promises is checked by .ci/check_demo.py."""

import pytest

from coview.cli import demo
from coview.errors import UsageError


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        demo.main(["-o", str(tmp_path)])
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
