"""Features of two encoders, fused, measured and searched through the command line."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import coview
from coview.cli.fuse import fusing
from coview.cli.main import main
from coview.data.features_source import open_features
from coview.data.open import open_source
from coview.errors import InputError, UsageError
from coview.methods import load_method

ROWS = 60


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables that share three numbers, in other orders; one recording lacks the second view."""
    folder = tmp_path_factory.mktemp("features")
    generator = np.random.default_rng(0)
    shared, ids = generator.normal(size=(ROWS, 3)), [f"r{row:02d}" for row in range(ROWS)]
    left = np.hstack([shared, generator.normal(size=(ROWS, 5))]).astype(np.float32)
    right = np.hstack([shared @ generator.normal(size=(3, 3)), generator.normal(size=(ROWS, 1))]).astype(np.float32)
    label = [("low", "high")[int(row[0] > 0)] for row in shared]
    split = ["train" if row < 40 else "test" for row in range(ROWS)]
    pq.write_table(
        pa.table({"id": ids, "left": left.tolist(), "label": label, "split": split}), folder / "left.parquet"
    )
    order = generator.permutation(ROWS - 1)
    pq.write_table(
        pa.table({"id": [ids[row] for row in order], "right": right[order].tolist()}), folder / "right.parquet"
    )
    np.save(folder / "left.npy", left)
    save_file({"right": torch.from_numpy(right), "label": torch.arange(ROWS) % 2}, folder / "right.safetensors")
    return folder


def run(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, object]:
    assert main([*arguments]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if code == 0 else {"error": said.err}


def test_sources_are_joined_by_id(files: Path) -> None:
    source = open_source(f"{files}/left.parquet,{files}/right.parquet", None, split="train")
    assert len(source) == 40
    assert source.classes == ["high", "low"]
    whole = open_features(f"a={files}/left.parquet,b={files}/right.parquet")
    assert list(whole.views) == ["a", "b"]
    batch = whole.read_window(torch.tensor([0, ROWS - 1]), 0, 1)
    assert batch.present["b"].tolist() == [True, False]
    stored = {row["id"]: row["right"] for row in pq.read_table(files / "right.parquet").to_pylist()}
    assert batch.views["b"][0].tolist() == pytest.approx(stored["r00"])
    by_row = open_features(f"{files}/left.npy,{files}/right.safetensors")
    assert torch.equal(by_row.read_window(torch.arange(ROWS), 0, 1).views["left"][0], batch.views["a"][0])
    assert by_row.classes == ["0", "1"]
    assert open_features(f"{files}/left.npy").fingerprint != by_row.fingerprint


def test_what_cannot_be_joined_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ids do not meet"):
        open_features(f"{files}/left.npy,{files}/right.parquet")
    with pytest.raises(UsageError, match="two sets of features are called 'left'"):
        open_features(f"{files}/left.npy,{files}/left.parquet")
    with pytest.raises(UsageError, match="there are no features other"):
        open_features(f"{files}/left.npy", {"other": open_features(f"{files}/left.npy").views["left"]})
    with pytest.raises(UsageError, match="expected a collection or a world"):
        open_features(f"{files}/left.npy@nothing")
    np.save(tmp_path / "bad.npy", np.full((3, 2), np.nan))
    with pytest.raises(InputError, match="3 rows of 'bad' hold NaN"):
        open_features(f"{tmp_path}/bad.npy")
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(UsageError, match="found no features"):
        open_features(f"{tmp_path}/flat.npy")


def test_closed_form_from_features_to_search(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, features = str(tmp_path / "fused"), [f"{files}/left.parquet", f"{files}/right.parquet"]
    said = run(capsys, 0, "fuse", "cca", *features, "-o", model, "--method.components", "3", "--json")
    assert said["correlations_fitted"]["mean"] > 0.9
    assert coview.load(model).dim == {"left": 3, "right": 3}
    measure = ["evaluate", "retrieval", "--model", model, "--collection", ",".join(features), "--json"]
    figures = {row["name"]: row["value"] for row in run(capsys, 0, *measure, "--device", "cpu")["results"]}
    assert figures["retrieval_l2r_r1/cca"] > 0.8
    assert figures["class_map_l2r/cca"] > 0.6
    ask = ["search", "--model", model, "--collection", ",".join(features), "--device", "cpu", "--json"]
    hits = run(capsys, 0, *ask, "--recording", "r07", "--from", "left", "--to", "right")["hits"]
    assert hits[0]["id"] == "r07"
    vector = open_features(features[0]).read_window(torch.tensor([7]), 0, 1).views["left"][0].numpy()
    np.save(tmp_path / "query.npy", vector)
    again = run(capsys, 0, *ask, "--query", str(tmp_path / "query.npy"), "--from", "left", "--to", "right")["hits"]
    assert [hit["id"] for hit in again] == [hit["id"] for hit in hits]
    assert "no recording 'r99'" in run(capsys, 2, *ask, "--recording", "r99")["error"]
    assert (
        "it holds float64 (4,)" in run(capsys, 2, *ask, "--query", str(_saved(tmp_path, 4)), "--from", "left")["error"]
    )


def _saved(folder: Path, length: int) -> Path:
    np.save(folder / f"{length}.npy", np.zeros(length))
    return folder / f"{length}.npy"


def test_a_trained_one(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_ = str(tmp_path / "run")
    options = ["--method.dimension", "3", "--method.hidden", "8", "--train.epochs", "2", "--train.batch-size", "20"]
    features = [f"left={files}/left.npy", f"right={files}/right.safetensors"]
    run(capsys, 0, "fuse", "dcca", *features, "-o", run_, *options, "--train.device", "cpu", "--json")
    model = coview.load(run_)
    assert model.preprocess.get_buffer("left_std").std() > 0
    assert not torch.equal(model.method.projectors["left"].weight, torch.eye(3))
    assert list(model.views) == ["left", "right"]


def test_wrong_use(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["-o", str(tmp_path / "m")]
    assert "does not fuse" in run(capsys, 2, "fuse", "xid", "a", "b", *out)["error"]
    assert "say which features" in run(capsys, 2, "fuse", "cca", *out)["error"]
    assert "expected .parquet" in run(capsys, 2, "fuse", "cca", str(tmp_path), *out)["error"]
    names = [f"{files}/left.parquet", f"{files}/right.parquet"]
    error = run(capsys, 2, "fuse", "dcca", *names, *out, "--method.dimension", "30", "--train.batch-size", "40")[
        "error"
    ]
    assert "40 at a time, and dcca learns from at least 60" in error


@pytest.mark.slow
@pytest.mark.parametrize("method", fusing())
def test_every_method_fuses_measures_and_finds(
    method: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, features = str(tmp_path / "fused"), [f"{files}/left.parquet", f"{files}/right.parquet"]
    small = {"components": "3", "dimension": "3", "code": "3", "hidden": "8", "embedding": "8", "shared_embedding": "8"}
    settings = load_method(method).Settings()
    options = [word for name in small if hasattr(settings, name) for word in (f"--method.{name}", small[name])]
    train = [] if load_method(method).closed_form else ["--train.epochs", "2", "--train.batch-size", "39"]
    run(capsys, 0, "fuse", method, *features, "-o", model, *options, *train, "--json")
    one_space = coview.load(model).method.projectors
    measure = ["evaluate", "retrieval", "--model", model, "--collection", ",".join(features), "--device", "cpu"]
    if not one_space:
        assert "has no common space" in run(capsys, 3, *measure, "--json")["error"]
        return
    figures = {row["name"]: row["value"] for row in run(capsys, 0, *measure, "--json")["results"]}
    assert 0 <= figures[f"retrieval_l2r_r1/{method}"] <= 1
    ask = ["search", "--model", model, "--collection", ",".join(features), "--device", "cpu", "--json"]
    assert len(run(capsys, 0, *ask, "--recording", "r07", "--from", "left", "--to", "right")["hits"]) == 5
