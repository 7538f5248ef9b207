"""Attention over time: published STiCA values, and what does not change the pooled vector."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coview.encoders import build_audio, build_video
from coview.encoders.attention_pool import AttentionPooled
from coview.encoders.resnets import AudioResNet, WideR2Plus1D

NAMES = {"mha.q_lin": "query", "mha.k_lin": "key", "ffn.lin1": "wide", "ffn.lin2": "narrow"}


def pooled(layers=2, width=16, hidden=24, heads=4):
    encoder = build_video("video-tiny")
    encoder.dim = width  # the maps of these tests are made up
    return AttentionPooled(encoder, layers, heads, hidden)


def test_golden():
    golden = {k: torch.from_numpy(np.asarray(v)) for k, v in golden_file().items() if k.startswith("pool.")}
    model = pooled(heads=int(golden["pool.heads"])).double()
    weights = {}
    for key, value in golden.items():
        name = key.removeprefix("pool.transformer.")
        if name != key:
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            weights[name] = value.double()
    model.layers.load_state_dict(weights)
    x = golden["pool.x"].double()
    # The reference takes its softmax in float32.
    torch.testing.assert_close(model.layers(x), golden["pool.out_all"], rtol=0, atol=5e-7)
    torch.testing.assert_close(model.attend(x.transpose(1, 2)), golden["pool.out_token0"], rtol=0, atol=5e-7)


def golden_file():
    return np.load(Path(__file__).parents[1] / "golden" / "stica.npz")


def test_order_of_later_steps_does_not_matter_and_of_the_first_it_does():
    model, x = pooled().double(), torch.randn(3, 16, 4, dtype=torch.float64)
    torch.testing.assert_close(model.attend(x[..., [0, 3, 1, 2]]), model.attend(x))
    assert not torch.allclose(model.attend(x[..., [1, 0, 2, 3]]), model.attend(x))


def test_no_layers_is_the_mean():
    maps = torch.randn(2, 16, 4, 3, 3)
    torch.testing.assert_close(pooled(layers=0).pool(maps), maps.mean((2, 3, 4)))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_it_is_an_encoder(size):
    model = AttentionPooled(build_video("video-tiny"), 1, 4, 64)
    assert model(torch.randn(size, 3, 8, 32, 32)).shape == (size, 128)
    assert model.stages == model.trunk.stages


def test_residual_networks_of_clips_and_sounds():
    with torch.device("meta"):
        encoders = WideR2Plus1D(), AudioResNet(9), AudioResNet(18)
        counts = [sum(p.numel() for p in encoder.parameters()) for encoder in encoders]
        assert counts == [31_300_125, 4_899_520, 11_170_240]
        assert encoders[0].feature_maps(torch.randn(1, 3, 30, 112, 112))["layer4"].shape == (1, 512, 4, 7, 7)
        assert encoders[0](torch.randn(2, 3, 8, 112, 112)).shape == (2, 512)
        assert encoders[1](torch.randn(2, 1, 80, 100)).shape == (2, 512)
    assert isinstance(build_video("r2plus1d-18-wide"), WideR2Plus1D)
    assert build_audio("resnet-9").dim == 512
