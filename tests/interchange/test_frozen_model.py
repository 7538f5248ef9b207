"""Trained networks of torchvision, timm and transformers as models: equal to the libraries' own pipelines."""

import importlib.util
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

import coview
from coview.data.synthetic.digits import DigitsWorld
from coview.data.views import ImageView
from coview.errors import UsageError
from coview.interchange.pretrained import frozen_model
from coview.model import Model

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed (an extra)")
NAME = "torchvision:squeezenet1_1"


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(array):
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    torch.manual_seed(0)
    whole = torchvision.models.squeezenet1_1(weights=None).eval()
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(whole.state_dict(), path)
    return whole, path


@torch.no_grad()
def test_torchvision_equals_its_own_pipeline_and_is_read_back(squeezenet, tmp_path):
    whole, path = squeezenet
    model = frozen_model([NAME], [path])
    array = picture(256, 300)  # the short side as the library wants it: scaling differs between libraries by a little
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    expected = whole.features(transform(Image.fromarray(array))[None]).flatten(2).mean(2)
    torch.testing.assert_close(model.encode_image(tensor(array)), expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "kept")
    again = Model.from_run(tmp_path / "kept")
    assert again.digest == model.digest and again.views == model.views
    assert torch.equal(again.encode_image(tensor(array)), model.encode_image(tensor(array)))


@torch.no_grad()
def test_other_sizes_are_scaled_almost_as_the_library_does(squeezenet):
    whole, path = squeezenet
    smooth = Image.fromarray(picture(12, 15)).resize((450, 360), Image.Resampling.BICUBIC)
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    expected = whole.features(transform(smooth)[None]).flatten(2).mean(2)
    found = frozen_model([NAME], [path]).encode_image(tensor(np.array(smooth)))
    assert float(torch.cosine_similarity(found, expected)) > 0.999


def test_weights_that_are_not_there_say_where_and_what(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=rf"not at {tmp_path}.*Fetch https://download.pytorch.org/.*pth by hand"):
        frozen_model([NAME])
    with pytest.raises(UsageError, match=r"gone\.pth: cannot be read .*it is not there"):
        frozen_model([NAME], [tmp_path / "gone.pth"])


def test_weights_in_torchvisions_own_cache_are_found(squeezenet, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    (tmp_path / "checkpoints" / url.rpartition("/")[2]).symlink_to(squeezenet[1])
    assert frozen_model([NAME]).digest == frozen_model([NAME], [squeezenet[1]]).digest


def test_files_that_hold_something_else_are_refused(squeezenet, tmp_path):
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(UsageError, match="unpickles no objects"):
        frozen_model([NAME], [tmp_path / "code.pth"])
    with pytest.raises(UsageError, match=r"not those of torchvision:shufflenet_v2_x0_5: missing"):
        frozen_model(["torchvision:shufflenet_v2_x0_5"], [squeezenet[1]])
    state = dict(squeezenet[0].state_dict())
    state["features.0.bias"] = torch.full_like(state["features.0.bias"], torch.nan)
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(UsageError, match="1 of 52 tensors hold NaN"):
        frozen_model([NAME], [tmp_path / "nan.safetensors"])


@pytest.mark.parametrize(
    "names, said",
    [
        (["torchvision:squeezenet11"], r"nearest names are .*squeezenet1_1"),
        (["resnet-18"], r"resnet-18: expected torchvision:NAME, timm:NAME or hf:FOLDER"),
        ([NAME, "torchvision:resnet18"], r"are both encoders of image"),
    ],
)
def test_wrong_names_are_told(squeezenet, names, said):
    with pytest.raises(UsageError, match=said):
        frozen_model(names, [squeezenet[1]] * len([name for name in names if ":" in name]))


@needs_timm
@pytest.mark.slow  # timm takes seconds to import
@torch.no_grad()
def test_timm_is_found_in_the_hubs_cache_and_equals_its_own_pipeline(monkeypatch, tmp_path):
    import huggingface_hub
    import timm

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=rf"{tmp_path}/models--timm--.*Fetch https://huggingface.co/timm/"):
        frozen_model(["timm:mobilenetv3_small_050"])
    whole = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()
    place = tmp_path / f"models--{whole.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (place / "snapshots" / "abc").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    save_file(whole.state_dict(), place / "snapshots" / "abc" / "model.safetensors")
    array = picture(256, 256)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=whole))
    shown = transform(Image.fromarray(array))[None]
    expected = whole.forward_head(whole.forward_features(shown), pre_logits=True)
    found = frozen_model(["timm:mobilenetv3_small_050"]).encode_image(tensor(array))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Mean(torch.nn.Module):
    """Any network: the mean colours, and a batch normalisation that must stay as it is."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(x).mean((2, 3))


def test_a_network_of_ones_own_is_a_model(tmp_path):
    network, view = Mean(), ImageView(size=16, margin=1.0, normalise="none")
    model = coview.frozen({"image": (view, network)})
    array = picture(16, 16)
    found = model.encode_image(tensor(array))
    torch.testing.assert_close(found[0], torch.from_numpy(array).float().mean((0, 1)) / 255, rtol=1e-4, atol=1e-4)
    assert network.training and model.dim == {"image": 3} and isinstance(model.method.encoders["image"], coview.Encoder)
    stored = coview.embed(model, DigitsWorld("A", "test", 4, views={"image": view}), tmp_path / "e", windows=1)
    assert stored.clips["image"].shape == (4, 1, 3)
    model.save(tmp_path / "model")
    with pytest.raises(UsageError, match=r"no file may name code here: build it in Python"):
        Model.from_run(tmp_path / "model")
    with pytest.raises(UsageError, match=r"image: Flatten makes no features of views of .*expected \(2, D\)"):
        coview.frozen({"image": (view, torch.nn.Flatten(0))})


def test_two_views_of_one_network_share_a_space():
    network, view = Mean(), ImageView(size=16, margin=1.0, normalise="none")
    later = ImageView(size=16, margin=1.0, normalise="none", after=(0.5, 1.0))
    method = coview.frozen({"one": (view, network), "two": (later, network), "three": (later, Mean())}).method
    assert method.comparable("one", "two") and not method.comparable("one", "three")
    assert method.encoders["one"] is method.encoders["two"]


def test_what_lies_in_different_spaces_is_not_searched_for(tmp_path):
    view = ImageView(size=16, margin=1.0, normalise="none")
    model = coview.frozen({"image": (view, Mean()), "other": (view, Mean())})
    world = DigitsWorld("A", "test", 4, views={"image": view, "other": view})
    stored = coview.embed(model, world, tmp_path / "e", windows=1)
    with pytest.raises(UsageError, match="image and other lie in different spaces"):
        coview.find(model, stored, tmp_path / "query.png", source="image", target="other")


def test_a_network_in_training_stays_as_it_was():
    network = torch.nn.Sequential(torch.nn.Dropout(), Mean())
    network[1].eval()
    model = coview.frozen({"image": (ImageView(size=16, margin=1.0, normalise="none"), network)})
    pictures = tensor(picture(16, 16))
    assert torch.equal(model.encode_image(pictures), model.encode_image(pictures))
    assert [part.training for part in network.modules()] == [True, True, False, False]
    assert all(value.requires_grad for value in network.parameters())
