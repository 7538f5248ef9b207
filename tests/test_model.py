"""A model: saved, loaded and used; the same embeddings everywhere, and errors that name the file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from joint_model import joint_model

import coview
from coview.cli.main import main
from coview.data import media_source
from coview.data.augment import AugmentSettings
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.views import Batch
from coview.embedding.extract import extract
from coview.embedding.stored import store
from coview.errors import MediaError, UsageError
from coview.files import read_tensors, write_tensors
from coview.media import decode
from coview.media.encode import write_clip
from coview.methods import METHODS, build, load_method
from coview.methods.contract import Facts
from coview.model import Model
from coview.search.query import search

ABOUT = {"collection": {"name": "made-up", "fingerprint": "f", "rows": 20}, "classes": ["a", "b"], "steps": 5}


def make(slug: str, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=20, classes=2))
    return Model(method, Preprocess(method.views, AugmentSettings()), ABOUT)


def raw_batch(model: Model, size: int = 4) -> Batch:
    torch.manual_seed(1)
    views = {}
    for name, spec in model.views.items():
        if spec.stream == "video":
            side = spec.decode_size
            views[name] = torch.randint(0, 256, (size, 3, spec.frames, side, side), dtype=torch.uint8)
        else:
            views[name] = torch.randn(size, spec.samples).clamp(-1, 1)
    return Batch(views=views, row=torch.arange(size), key=torch.arange(size))


@pytest.fixture(scope="module")
def xid() -> Model:
    return make("xid")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    torch.manual_seed(2)
    frames = torch.randint(0, 256, (3, 40, 48, 64), dtype=torch.uint8)
    sound = 0.5 * torch.sin(torch.arange(32000) * (2 * math.pi * 440 / 16000))
    write_clip(folder / "both.mp4", frames, 20.0, sound, 16000)
    write_clip(folder / "mute.mp4", frames, 20.0, None, None)
    write_clip(folder / "silent.mp4", frames, 20.0, torch.zeros(32000), 16000)
    (folder / "text.mp4").write_text("not a film")
    return folder


@pytest.mark.parametrize("slug", ["xid", "av-vicreg", "vicreg-video", "supervised-av"])
def test_saved_and_loaded_it_gives_the_same(tmp_path, slug):
    model = make(slug)
    model.save(tmp_path / "run" / "model")
    for path in (tmp_path / "run", tmp_path / "run" / "model"):
        found = coview.load(path)
        for space in ("backbone", "projected"):
            ours, theirs = model.encode(raw_batch(model), space), found.encode(raw_batch(model), space)
            assert set(ours) == set(model.method.encoders)
            assert all(torch.equal(theirs[view], values) for view, values in ours.items())
        assert found.dim == {view: values.shape[1] for view, values in ours.items()}
    assert found.about["steps"] == 5


def test_the_folder_holds_what_others_need(tmp_path, xid):
    xid.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["method"] == "xid" and config["collection"]["fingerprint"] == "f" and config["classes"] == ["a", "b"]
    assert json.loads((tmp_path / "preprocessing.json").read_text())["views"]["audio"]["sample_rate"] == 16000
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: coview") and "steps: 5" in card
    size = (tmp_path / "model.safetensors").stat().st_size
    weights = sum(p.numel() for part in (xid.method.encoders, xid.method.projectors) for p in part.parameters())
    assert 4 * weights < size < 4 * weights + 50_000  # no banks


def test_encoding_changes_nothing(xid):
    xid.method.train()
    before = {name: value.clone() for name, value in xid.method.state_dict().items()}
    first = xid.encode(raw_batch(xid))
    assert xid.method.training and not any(value.requires_grad for value in first.values())
    assert all(torch.equal(value, before[name]) for name, value in xid.method.state_dict().items())
    alone = xid.encode(raw_batch(xid).select(slice(2, 3)))
    assert torch.allclose(alone["video"], first["video"][2:3], atol=1e-5)


def test_files_are_embedded(xid, clips):
    both = xid.embed([clips / "both.mp4", str(clips / "both.mp4")])
    assert {view: values.shape for view, values in both.items()} == {"video": (2, 128), "audio": (2, 128)}
    assert torch.allclose(both["video"][0], both["video"][1], atol=1e-5)
    mute = xid.embed([clips / "mute.mp4", clips / "both.mp4"], view="video", space="backbone", windows=3)
    assert list(mute) == ["video"] and mute["video"].shape == (2, 128) and bool(torch.isfinite(mute["video"]).all())
    one = xid.embed([clips / "both.mp4"], view="video", space="backbone")
    assert not torch.allclose(one["video"][0], mute["video"][1])
    assert xid.embed([], view="audio")["audio"].shape == (0, 128)


@pytest.mark.parametrize(
    ("name", "view", "reason", "words"),
    [
        ("mute.mp4", None, "no-audio", "view='video'"),
        ("mute.mp4", "audio", "no-audio", "no audio track"),
        ("silent.mp4", "audio", "silent", "silent"),
        ("text.mp4", None, None, "text.mp4"),
        ("nowhere.mp4", None, None, "nowhere.mp4"),
    ],
)
def test_files_that_cannot_be_embedded_are_named(xid, clips, name, view, reason, words):
    with pytest.raises(MediaError, match=words) as error:
        xid.embed([clips / "both.mp4", clips / name], view=view)
    assert name in str(error.value) and reason in (None, error.value.reason)


def test_wrong_use(tmp_path, xid):
    with pytest.raises(UsageError, match="no view 'image'"):
        xid.embed([], view="image")
    with pytest.raises(UsageError, match="expected a run with a model"):
        coview.load(tmp_path)
    xid.save(tmp_path)
    cuts = json.loads((tmp_path / "preprocessing.json").read_text())
    cuts["views"]["audio"]["sample_rate"] = 8000
    (tmp_path / "preprocessing.json").write_text(json.dumps(cuts))
    with pytest.raises(UsageError, match="one was edited"):
        coview.load(tmp_path)


def test_one_shared_encoder_is_one_view_of_files():
    assert make("vicreg-video").distinct_views() == ["video"]


def test_importing_coview_imports_no_torch():
    command = "import sys, coview; assert callable(coview.load); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, xid):
    xid.save(tmp_path)
    tensors = read_tensors(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] = torch.nan
    write_tensors(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"1 of .* tensors hold NaN or infinity"):
        coview.load(tmp_path)
    model = make("infonce", 1)
    next(model.method.encoders.parameters()).data.view(-1)[0] = torch.inf
    with pytest.raises(UsageError, match="hold NaN or infinity"):
        model.save(tmp_path / "never")
    assert not (tmp_path / "never" / "model.safetensors").exists()


def test_changed_files_are_refused_and_folders_of_before_are_read(tmp_path, xid):
    xid.save(tmp_path)
    other = make("xid", 1)
    other.save(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"model\.safetensors is not the file that config\.json was written with"):
        coview.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "files"}))
    assert coview.load(tmp_path).digest == other.digest  # as written before digests were kept


def test_a_call_that_is_killed_while_saving_leaves_a_model(tmp_path, xid, monkeypatch):
    xid.save(tmp_path)
    other, put = make("xid", 1), Path.replace
    for kept in range(1, 5):

        def replace(path, target, kept=kept, done=[]):  # noqa: B006
            done.append(target)
            if len(done) > kept:
                raise KeyboardInterrupt
            return put(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            other.save(tmp_path)
        monkeypatch.undo()
        assert coview.load(tmp_path).digest in (xid.digest, other.digest)


def test_loading_builds_no_memory_banks(tmp_path, xid):
    xid.save(tmp_path)
    edit(tmp_path / "config.json", collection={"name": "many", "fingerprint": "f", "rows": 10_000_000})
    model = coview.load(tmp_path)
    assert sum(value.numel() for value in model.method.state_dict().values()) < 10_000_000
    assert model.digest == xid.digest


def test_an_embedding_of_two_views_at_once_goes_all_the_way(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "joint-test", "joint_model:Joint")
    model = joint_model()
    model.save(tmp_path / "model")
    found = coview.load(tmp_path / "model")
    assert dict(found.reads) == {"both": ("left", "right")} and found.dim == {"both": 2}
    assert found.distinct_views() == ["both"] and list(found.needed) == ["left", "right"]
    torch.manual_seed(0)
    for view, dim in (("left", 4), ("right", 3)):
        rows = 11 if view == "left" else 9  # two recordings lack the right one
        write_tensors({view: torch.randn(rows, dim)}, tmp_path / f"{view}.safetensors")
    name = ",".join(f"{view}={tmp_path / view}.safetensors" for view in ("left", "right"))
    source = open_source(name, found.needed)
    features = extract(found, source)
    assert features.present["both"].tolist() == [True] * 9 + [False] * 2
    stored = store(found, source, tmp_path / "stored")
    hits = search(stored, "both", torch.from_numpy(stored.clips["both"][3, 0].copy()), 2)
    assert hits[0].row == 3 and hits[0].similarity == pytest.approx(1, abs=1e-6)
    query = ["--model", str(tmp_path / "model"), "--collection", name, "--recording", "000000003", "--json"]
    assert main(["search", *query]) == 0


def test_one_file_is_opened_once_for_all_windows(xid, clips, monkeypatch):
    opened = []
    monkeypatch.setattr(media_source, "read_samples", lambda *given, **more: opened.append(1) or read(*given, **more))
    read = decode.read_samples
    xid.embed([clips / "both.mp4"], windows=4)
    assert opened == [1]
