import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def tiny_method():
    import tiny

    from coview import methods

    tiny.register()
    yield
    methods.METHODS.pop("tiny", None)
