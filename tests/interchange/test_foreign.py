"""Published checkpoints: the networks written once more, with three-dimensional layers under the original names."""

import numpy as np
import pytest
import torch
from torch import nn

import coview
from coview.errors import UsageError
from coview.interchange.foreign import import_model

AV_SSRL = {"space": "spatial", "time": "temporal"}
AVID = {"space": "spt", "time": "tmp"}


class Block(nn.Module):
    """A residual block of the reduced R(2+1)D under the names of either code."""

    def __init__(self, channels, out, stride, words):
        super().__init__()
        self.words = words
        shapes = {"space": ((1, 3, 3), (0, 1, 1)), "time": ((3, 1, 1), (1, 0, 0))}
        for number, width in ((1, channels), (2, out)):
            for kind, (kernel, pad) in shapes.items():
                into = width if kind == "space" else out
                step = {"space": (1, stride, stride), "time": (stride, 1, 1)}[kind] if number == 1 else 1
                self.add_module(f"{words[kind]}_conv{number}", nn.Conv3d(into, out, kernel, step, pad, bias=False))
                if (kind, number) != ("time", 2):
                    self.add_module(f"{words[kind]}_bn{number}", nn.BatchNorm3d(out))
        self.out_bn = nn.BatchNorm3d(out)
        self.res_conv = nn.Conv3d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else None

    def forward(self, x):
        def layer(kind, number):
            conv, norm = (self.get_submodule(f"{self.words[kind]}_{part}{number}") for part in ("conv", "bn"))
            return lambda y: norm(conv(y)).relu()

        y = layer("space", 2)(layer("time", 1)(layer("space", 1)(x)))
        y = self.get_submodule(f"{self.words['time']}_conv2")(y)
        return self.out_bn(y + (x if self.res_conv is None else self.res_conv(x))).relu()


class Video(nn.Module):
    def __init__(self, depth, words):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )  # fmt: skip
        channels = 64
        for stage, width in enumerate((64, 128, 256, 512)):
            first = Block(channels, width, 1 if stage == 0 else 2, words)
            pair = first if depth == 10 else nn.Sequential(first, Block(width, width, 1, words))
            self.add_module(f"conv{stage + 2}x", pair)
            channels = width

    def forward(self, x):
        for name in ("conv1", "conv2x", "conv3x", "conv4x", "conv5x"):
            x = self.get_submodule(name)(x)
        return x.amax((2, 3, 4))


class AudioBlock(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()


class Audio(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        for number, (a, b, stride) in enumerate(((64, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1)), start=1):
            self.add_module(f"block{number}", AudioBlock(a, b, stride))

    def forward(self, x):
        x = self.conv1(x)
        for number in range(1, 5):
            x = self.get_submodule(f"block{number}")(x)
        return x.amax((2, 3))


class Head(nn.Module):
    def __init__(self, name, *layers):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        return self.get_submodule(self.name)(x)


def projection(size=128):
    layers = [nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, size)]
    return Head("projection", *layers)


def expander():
    layers = [nn.Linear(512, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return Head("expansion", *layers, nn.Linear(64, 32))


def publish(tmp_path, **parts):
    """Write a checkpoint as both codes do, the model inside a data-parallel wrapper; returns the model and the file."""
    torch.manual_seed(len(parts))
    model = nn.Module()
    for name, part in parts.items():
        model.add_module(name, part)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    model.eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam(model.parameters())
    memory = {"nce_average.view1_mem": torch.randn(4, 128), "nce_average.view2_mem": torch.randn(4, 128)}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"epoch": 100, "model": state, "optimizer": optimiser.state_dict(), "train_criterion": memory}, path)
    return model, path


def compare(model, kept, views=("video", "audio"), head="proj"):
    clip, sound = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 1, 48, 40)
    kept.method.eval()
    with torch.no_grad():
        for view, x in (("video", clip), ("audio", sound)):
            if view not in views:
                continue
            features = model.get_submodule(f"{view}_model")(x)
            ours = kept.method.encoders[view](x)
            torch.testing.assert_close(ours, features, rtol=1e-4, atol=1e-4)
            if head:
                z = model.get_submodule(f"{view}_{head}")(features)
                torch.testing.assert_close(kept.method.projectors[view](ours), z, rtol=1e-4, atol=1e-4)


def test_xid_of_av_ssrl(tmp_path):
    parts = {"video_model": Video(18, AV_SSRL), "audio_model": Audio()}
    model, path = publish(tmp_path, **parts, video_proj=projection(), audio_proj=projection())
    statistics = tmp_path / "stats.npz"
    np.savez(statistics, mean=np.linspace(-3, -1, 128), std=np.full(128, 0.4))
    kept = import_model("av-ssrl", path, statistics)
    compare(model, kept)
    assert kept.method.about.slug == "xid" and kept.views["video"].frames == 16 and kept.about["epochs"] == 100
    kept.save(tmp_path / "model")
    again = coview.load(tmp_path / "model")
    compare(model, again)
    mean = dict(again.preprocess.named_buffers())["audio_mean"]
    torch.testing.assert_close(mean, torch.linspace(-3, -1, 128), rtol=1e-6, atol=1e-6)


def test_vicreg_of_av_ssrl_with_and_without_sound(tmp_path):
    parts = {"video_model": Video(18, AV_SSRL), "audio_model": Audio()}
    model, path = publish(tmp_path, **parts, video_exp=expander(), audio_exp=expander())
    kept = import_model("av-ssrl", path)
    assert kept.method.about.slug == "av-vicreg" and kept.method.settings.hidden == (96, 64)
    compare(model, kept, head="exp")

    model, path = publish(tmp_path, video_model=Video(18, AV_SSRL), video_exp=expander())
    kept = import_model("av-ssrl", path)
    assert kept.method.about.slug == "vicreg-video"
    compare(model, kept, views=("video",), head="exp")
    with pytest.raises(UsageError, match="no sound encoder"):
        import_model("av-ssrl", path, tmp_path / "stats.npz")


def test_supervised_of_av_ssrl(tmp_path):
    model, path = publish(tmp_path, video_model=Video(18, AV_SSRL), audio_model=Audio(), proj=nn.Linear(1024, 7))
    kept = import_model("av-ssrl", path)
    compare(model, kept, head="")
    x = torch.randn(3, 1024)
    assert kept.method.classifier(x).equal(model.proj(x)) and len(kept.about["classes"]) == 7


@pytest.mark.parametrize("depth", [10, 18])
def test_avid_cma(tmp_path, depth):
    parts = {"video_model": Video(depth, AVID), "audio_model": Audio()}
    model, path = publish(tmp_path, **parts, video_proj=projection(), audio_proj=projection())
    kept = import_model("avid-cma", path)
    compare(model, kept)
    assert kept.method.settings.video_encoder == f"r2plus1d-{depth}" and kept.views["audio"].layout == "spectrogram"
    assert float(dict(kept.preprocess.named_buffers())["audio_mean"].mean()) == pytest.approx(-28.5)


class Anything:
    """An object in a checkpoint."""


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "extra": Anything()}, path)
    with pytest.raises(UsageError, match="unpickles no objects"):
        import_model("av-ssrl", path)


def test_what_is_no_checkpoint_says_what_was_seen(tmp_path):
    path = tmp_path / "other.pth"
    with pytest.raises(UsageError, match="cannot be read"):
        import_model("av-ssrl", path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match=r"cannot be read|unpickles"):
        import_model("av-ssrl", path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UsageError, match="found state_dict"):
        import_model("av-ssrl", path)
    torch.save({"model": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(UsageError, match="0 blocks"):
        import_model("av-ssrl", path)
    parts = {"video_model": Video(18, AV_SSRL), "audio_model": Audio(), "video_proj": projection()}
    _, path = publish(tmp_path, **parts, strange=nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"unknown \['strange.bias'.*missing \['projectors.audio"):
        import_model("av-ssrl", path)
