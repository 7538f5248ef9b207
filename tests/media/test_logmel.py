from pathlib import Path

import numpy as np
import pytest
import torch

from coview.media.logmel import db_spectrogram, log_mel, mel_filterbank, peak_normalise

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "audio-spectrogram.npz")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


def test_log_mel_equals_the_reference():
    got = log_mel(golden("waveform_16k"), sample_rate=16000)
    expected = golden("logmel_16k_512_256_128_znorm0")
    assert got.shape == (1, *expected.shape)
    assert (got[0] - expected).abs().max() < 1e-4


def test_filterbank_equals_the_reference():
    bank = mel_filterbank(16000, 512, 128)
    assert torch.allclose(bank.sum(dim=1), golden("mel_basis_rowsum"), atol=1e-6)
    assert torch.allclose(bank[[0, 63, 127]], golden("mel_basis_rows_0_63_127"), atol=1e-6)


@pytest.mark.parametrize(
    ("n_fft", "hop", "name"),
    [(512, 240, "logspec_24k_n512_hop0.01_znorm0"), (256, 480, "logspec_24k_n256_hop0.02_znorm0")],
)
def test_db_spectrogram_equals_the_reference(n_fft, hop, name):
    got = db_spectrogram(golden("waveform_24k"), n_fft=n_fft, hop=hop)
    assert got.shape == golden(name).shape
    assert (got - golden(name)).abs().max() < 2e-3


def test_peak_normalisation_equals_the_reference_and_keeps_silence():
    head = peak_normalise(golden("waveform_16k"))[:64]
    assert torch.allclose(head, golden("normalised_waveform_16k_head"), atol=1e-6)
    assert peak_normalise(torch.zeros(2, 10)).abs().max() == 0


def test_a_row_does_not_depend_on_its_batch():
    waves = torch.randn(3, 2, 4000, generator=torch.Generator().manual_seed(0))
    for function in (lambda w: log_mel(w, sample_rate=16000), db_spectrogram):
        torch.testing.assert_close(function(waves)[1, 1], function(waves[1, 1]), rtol=1e-5, atol=1e-4)


def test_a_tone_lights_the_band_that_holds_its_frequency():
    time = torch.arange(16000) / 16000
    for hz in (300.0, 1000.0, 4000.0):
        band = log_mel(torch.sin(2 * torch.pi * hz * time), sample_rate=16000).mean(dim=-1)[0].argmax()
        centre = (mel_filterbank(16000, 512, 128)[band] * torch.linspace(0, 8000, 257)).sum()
        assert abs(float(centre) - hz) < 80


def test_narrow_filters_never_vanish():
    bank = mel_filterbank(8000, 256, 128)
    assert torch.allclose(bank.sum(dim=1), torch.ones(128))


def test_no_waveforms_give_no_spectrograms():
    none = torch.zeros(0, 4000)
    assert log_mel(none, sample_rate=8000, mels=16).shape == (0, 1, 16, 15)
    assert db_spectrogram(none).shape == (0, 1, 16, 257)
