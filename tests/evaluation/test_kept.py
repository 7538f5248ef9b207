import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import worlds
from measured import tiny_model

from coview import parallel
from coview.data.memmap import fill
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.resume import Piece, keep, keep_figures
from coview.evaluation.statistics import Measurement


def test_a_finished_piece_is_read_and_its_numbers_come_back_to_the_bit(tmp_path: Path) -> None:
    path, figure = tmp_path / "new" / "piece.json", Measurement("p/x", 1 / 3, None, 0.1 + 0.2, None, 7)
    assert keep_figures(path, {"of": (1, 2)}, lambda: [figure]) == [figure]
    assert keep_figures(path, {"of": (1, 2)}, lambda: pytest.fail("made twice")) == [figure]
    with pytest.raises(UsageError, match="is of another of;"):
        keep_figures(path, {"of": (1, 3)}, lambda: [figure])


def test_a_piece_whose_tensors_alone_were_written_is_made_again(tmp_path: Path) -> None:
    def make() -> Piece:
        return Piece({"said": "x"}, {"a/b": torch.arange(3), "c": torch.tensor([True])})

    keep(tmp_path / "piece.json", {}, make)
    (tmp_path / "piece.json").unlink()
    made = keep(tmp_path / "piece.json", {}, make)
    found = keep(tmp_path / "piece.json", {}, lambda: pytest.fail("made twice"))
    assert found.plain == made.plain
    assert all(torch.equal(found.tensors[name], made.tensors[name]) for name in made.tensors)


def _made_where_only_one_has_the_file(folder: Path) -> list[bool]:
    own, made = folder / f"rank{parallel.rank()}", []
    for _ in range(2):
        keep_figures(own / "piece.json", {}, lambda: made.append(True) or [])  # type: ignore[func-returns-value]
    return made


def test_all_processes_read_or_all_make(tmp_path: Path) -> None:
    # Process 0 alone writes; without a common file system the other never finds anything, so that both make it again.
    assert worlds.run(2, _made_where_only_one_has_the_file, tmp_path) == [[True, True]] * 2


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, views = tmp_path_factory.mktemp("parts"), tiny_model().views
    for split, count in (("train", 300), ("test", 100)):
        fill(DigitsWorld("A", split, count, 0, views), folder / split)
    return ["--collection", str(folder / "train"), "--test-collection", str(folder / "test")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "words", "finished"),
    [
        ("few-shot", ["--shots", "1", "5", "20", "--ratios", "0.5", "--draws", "4"], 5),
        ("concepts", ["--seen", "0", "1", "2", "3", "4", "--controls"], 3),
    ],
)
def test_a_killed_call_goes_on_and_does_nothing_twice(
    protocol: str, words: list[str], finished: int, parts: list[str], tmp_path: Path
) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands, models = {}, {"whole": tmp_path / "whole", "killed": tmp_path / "killed"}
    for name, model in models.items():
        tiny_model().save(model)
        commands[name] = [sys.executable, "-m", "coview", "evaluate", protocol, "--model", str(model), *parts, *words]
        commands[name] += ["--device", "cpu", "--json"]
    whole = subprocess.run(commands["whole"], env=env, capture_output=True, check=True)

    def pieces(name: str, of: str = protocol) -> dict[str, int]:
        found = (models[name] / "evaluations" / of).rglob("*.json")
        return {str(path.relative_to(models[name])): path.stat().st_mtime_ns for path in found}

    process = subprocess.Popen(commands["killed"], env=env, stdout=subprocess.DEVNULL)
    started = time.monotonic()
    while len(pieces("killed")) < finished and time.monotonic() - started < 120:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {**pieces("killed"), **pieces("killed", "features")}
    assert finished <= len(pieces("killed")) < len(pieces("whole"))
    assert not (models["killed"] / "evaluations" / f"{protocol}.json").exists()

    again = subprocess.run(commands["killed"], env=env, capture_output=True, check=True)
    assert json.loads(again.stdout)["results"] == json.loads(whole.stdout)["results"]
    after = {**pieces("killed"), **pieces("killed", "features")}
    assert set(after) == {*pieces("whole"), *pieces("whole", "features")}
    assert {name: after[name] for name in before} == before  # not one of them was written again
    for name in after:
        assert (models["killed"] / name).read_text() == (models["whole"] / name).read_text()
