"""Gates: statistics have the promised length and meaning; rows repeat; verdicts follow the limits."""

import math

import pytest
import torch

from coview.evaluation import gates
from coview.evaluation.low_level import audio_statistics, motion_lags, video_statistics
from coview.evaluation.statistics import Measurement


def test_video_statistics_mean_what_they_say():
    video = torch.zeros(2, 3, 8, 32, 32, dtype=torch.uint8)
    video[1, :, 4:] = 255  # dark, then bright
    numbers = video_statistics(video)
    assert numbers.shape == (2, 39) and torch.isfinite(numbers).all()
    assert numbers[0, 0] == 0 and numbers[1, 0] == pytest.approx(0.5)
    histogram = numbers[:, 4:20]
    torch.testing.assert_close(histogram.sum(1), torch.ones(2))
    assert histogram[0, 0] == 1 and histogram[1, 15] == pytest.approx(0.5)
    assert numbers[1, 20] == pytest.approx(math.log(1 / 7), rel=1e-3)  # one of seven differences is 1


def test_rings_tell_coarse_from_fine_waves():
    ramp = torch.arange(32)
    coarse, fine = ((torch.sin(2 * math.pi * k * ramp / 32) * 100 + 128).to(torch.uint8) for k in (2, 12))
    video = torch.stack([coarse, fine])[:, None, None, None, :].expand(2, 3, 8, 32, 32)
    rings = video_statistics(video)[:, 24:]
    assert rings.shape == (2, 15)
    assert rings[0].argmax() == int(2 / 32 * 30) and rings[1].argmax() == int(12 / 32 * 30)


def test_lags_tell_there_and_back_from_steady_motion():
    steady, back = torch.zeros(2, 1, 3, 8, 32, 32, dtype=torch.uint8).unbind(0)
    for frame in range(8):
        steady[0, :, frame, 8:16, 2 * frame : 2 * frame + 8] = 200
        shift = 2 * (frame % 2)
        back[0, :, frame, 8:16, 8 + shift : 16 + shift] = 200
    lags = motion_lags(torch.cat([steady, back]))
    assert lags[0, 0] > 0.5 and lags[1, 0] < -5


def test_audio_statistics_mean_what_they_say():
    time = torch.arange(16000) / 16000
    tone = 0.5 * torch.sin(2 * math.pi * 2000 * time)
    late = torch.where(time > 0.5, tone, torch.zeros(()))
    numbers = audio_statistics(torch.stack([tone, late]))
    assert numbers.shape == (2, 87) and torch.isfinite(numbers).all()
    level, crossings, centroid, _, rolloff, centre, _ = numbers[0, :7].tolist()
    assert level == pytest.approx(math.log(0.125), abs=1e-3)
    assert crossings == pytest.approx(0.25, abs=0.01)
    assert centroid == pytest.approx(0.25, abs=0.01) and rolloff == pytest.approx(0.25, abs=0.01)
    assert centre == pytest.approx(0.5, abs=0.01) and numbers[1, 5] == pytest.approx(0.75, abs=0.01)


WORLDS = [pytest.param(world, marks=pytest.mark.slow) for world in ("digits-av", "objects-av", "pushes")]


@pytest.fixture(scope="module", params=WORLDS)
def rows(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        first = gates.gate_rows(request.param, quick=True)
        patch.setattr(gates, "_per_block", None)  # the second time nothing is rendered
        again = gates.gate_rows(request.param, quick=True)
    assert again == first
    return request.param, {row.name: row for row in first}


def test_rows_are_measured_and_kept(rows):
    world, found = rows
    for name, row in found.items():
        assert row.low <= row.value <= row.high and row.n == 160, name
    chance = {"digits-av": 0.1, "objects-av": 1 / 6, "pushes": 1 / 4}[world]
    for kind in ("statistics", "random"):
        assert found[f"video_probe/{kind}"].chance == pytest.approx(chance)
        if world != "pushes":
            assert found[f"audio_probe/{kind}"].chance == pytest.approx(chance)
    if world == "pushes":
        assert 0 < found["next_action_r2/statistics"].value < 0.6
    if world == "objects-av":
        assert found["video_action_probe/statistics-lags"].low > 0.25  # order of motion shows over two frames


def test_verdicts_follow_the_limits():
    rows = [
        Measurement("video_probe/statistics", 0.21, 0.2, 0.22, 0.1, 1500),
        Measurement("audio_probe/statistics", 0.19, 0.18, 0.2, 0.1, 1500),
        Measurement("video_probe/supervised-av", 0.9, 0.88, 0.92, 0.1, 1500),
        Measurement("knn/other", 0.5, 0.4, 0.6, 0.1, 1500),
    ]
    found = {verdict.row: verdict for verdict in gates.verdicts("digits-av:C", rows)}
    assert set(found) == {"video_probe/statistics", "audio_probe/statistics", "video_probe/supervised-av"}
    assert not found["video_probe/statistics"].passed and found["video_probe/statistics"].limit == pytest.approx(0.2)
    assert found["audio_probe/statistics"].passed and found["video_probe/supervised-av"].passed


@pytest.mark.parametrize("content", ["[", "{}", '[{"name": "a"}]', "\x00\xff"])
def test_a_damaged_cache_is_measured_again(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    row = gates.accuracy("video_probe/statistics", torch.tensor([True, False]), 0.1)
    assert gates._cached("x", "digits-av:A", 0, True, lambda train, test: [row]) == [row]
    [kept] = (tmp_path / "coview" / "gates").iterdir()
    assert gates._cached("x", "digits-av:A", 0, True, lambda train, test: pytest.fail("it is kept")) == [row]
    kept.write_text(content, encoding="latin-1")
    assert gates._cached("x", "digits-av:A", 0, True, lambda train, test: [row]) == [row]
    assert gates._cached("x", "digits-av:A", 0, True, lambda train, test: pytest.fail("it is kept")) == [row]
