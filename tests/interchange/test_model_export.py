"""ONNX graphs compute what the model computes; a hub gets the whole folder and nothing without being asked."""

import json

import numpy as np
import pytest
import torch
from joint_model import joint_model
from measured import tiny_model

import coview
from coview.data.views import Batch
from coview.errors import CoviewError, UsageError
from coview.interchange import hub, onnx


@pytest.mark.slow
def test_onnx_runtime_gives_the_model_s_outputs(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    model = tiny_model()
    model.method.train()
    differences = onnx.export_onnx(model, tmp_path / "graphs")
    assert set(differences) == {"video", "audio"} and max(differences.values()) < 1e-5
    assert model.method.training
    for view in differences:
        session = runtime.InferenceSession(str(tmp_path / "graphs" / f"{view}.onnx"))
        x = torch.randn(5, *model.views[view].shape)
        features, embedding = session.run(None, {"view": x.numpy()})
        model.method.eval()
        with torch.no_grad():
            wanted = model.method.encoders[view](x)
        np.testing.assert_allclose(features, wanted.numpy(), rtol=1e-4, atol=1e-5)
        assert embedding.shape == (5, model.dim[view])
        about = json.loads(session.get_modelmeta().custom_metadata_map["coview"])
        assert about["shape"] == list(x.shape[1:])
        assert json.loads((tmp_path / "graphs" / "preprocessing.json").read_text())[view] == about


@pytest.mark.slow
def test_an_embedding_of_two_views_has_two_inputs(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    model = joint_model()
    assert max(onnx.export_onnx(model, tmp_path).values()) < 1e-5
    session = runtime.InferenceSession(str(tmp_path / "both.onnx"))
    left, right = torch.randn(5, 4), torch.randn(5, 3)
    found = session.run(["embedding"], {"left": left.numpy(), "right": right.numpy()})[0]
    row = torch.arange(5)
    wanted = model.encode(Batch(views={"left": left, "right": right}, row=row, key=row))["both"]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert set(json.loads((tmp_path / "preprocessing.json").read_text())["both"]["views"]) == {"left", "right"}


@pytest.mark.slow
def test_a_graph_that_differs_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr(onnx, "_difference", lambda *anything: 0.5)
    with pytest.raises(CoviewError, match=r"differ by 0\.5"):
        onnx.export_onnx(tiny_model(), tmp_path)


class Api:
    """A hub that notes what it is told."""

    told: list = []

    def __init__(self, library_name):
        self.told.append(library_name)

    def create_repo(self, name, private, exist_ok):
        self.told.append((name, private, exist_ok))
        return f"https://hub.example/{name}"

    def upload_folder(self, repo_id, folder_path, commit_message):
        from pathlib import Path

        self.told.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))
        if repo_id == "me/closed":
            raise OSError("403 Forbidden")


def test_a_hub_gets_the_folder(monkeypatch):
    package = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    monkeypatch.setattr(package, "HfApi", Api)
    Api.told.clear()
    assert hub.push(tiny_model(), "me/model") == "https://hub.example/me/model"
    files = ["README.md", "config.json", "model.safetensors", "preprocessing.json"]
    assert Api.told == ["coview", ("me/model", True, True), ("me/model", files)]
    with pytest.raises(CoviewError, match="me/closed: the hub did not take the model: 403"):
        hub.push(tiny_model(), "me/closed", private=False)
    for name in ("model", "a/b/c", "/b"):
        with pytest.raises(UsageError, match="OWNER/NAME"):
            hub.push(tiny_model(), name)


def test_a_model_comes_from_a_hub_when_asked(monkeypatch, tmp_path):
    package = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    mine = tiny_model()
    mine.save(tmp_path)

    def snapshot_download(name, **options):
        if name != "me/model":
            raise OSError("404 Not Found")
        return str(tmp_path)

    monkeypatch.setattr(package, "snapshot_download", snapshot_download)
    assert coview.load("hf:me/model").digest == mine.digest
    with pytest.raises(CoviewError, match="me/gone: the hub did not give the model: 404"):
        coview.load("hf:me/gone")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        coview.load("hf:model")


@pytest.mark.parametrize(("module", "call"), [(onnx, "export_onnx"), (hub, "push")])
def test_a_missing_package_is_named(module, call, monkeypatch, tmp_path):
    model = tiny_model()

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"pip install 'coview\[(onnx|hub)\]'"):
        getattr(module, call)(model, "me/model" if call == "push" else tmp_path)
