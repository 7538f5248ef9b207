import os
from pathlib import Path

from coview.data.probing import probe_files


class Deadly(type(Path())):
    """A path at whose arrival a process dies, as it does when a decoder crashes."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_crash_costs_one_file(bad_folder):
    folder = bad_folder[0]
    paths = [folder / "good.mp4", folder / "late.mp4", Deadly(folder / "fast.mp4"), folder / "silent.mp4"]
    outcomes = dict(probe_files([*paths, folder / "film.webm"], workers=2))
    assert len(outcomes) == 5
    assert outcomes[paths[2]]["reason"] == "crash"
    assert all("reason" not in outcome for path, outcome in outcomes.items() if path != paths[2])
