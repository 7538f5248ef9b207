"""Networks of torchvision and timm, and any network at all, as encoders: equal to the library's own."""

import importlib.util
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms.v2.functional import normalize

from coview import encoders
from coview.data.views import AudioView, ImageView, TextView, VideoView
from coview.encoders import Encoder, Wrapped, build_for, build_image
from coview.errors import UsageError

PICTURE = ImageView(size=64, normalise="none")
CLIP = VideoView(frames=4, size=32, normalise="none")
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed (an extra)")


def shown(view, count=2):
    return torch.rand(count, *view.shape, generator=torch.Generator().manual_seed(1))


def given_to_the_classifier(net, x):
    """Return what the last layer of a whole network is given, averaged over places."""
    seen = []
    last = [module for module in net.modules() if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d))][-1]
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(x)
    return seen[0] if seen[0].ndim == 2 else seen[0].flatten(2).mean(2)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "regnet_x_400mf"])
@torch.no_grad()
def test_torchvision_pictures_equal_the_library(name):
    encoder = build_for(PICTURE, f"torchvision:{name}").eval()
    whole = torchvision.models.get_model(name, weights=None).eval()
    assert not whole.load_state_dict(encoder.network.state_dict(), strict=False).unexpected_keys
    x = shown(PICTURE)
    as_published = normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(encoder(x), given_to_the_classifier(whole, as_published))
    assert encoder(x).shape == (2, encoder.dim)


@pytest.mark.slow  # three seconds
@torch.no_grad()
def test_torchvision_clips_equal_the_library():
    encoder = build_for(CLIP, "torchvision:r3d_18").eval()
    whole = torchvision.models.video.r3d_18(weights=None).eval()
    whole.load_state_dict(encoder.network.state_dict(), strict=False)
    x = shown(CLIP)
    as_published = torchvision.models.video.R3D_18_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (as_published.mean, as_published.std))
    torch.testing.assert_close(encoder(x), given_to_the_classifier(whole, (x - mean) / std))


@torch.no_grad()
def test_what_the_library_shows_does_not_depend_on_how_the_view_is_scaled():
    plain = build_for(PICTURE, "torchvision:resnet18").eval()
    imagenet = build_for(replace(PICTURE, normalise="imagenet"), "torchvision:resnet18").eval()
    imagenet.load_state_dict(plain.state_dict())
    x = shown(PICTURE)
    torch.testing.assert_close(
        plain(x), imagenet(normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])), rtol=1e-4, atol=1e-5
    )
    own = build_for(replace(PICTURE, normalise="clip"), "torchvision:resnet18").eval()
    own.load_state_dict(plain.state_dict())
    torch.testing.assert_close(own(x), own.network(x))  # by each picture's own numbers: as it is


@torch.no_grad()
def test_pictures_of_any_channels_and_sounds():
    for view in (replace(PICTURE, space="colour"), AudioView()):
        encoder = build_for(view, "torchvision:resnet18").eval()
        assert encoder(shown(view)).shape == (2, 512)


@pytest.mark.slow  # three seconds
def test_fixed_sizes_follow_the_view():
    with torch.device("meta"):
        net = build_for(replace(PICTURE, size=48), "torchvision:vit_b_16")
        assert net.network.encoder.pos_embedding.shape[1] == 10 and net(torch.empty(1, 3, 48, 48)).shape == (1, 768)


def test_misfits_are_told():
    with torch.device("meta"):
        build_for(PICTURE, "torchvision:regnet_y_400mf")  # its builder counts with tensors
    with pytest.raises(UsageError, match=r"torchvision:vit_b_16 cannot be built for a view of 3 x 50 x 50"):
        build_for(replace(PICTURE, size=50), "torchvision:vit_b_16")
    with pytest.raises(UsageError, match=r"torchvision:s3d cannot be built for a view of 3 x 4 x 32 x 32 \("):
        build_for(CLIP, "torchvision:s3d")  # it can be built, but not run


@pytest.mark.parametrize(
    "view, name, said",
    [
        (PICTURE, "torchvision:resnet5", r"nearest names are .*resnet50"),
        (CLIP, "torchvision:r3d18", r"unknown video encoder 'torchvision:r3d18'; the nearest names are r3d_18"),
        (PICTURE, "torchvison:resnet50", r"unknown library of encoders 'torchvison'; there are torchvision, timm"),
        (TextView(), "torchvision:resnet50", "not of text"),
    ],
)
def test_wrong_names_list_the_nearest(view, name, said):
    with pytest.raises(UsageError, match=said):
        build_for(view, name)


def test_timm_names_its_extra_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r'pip install "coview\[timm\]"'):
        build_for(PICTURE, "timm:resnet18")


@needs_timm
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto"])
@torch.no_grad()
def test_timm_equals_the_library(name):
    import timm

    encoder = build_for(PICTURE, f"timm:{name}").eval()
    sized = {"img_size": 64} if name.startswith("vit") else {}
    whole = timm.create_model(name, num_classes=7, **sized).eval()
    whole.load_state_dict(encoder.network.state_dict(), strict=False)
    about, x = timm.get_pretrained_cfg(name), shown(PICTURE)
    as_published = normalize(x, list(about.mean), list(about.std))
    expected = whole.forward_head(whole.forward_features(as_published), pre_logits=True)
    torch.testing.assert_close(encoder(x), expected)
    assert expected.shape == (2, encoder.dim)


@needs_timm
def test_timm_reaches_nothing_but_its_own_list():
    with pytest.raises(UsageError, match=r"nearest names are .*resnet18"):
        build_for(PICTURE, "timm:resnet118")
    with pytest.raises(UsageError, match="unknown image encoder"):
        build_for(PICTURE, "timm:hf-hub:someone/something")


class Squeezed(nn.Module):
    def forward(self, x):
        return x.squeeze(1)


def spectrogram_network():
    return Wrapped(nn.Sequential(Squeezed(), nn.Conv1d(40, 6, 3)), dim=6)


def test_any_network_is_an_encoder_by_an_entry_point(monkeypatch):
    def points(group):
        name = "coview.encoders.audio"
        return [EntryPoint("mine", f"{__name__}:spectrogram_network", name)] if group == name else []

    monkeypatch.setattr(encoders, "entry_points", points)
    view = AudioView(mels=40)
    encoder = build_for(view, "mine")
    assert isinstance(encoder, Encoder) and encoder(shown(view)).shape == (2, 6)
    assert encoder.feature_maps(shown(view))["network"].ndim == 3
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        build_for(view, "mines")


@pytest.mark.parametrize(
    "value, said",
    [("torch.nn:ReLU", r"makes a ReLU, no encoder: return .*Wrapped"), ("no_such:net", "cannot be imported")],
)
def test_an_entry_point_that_makes_no_encoder_is_told(monkeypatch, value, said):
    monkeypatch.setattr(encoders, "entry_points", lambda group: [EntryPoint("mine", value, group)])
    with pytest.raises(UsageError, match=said):
        build_image("mine", 1)
