import pytest
from measuring import NumberSource


@pytest.fixture
def source() -> NumberSource:
    return NumberSource(61)
