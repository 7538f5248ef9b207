"""Sound textures: values of both published codes, analytic anchors, invariances, and what is short, silent or mixed."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import hilbert
from scipy.stats import kurtosis, skew

from coview.media.cochlea import band_edges, cochlear_filters, envelopes, resampled, subbands
from coview.media.texture_correlations import OCTAVES, full_texture
from coview.media.textures import APART, modulation_centres, modulation_filters, sizes, texture

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ambient-sound.npz")
NAMES = ("noise", "am_noise", "sine", "tremolo", "clicks")
RATE, SAMPLES = 20_000.0, 75_000
PAIRS = torch.tensor([(band, band + apart) for band in range(32) for apart in APART if band + apart < 32])


def golden(name):
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def noise(samples=SAMPLES):
    state, values = 12345, np.empty(samples)
    for place in range(samples):
        state = (1664525 * state + 1013904223) % 2**32
        values[place] = 2 * state / 2**32 - 1
    return torch.from_numpy(values)


def made():
    """The five sounds of the golden file, float64 (5, 75000)."""
    time = torch.arange(SAMPLES, dtype=torch.float64) / RATE
    rough, tone = noise(), (2 * math.pi * 1000 * time).sin()
    slow, clicks = 1 + 0.9 * (2 * math.pi * 8 * time).sin(), torch.zeros(SAMPLES, dtype=torch.float64)
    clicks[::2000] = 1
    sounds = torch.stack([rough, rough * slow, tone, tone * slow, clicks])
    return sounds / sounds.square().mean(1, keepdim=True).sqrt() * 0.01


@pytest.fixture(scope="module")
def sounds():
    return made()


@pytest.fixture(scope="module")
def found(sounds):
    return texture(sounds, RATE)


@pytest.fixture(scope="module")
def full(sounds):
    return full_texture(sounds, RATE)


def heard(mean):
    """Which bands hold more than rounding noise."""
    return mean > 1e-2 * mean.max()


def near(value, expected, tolerance):
    torch.testing.assert_close(value.double(), expected.double(), rtol=0, atol=tolerance)


def test_filters_are_those_of_the_published_bank(sounds):
    near(band_edges(RATE), golden("erb_cutoffs_hz"), 1e-9)
    near(modulation_centres(20), golden("mod_centres_20"), 1e-9)
    near(torch.tensor(OCTAVES), golden("octave_centres"), 0)
    near(cochlear_filters(SAMPLES, RATE).square().sum(0), torch.ones(SAMPLES // 2 + 1), 1e-13)
    for place, name in enumerate(NAMES):
        near(sounds[place, :16], golden(f"sound_{name}_first16"), 0)
        near(sounds[place].sum(), golden(f"sound_{name}_sum"), 1e-9)
        near(sounds[place].abs().sum(), golden(f"sound_{name}_abs_sum"), 1e-9)


@pytest.mark.parametrize("place", range(5), ids=NAMES)
def test_the_authors_statistics(sounds, found, place):
    def expected(what):
        return golden(f"av_{NAMES[place]}_{what}")

    envelope = envelopes(sounds[place], RATE)
    near(envelope[:, :8].T, expected("env_head"), 1e-6)
    near(envelope.mean(1), expected("env_mean_unnormalised"), 1e-6)
    there = heard(expected("env_mean"))
    assert int(there.sum()) == (2 if NAMES[place] in ("sine", "tremolo") else 32)
    near(found["mean"][place], expected("env_mean"), 1e-6)
    near(found["loudness"][place, 0], expected("loudness"), 1e-6)
    near(found["variation"][place][there], expected("env_std_over_mean")[there], 1e-6)
    moving = there & (expected("env_std_over_mean") > 1e-6)
    near(found["modulation"][place].view(32, 10)[moving], expected("mod_rms")[moving], 1e-6)
    both = moving[PAIRS].all(1)
    near(found["correlation"][place][both], expected("corr")[both], 1e-6)
    assert sum(value.shape[1] for value in found.values()) == 502


@pytest.mark.parametrize("place", range(5), ids=NAMES)
def test_the_toolboxs_statistics(full, place):
    def same(what, name, which, tolerance):
        near(full[what][place][which], golden(f"toolbox_{NAMES[place]}_{name}")[which], tolerance)

    mean, variation = (golden(f"toolbox_{NAMES[place]}_env_{name}") for name in ("mean", "var"))
    there = heard(mean)
    moving = there & (variation > 1e-6)
    same("mean", "env_mean", there, 1e-10)
    same("variation", "env_var", there, 1e-10)
    same("skew", "env_skew", moving, 1e-8)
    same("kurtosis", "env_kurt", moving, 1e-8)
    same("subband_variance", "subband_var", there, 1e-12)
    # These were stored in float32.
    same("modulation", "mod_power", moving, 1e-6)
    same("c2", "mod_C2", moving, 1e-6)
    both = moving[:, None] & moving
    same("correlation", "env_C", both, 1e-6)
    near(full["c1"][place, 3][both], golden(f"toolbox_{NAMES[place]}_mod_C1_band3")[both], 1e-6)


def test_float32_is_enough(sounds, found):
    broad = [0, 1, 4]  # every band holds sound
    for name, value in texture(sounds[broad].float(), RATE).items():
        torch.testing.assert_close(value.double(), found[name][broad], rtol=1e-4, atol=1e-4)


def test_noise_has_a_rayleigh_envelope(sounds, full):
    """std / mean = sqrt(Gamma(1 + p) / Gamma(1 + p / 2)^2 - 1) of a Rayleigh envelope to the power p = 0.3."""
    expected = math.sqrt(math.gamma(1.3) / math.gamma(1.15) ** 2 - 1)
    assert expected == pytest.approx(0.1758, abs=1e-4)
    low = slice(4, 14)  # narrower than the rate of the envelopes, and wide enough for many independent values
    whole = np.abs(hilbert(subbands(sounds[0], RATE)[low].numpy())) ** 0.3
    assert float((whole.std(1) / whole.mean(1)).mean()) == pytest.approx(expected, abs=0.006)
    assert skew(whole, 1).mean() == pytest.approx(-0.43, abs=0.1)
    assert kurtosis(whole, 1, fisher=False).mean() == pytest.approx(3.14, abs=0.2)
    assert float(full["variation"][0, low].mean()) == pytest.approx(expected, abs=0.01)
    assert float(full["variation"][0, -2]) < 0.1  # wider than the rate of the envelopes
    near(full["c1"][0].diagonal(dim1=1, dim2=2), torch.ones(6, 32), 1e-9)


def test_made_sounds_are_what_they_are(found, full):
    place = {name: number for number, name in enumerate(NAMES)}
    neighbours = PAIRS[:, 1] - PAIRS[:, 0] == 1
    for name, low, high in (("noise", 0.03, 0.15), ("am_noise", 0.5, 0.9), ("clicks", 0.9, 1.0)):
        assert low < float(found["correlation"][place[name]][neighbours].mean()) < high
    assert abs(float(found["correlation"][place["noise"]][PAIRS[:, 1] - PAIRS[:, 0] == 5].mean())) < 0.03
    assert float(found["variation"][place["am_noise"]].mean()) == pytest.approx(0.3, abs=0.04)
    assert float(full["kurtosis"][place["clicks"]].max()) > 10
    loudest = int(found["mean"][place["sine"]].argmax())
    assert float(found["variation"][place["sine"], loudest]) < 1e-9
    assert float(found["variation"][place["tremolo"], loudest]) == pytest.approx(0.249, abs=0.002)
    peaks = {name: found["modulation"][place[name]].view(32, 10)[loudest].argmax() for name in NAMES}
    assert float(modulation_centres(10)[peaks["am_noise"]]) == pytest.approx(7.17, abs=0.01)
    assert float(modulation_centres(20)[full["modulation"][place["am_noise"], loudest].argmax()]) == pytest.approx(
        8.54, abs=0.01
    )
    assert 7 < float(modulation_centres(10)[peaks["clicks"]]) < 15


def test_volume_and_direction_of_time_change_nothing_but_loudness(sounds, found, full):
    louder = texture(sounds[:2] * 5, RATE)
    near(louder["loudness"] / found["loudness"][:2], torch.full((2, 1), 5**0.3, dtype=torch.float64), 1e-9)
    for name in ("mean", "variation", "correlation", "modulation"):
        near(louder[name], found[name][:2], 1e-9)
    backwards = full_texture(sounds[:2].flip(1), RATE)
    for name in ("mean", "variation", "modulation", "correlation"):
        torch.testing.assert_close(backwards[name], full[name][:2], rtol=0.02, atol=0.02)
    # A sum over c2's parts, since single ones are noisy: real parts stay, imaginary ones change their sign.
    torch.testing.assert_close(backwards["c2"][1, ..., 0], full["c2"][1, ..., 0], rtol=0, atol=0.1)
    torch.testing.assert_close(backwards["c2"][1, ..., 1], -full["c2"][1, ..., 1], rtol=0, atol=0.1)


def test_modulation_bands_without_a_frequency_are_left_out():
    assert sum(sizes(3.75).values()) == sum(sizes(1.01).values()) == 502
    assert sum(sizes(1.0).values()) == 470  # 0 to 1 Hz holds no multiple of 1 Hz
    assert [sizes(seconds)["modulation"] // 32 for seconds in (0.5, 0.25, 0.1)] == [8, 7, 6]
    generator = torch.Generator().manual_seed(0)
    for seconds in (0.1, 0.5, 1.0):
        rough = torch.randn(3, round(seconds * 16_000), generator=generator)
        found = texture(rough, 16_000)
        assert {name: value.shape[1] for name, value in found.items()} == sizes(seconds)
        assert all(bool(value.isfinite().all()) for value in found.values())
        assert all(bool(value.isfinite().all()) for value in full_texture(rough, 16_000).values())
    with pytest.raises(ValueError, match="a tenth of a second"):
        modulation_filters(10, 10, 1.0)


def test_silence_is_zero_and_never_nan():
    generator = torch.Generator().manual_seed(0)
    mixed = 0.1 * torch.randn(4, 20_000, generator=generator)
    mixed[1] = 0
    mixed[2, 4_000:] = 0
    mixed[3, 1:] = 0
    found = texture(mixed, RATE)
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert all(not value[1].any() for value in found.values())
    assert (found["loudness"][[0, 2, 3]] > 0).all()
    assert float(found["mean"][2].max()) < 2  # silent for most of the time, and still of the size of others
    assert all(bool(value.isfinite().all()) for value in full_texture(mixed, RATE).values())
    assert texture(mixed[:0], RATE)["correlation"].shape == (0, 117)


def test_a_floor_takes_the_noise_of_empty_bands_and_little_else(sounds, found):
    single = sounds[[NAMES.index("noise"), NAMES.index("sine")]].float()
    bare, floored = texture(single, RATE), texture(single, RATE, floor=1e-4)
    for name in ("variation", "modulation"):
        assert float(floored[name][1].max()) < 0.1 < float(bare[name][1].max())
    assert float(floored["correlation"][1].abs().max()) < 0.05 < float(bare["correlation"][1].abs().max())
    torch.testing.assert_close(floored["variation"][0].double(), found["variation"][0], rtol=0.01, atol=0)


def test_sounds_are_measured_one_by_one(sounds, found):
    alone = texture(sounds[1:2], RATE)
    for name, value in alone.items():
        near(value[0], found[name][1], 1e-10)
    assert envelopes(sounds[:2].view(2, 1, -1), RATE).shape == (2, 1, 32, 1500)
    near(subbands(sounds[0], RATE).square().sum(), sounds[0].square().sum(), 1e-9)
    near(resampled(sounds[0], SAMPLES), sounds[0], 1e-12)


@pytest.mark.parametrize(("rate", "polyphase"), [(800, False), (22_050, True)])
def test_rates_that_have_no_envelopes_are_refused(rate, polyphase):
    with pytest.raises(ValueError, match="sound at more than 800 Hz"):
        envelopes(torch.zeros(1, 30_000), rate, polyphase)
