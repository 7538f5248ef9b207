"""Statistics of sounds and pictures: what a direct computation gives, whatever the blocks; kept with run and model."""

import dataclasses
import json

import pytest
import torch
from numbers_source import VIEWS, Numbers

from coview.data.augment import PRESETS, AugmentSettings
from coview.data.augment.audio import levelled, spectrogram
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.statistics import Moments, fit_statistics, read_statistics, save_statistics
from coview.data.views import AudioView, VideoView
from coview.errors import UsageError

OWN = {name: dataclasses.replace(view, normalise="statistics") for name, view in VIEWS.items()}


class Gaps(Numbers):
    """Some recordings have no sound; what stands in its place is no number."""

    def _make(self, row, key, replaced):
        batch = super()._make(row, key, replaced)
        batch.present["audio"] = row % 3 > 0
        batch.views["audio"][row % 3 == 0] = torch.nan
        return batch


def directly(source, clips=1):
    batches = [
        source.read(torch.arange(len(source)), sample_keys(0, c, torch.arange(len(source)))) for c in range(clips)
    ]
    frames = torch.cat([batch.views["video"] for batch in batches]).double() / 255
    sounds = torch.cat([batch.views["audio"][batch.present["audio"]] for batch in batches])
    bands = spectrogram(levelled(sounds, None, PRESETS["none"]), VIEWS["audio"])[:, 0].double()
    return {
        "video": (frames.mean((0, 2, 3, 4)), frames.transpose(0, 1).flatten(1).std(1, correction=0)),
        "audio": (bands.mean((0, 2)), bands.transpose(0, 1).flatten(1).std(1, correction=0)),
    }


def test_the_same_as_at_once_whatever_the_blocks():
    source, seen = Gaps(50), []
    expected = directly(source, clips=2)
    for size in (1, 7, 64):
        found, _ = fit_statistics(
            source, clips=2, batch_size=size, progress=lambda done, total: seen.append((done, total))
        )
        assert found["audio"].count == 2 * 33 * (8000 // VIEWS["audio"].hop) and seen[-1] == (50, 50)
        for name, (mean, deviation) in expected.items():
            # Sounds are float32 until they are added up, and Fourier transforms round in blocks.
            tolerance = 1e-6 if name == "audio" else 1e-7
            torch.testing.assert_close(found[name].mean, mean, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(found[name].deviation, deviation, rtol=10 * tolerance, atol=tolerance)


def test_moments_join_exactly_and_a_large_mean_costs_no_digits():
    values = 1e8 + torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = [Moments.of(part) for part in values.split([1, 400, 0, 599])]
    joined = parts[0] + parts[1] + parts[2] + parts[3]
    assert joined.count == 1000
    torch.testing.assert_close(joined.mean, values.mean(0), rtol=1e-14, atol=0)
    expected = (values - 1e8).std(0, correction=0)
    squares = joined.squares / 1000
    torch.testing.assert_close(squares.sqrt(), expected, rtol=1e-6, atol=0)
    assert Moments.of(torch.full((9, 1), 0.3)).deviation.item() == 1  # nothing changes


def test_reading_processes_change_nothing():
    one, two = (fit_statistics(Numbers(40), batch_size=16, workers=workers)[0] for workers in (0, 2))
    for name in one:
        assert torch.equal(one[name].mean, two[name].mean) and torch.equal(one[name].squares, two[name].squares)


class OneUnread(Numbers):
    """Recording 3 cannot be read; recording 4 comes in its place."""

    def read(self, index, key):
        batch = super().read(torch.where(index == 3, 4, index), key)
        batch.replaced = [(3, "damaged")] * int((index == 3).any())
        return batch


def test_a_replacement_is_not_counted_twice_and_is_told():
    found, unread = fit_statistics(OneUnread(8), batch_size=4)
    whole, none = fit_statistics(Numbers(8), batch_size=4)
    assert unread == [(Numbers(8).ids[3], "damaged")] and none == []
    assert found["audio"].count * 8 == whole["audio"].count * 7


def test_what_was_fitted_normalises_to_mean_0_and_deviation_1(tmp_path):
    source = Numbers(40)
    save_statistics(fit_statistics(source)[0], source, tmp_path / "s.json")
    prepare = Preprocess(OWN, AugmentSettings())
    prepare.set_statistics(read_statistics(tmp_path / "s.json", OWN))
    made = prepare(source.read(torch.arange(40), sample_keys(0, 0, torch.arange(40))), train=False).views
    for name, axes in (("audio", (0, 1, 3)), ("video", (0, 2, 3, 4))):
        # A band is divided by its deviation plus 1e-6.
        assert made[name].mean(axes).abs().max() < 1e-4
        torch.testing.assert_close(made[name].std(axes), torch.ones(made[name].std(axes).shape), rtol=0, atol=2e-3)
    assert json.loads(json.dumps(prepare.statistics))["audio"]["mean"] == prepare.audio_mean.tolist()
    train = Preprocess(OWN, PRESETS["none"])
    train.load_state_dict(prepare.state_dict())
    trained = train(source.read(torch.arange(40), sample_keys(0, 0, torch.arange(40))), train=True).views
    torch.testing.assert_close(trained["video"], made["video"])


def test_files_that_do_not_fit_are_refused(tmp_path):
    source = Numbers(8)
    path = tmp_path / "s.json"
    save_statistics(fit_statistics(source)[0], source, path)
    with pytest.raises(UsageError, match="mels 16 -> 20"):
        read_statistics(path, {"audio": dataclasses.replace(OWN["audio"], mels=20)})
    longer = {
        "audio": dataclasses.replace(OWN["audio"], seconds=0.5),
        "video": dataclasses.replace(OWN["video"], size=8),
    }
    assert set(read_statistics(path, longer)) == {"audio", "video"}
    with pytest.raises(UsageError, match="no view would use it"):
        read_statistics(path, VIEWS)
    with pytest.raises(UsageError, match="no view 'other'"):
        read_statistics(path, {"other": AudioView(normalise="statistics")})
    path.write_text("{")
    with pytest.raises(UsageError, match="coview stats"):
        read_statistics(path, {"video": VideoView(normalise="statistics")})
