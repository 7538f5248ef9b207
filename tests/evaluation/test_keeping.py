"""Where results go when the disk is full, the folder is somebody's, or the file is damaged."""

import errno
import json
from pathlib import Path

import pytest
import torch

from coview import files
from coview.errors import CoviewError, UsageError
from coview.evaluation import resume
from coview.evaluation.bench import Result
from coview.evaluation.keeping import keep_result
from coview.evaluation.resume import Piece, folder_of, keep, keep_figures
from coview.evaluation.statistics import Measurement, accuracy, mean


def full(*arguments: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coview.evaluation.bench.write_aside", full)
    with pytest.raises(CoviewError, match=r"knn\.json: .*No space left.*make room") as error:
        keep_result(Result(["knn"], [], {}), tmp_path, "knn")
    assert error.value.exit_code == 1
    monkeypatch.setattr(resume, "write_aside", full)
    with pytest.raises(CoviewError, match="No space left"):
        keep(tmp_path / "piece.json", {"of": 1}, lambda: Piece({"results": []}))
    assert not list(tmp_path.glob("*.json"))


def test_a_closed_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "evaluations").write_text("a file stands where the folder should be")
    with pytest.raises(CoviewError, match=r"knn\.json"):
        keep_result(Result(["knn"], [], {}), tmp_path, "knn")


def test_pieces_bring_items_back_to_the_bit(tmp_path: Path) -> None:
    thirds = mean("t/x", torch.arange(50) / 3, 0.1, seed=0)
    made = [accuracy("p/x", torch.arange(50) % 3 == 0, 0.1), Measurement("m/x", 1.0, None, None, None, 3), thirds]
    first = keep_figures(tmp_path / "piece.json", {"of": 1}, lambda: made)
    again = keep_figures(tmp_path / "piece.json", {"of": 1}, lambda: pytest.fail("it is measured again"))
    assert first == again == made
    assert again[0].items is not None
    assert torch.equal(again[0].items, made[0].items)
    assert again[1].items is None
    assert again[2].items is not None
    assert again[2].items.tolist() == thirds.items.tolist()


@pytest.mark.parametrize("content", ["{", "[]", "[1", '{"of": 1, "tensors": ["p/x"], "results": []}', "\x00"])
def test_a_damaged_piece_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "piece.json").write_text(content)
    with pytest.raises(UsageError, match="piece"):
        keep(tmp_path / "piece.json", {"of": 1}, lambda: Piece({"results": []}))


def test_pieces_of_another_collection_get_a_folder_of_their_own(tmp_path: Path) -> None:
    base, of = tmp_path / "xid-0", {"model": "a", "test": {"fingerprint": "1"}}
    assert folder_of(base, of) == base
    keep(base / "x-k1-seed0.json", {**of, "seed": 0}, lambda: Piece({"results": []}))
    assert folder_of(base, of) == base
    other = folder_of(base, {**of, "test": {"fingerprint": "2"}})
    assert other.parent == tmp_path
    assert other != base
    assert folder_of(base, {**of, "model": "b"}) not in (base, other)


def test_two_that_keep_at_once_both_end_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.yaml").write_text("collection: c\nmethod: {name: xid}\n")
    figure = Measurement("video_probe/xid", 0.5, 0.4, 0.6, 0.1, 60)
    written = []

    def page(folder: Path) -> None:
        written.append(sorted(file.name for file in (folder / "evaluations").glob("*.json")))
        if len(written) == 1:  # another process keeps its result while the page is made
            files.write_aside(folder / "evaluations" / "retrieval.json", json.dumps({"results": []}))

    monkeypatch.setattr("coview.evaluation.keeping.write_report", page)
    keep_result(Result(["knn"], [figure], {}), tmp_path, "knn")
    assert written == [["knn.json"], ["knn.json", "retrieval.json"]]
