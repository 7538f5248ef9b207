"""Encoders: sizes of the published networks, shapes of their maps, what every encoder must hold."""

import pytest
import torch

from coview.encoders import AUDIO, VIDEO, build_audio, build_video, mlp
from coview.errors import UsageError


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (lambda: build_video("r2plus1d-10"), 7_015_616),
        (lambda: build_video("r2plus1d-18"), 15_379_136),
        (lambda: build_video("r2plus1d-34"), 28_861_632),
        (lambda: build_audio("conv2d"), 4_725_696),
        (lambda: mlp((512, 512, 512, 128)), 590_976),
        (lambda: mlp((512, 4096, 4096, 4096), batchnorm=True), 35_680_256),
    ],
)
def test_parameter_counts(module, count):
    with torch.device("meta"):
        assert parameters(module()) == count


@pytest.mark.parametrize(
    ("shape", "maps"),
    [
        ((3, 8, 112, 112), [(64, 8, 28, 28), (64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4)]),
        ((3, 8, 224, 224), [(64, 8, 56, 56), (64, 8, 56, 56), (128, 4, 28, 28), (256, 2, 14, 14), (512, 1, 7, 7)]),
        ((3, 16, 224, 224), [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)]),
    ],
)
def test_video_maps(shape, maps):
    with torch.device("meta"):
        encoder = build_video("r2plus1d-18")
        result = encoder.feature_maps(torch.empty(2, *shape))
    assert [tuple(map.shape[1:]) for map in result.values()] == maps
    assert tuple(result) == encoder.stages


@pytest.mark.parametrize(
    ("shape", "maps"),
    [
        ((200, 257), [(64, 50, 65), (128, 25, 33), (256, 13, 17), (512, 13, 17)]),
        ((100, 129), [(64, 25, 33), (128, 13, 17), (256, 7, 9), (512, 7, 9)]),
        ((128, 125), [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 8, 8)]),
        ((128, 62), [(64, 32, 16), (128, 16, 8), (256, 8, 4), (512, 8, 4)]),
    ],
)
def test_audio_maps(shape, maps):
    with torch.device("meta"):
        encoder = build_audio("conv2d")
        result = encoder.feature_maps(torch.empty(2, 1, *shape))
    assert [tuple(map.shape[1:]) for map in result.values()][1:] == maps
    assert tuple(result) == encoder.stages


def test_r2plus1d_equals_plain_3d_convolutions():
    """The folded 2-D layers are the 1 x 3 x 3 and 3 x 1 x 1 convolutions of the paper."""
    torch.manual_seed(0)
    block = build_video("r2plus1d-10").get_submodule("conv3x")[0].double().eval()
    x = torch.randn(2, 64, 5, 7, 6, dtype=torch.float64)

    def space(layer, x, stride):
        return torch.conv3d(x, layer.weight[:, :, None], None, (1, stride, stride), (0, 1, 1))

    def time(layer, x, stride):
        return torch.conv3d(x, layer.weight[..., None], None, (stride, 1, 1), (1, 0, 0))

    scale = (1 + 1e-5) ** -0.5  # fresh batch normalisation in eval mode
    y = (time(block.time1[0], (space(block.space1[0], x, 2) * scale).relu(), 2) * scale).relu()
    y = time(block.time2, (space(block.space2[0], y, 1) * scale).relu(), 1)
    shortcut = torch.conv3d(x, block.shortcut.weight[:, :, None, None, None], None, 2)
    expected = ((y + shortcut) * scale).relu()
    result = block(x.permute(0, 2, 3, 4, 1).contiguous()).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("name", [*VIDEO, *AUDIO])
def test_every_encoder(name):
    torch.manual_seed(0)
    video = name in VIDEO
    encoder = build_video(name) if video else build_audio(name)
    x = torch.randn(2, 3, 4, 32, 32) if video else torch.randn(2, 1, 40, 32)
    features = encoder(x)
    assert features.shape == (2, encoder.dim)
    features.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())
    maps = encoder.eval().feature_maps(x)
    assert tuple(maps) == encoder.stages
    torch.testing.assert_close(encoder.pool(maps[encoder.stages[-1]]), encoder(x))
    torch.testing.assert_close(encoder(x)[1:], encoder(x[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["r2plus1d-10", "video-tiny", "video-small", "conv2d", "audio-tiny", "audio-speech"])
def test_no_rows_give_no_features_and_zero_gradients(name):
    encoder = build_video(name) if name in VIDEO else build_audio(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
    features = encoder(torch.empty(0, 3, 4, 32, 32) if name in VIDEO else torch.empty(0, 1, 40, 32))
    features.sum().backward()
    assert features.shape == (0, encoder.dim)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in encoder.parameters())
    after = encoder.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_small_video_sees_motion_but_not_its_absence():
    """The difference channel of a still clip is zero."""
    encoder = build_video("video-small").eval()
    still = torch.randn(1, 3, 1, 32, 32).expand(1, 3, 6, 32, 32)
    weight = encoder.get_submodule("conv1")[0].weight
    before = encoder(still)
    with torch.no_grad():
        weight[:, 3].zero_()
    torch.testing.assert_close(encoder(still), before)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'r2plus1d-18'"):
        build_video("r2plus1d18")
    with pytest.raises(UsageError, match="conv2d"):
        build_audio("alexnet")


def test_padding_of_speech_is_not_pooled():
    """Frames of zeros behind the sound: no map has anything there, and means and maxima are those of the sound."""
    torch.manual_seed(0)
    encoder = build_audio("audio-speech").eval()
    x = torch.zeros(2, 1, 40, 32)
    x[0, ..., :12] = torch.randn(1, 40, 12)
    maps = encoder.feature_maps(x)
    assert not maps["conv4"][0, ..., 3:].any() and not maps["conv1"][0, ..., 6:].any()
    sound = maps["conv4"][0, :, 0, :3]
    torch.testing.assert_close(encoder(x)[0], torch.cat([sound.mean(1), sound.amax(1)]))
    assert not encoder(x)[1].any()
    x[0, ..., :12] += 5  # the level of the sound, not of the padding
    torch.testing.assert_close(encoder(x)[0], torch.cat([sound.mean(1), sound.amax(1)]), rtol=1e-4, atol=1e-5)
