"""AVID: what its card says must hold, beyond the sweep over all methods."""

import dataclasses

import pytest
import torch

from coview.errors import SettingsError, UsageError
from coview.media.logmel import db_spectrogram
from coview.methods.avid import AVID, AVIDSettings
from coview.methods.contract import Facts
from coview.settings import from_dict

PLAIN = dataclasses.replace(AVIDSettings.tiny(), head_batchnorm=False)


def make(rows=40, seed=0, **changes):
    torch.manual_seed(seed)
    return AVID(dataclasses.replace(PLAIN, **changes), Facts(rows=rows))


def embeddings(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, count, 128, generator=generator)
    video, audio = torch.nn.functional.normalize(draw, dim=2)
    return {"video": video, "audio": audio}


@pytest.mark.parametrize(("encoder", "count"), [("10", 7_015_616), ("18", 15_379_136), ("34", 28_861_632)])
def test_published_size(encoder, count):
    with torch.device("meta"):
        method = AVID(AVIDSettings(video_encoder=f"r2plus1d-{encoder}"), Facts(rows=2))
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in method.named_children()}
    assert sizes["encoders"] == count + 4_725_696
    assert sizes["projectors"] == 2 * 590_976


def test_published_sound_is_time_first():
    view = AVIDSettings().audio
    assert view.shape == (1, 200, 257)
    assert db_spectrogram(torch.randn(1, view.samples), n_fft=view.n_fft, hop=view.hop).shape == (1, 1, 200, 257)
    assert AVIDSettings().video.decode_size == 256


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"cross": 0.0}, {"within": -1.0}, {"momentum": 2.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(AVIDSettings, wrong)


def test_too_few_recordings_are_refused():
    with pytest.raises(UsageError, match="at least 2 recordings, found 1"):
        make(rows=1)


def test_random_start_costs_what_theory_says():
    """log(K z) + K z / (K z) = 7.72 + 1.0 at K = 1024, D = 128, and z = 2.21."""
    method = make(rows=4000)
    batch = dataclasses.replace(method.example_batch(256, 0), row=torch.arange(256))
    loss, parts = method.criterion(embeddings(256), batch)
    assert float(parts["z"]) == pytest.approx(2.21, abs=0.1)
    assert float(loss) == pytest.approx(8.7, abs=0.2)


def test_normaliser_is_set_once_and_only_in_training():
    method = make()
    batch = method.example_batch(6, 0)
    method.eval()(batch)
    assert method.z == -1
    method.train()(batch)
    first = method.z.clone()
    assert first > 0
    method(method.example_batch(6, 1))
    assert torch.equal(method.z, first)


def test_swapping_views_and_memories_changes_nothing_once_z_is_fixed():
    method, batch = make(), make().example_batch(5, 0)
    given = embeddings(5)
    method.z.fill_(2.0)
    before, _ = method.criterion(given, batch)
    video, audio = (method.bank(name).memory.clone() for name in ("video", "audio"))
    method.bank("video").memory, method.bank("audio").memory = audio, video
    after, _ = method.criterion({"video": given["audio"], "audio": given["video"]}, batch)
    torch.testing.assert_close(after, before)


def test_cross_with_equal_views_and_memories_is_self():
    losses = []
    for weights in ({"cross": 1.0, "within": 0.0}, {"cross": 0.0, "within": 1.0}):
        method = make(**weights)
        method.bank("audio").memory.copy_(method.bank("video").memory)
        same = embeddings(5)["video"]
        losses.append(method.criterion({"video": same, "audio": same}, method.example_batch(5, 0))[0])
    torch.testing.assert_close(losses[0], losses[1])


def test_self_scores_no_other_view():
    method = make(cross=0.0, within=1.0)
    batch, given = method.example_batch(5, 0), embeddings(5)
    method.z.fill_(2.0)
    _, parts = method.criterion(given, batch)
    assert set(parts) == {"v2v", "a2a", "infonce", "z"}
    method.bank("audio").memory.copy_(embeddings(40, seed=1)["audio"])
    _, changed = method.criterion(given, batch)
    assert torch.equal(parts["v2v"], changed["v2v"])
    assert not torch.equal(parts["a2a"], changed["a2a"])
