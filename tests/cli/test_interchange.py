import json

import pytest
import torch
from measured import tiny_model

from coview.cli.main import main


def test_export_needs_a_target(tmp_path, capsys):
    assert main(["export", str(tmp_path / "model")]) == 2
    assert "--onnx FOLDER or --hub" in capsys.readouterr().err


@pytest.mark.slow
def test_export_writes_graphs(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    tiny_model().save(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "graphs"), "--json"]) == 0
    said = capsys.readouterr()
    assert "Next:" not in said.err
    result = json.loads(said.out)
    assert result["largest_difference"]["video"] < 1e-5 and (tmp_path / "graphs" / "audio.onnx").is_file()


def test_import_refuses_what_is_no_checkpoint(tmp_path, capsys):
    torch.save({"net": {}}, tmp_path / "a.pth")
    assert main(["import", "av-ssrl", str(tmp_path / "a.pth"), "-o", str(tmp_path / "model")]) == 2
    assert "found net" in capsys.readouterr().err and not (tmp_path / "model").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["import", "avid-cma", str(tmp_path / "a.pth"), "-o", str(tmp_path / "full")]) == 2
    assert "is not empty" in capsys.readouterr().err
