import pytest
from making import steps, tone, write


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """Two seconds: 25 numbered pictures at 12.5 per second, a tone at 44.1 kHz."""
    path = tmp_path_factory.mktemp("media") / "plain.mp4"
    times = [k / 12.5 for k in range(25)]
    return write(path, picture_times=times, pictures=steps(25), sound=tone(2.0, 44100))
