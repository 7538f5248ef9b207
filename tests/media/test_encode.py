import av
import numpy as np
import pytest
import torch

from coview.errors import UsageError
from coview.media.decode import read_audio, read_video
from coview.media.encode import picture_encoder, write_clip
from coview.media.probe import probe


def moving(count, height=64, width=64):
    row = torch.arange(width)[None, None, None, :] + 4 * torch.arange(count)[None, :, None, None]
    wave = 127 + 100 * torch.sin(row / 9) * torch.cos(torch.arange(height) / 11)[None, None, :, None]
    return wave.expand(3, -1, -1, -1).to(torch.uint8)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_the_encoders_delay_is_taken_back(tmp_path, rate):
    """AAC comes out 1,024 samples late unless the file says so: the signal must be where it was put."""
    time = torch.arange(2 * rate) / rate
    waveform = 0.4 * torch.sin(2 * torch.pi * (150 * time + 300 * time**2))
    write_clip(tmp_path / "a.mp4", None, None, waveform, rate)
    got = read_audio(tmp_path / "a.mp4", 0.0, 2.0, rate)
    size = 4 * rate
    spectrum = np.fft.rfft(got.numpy(), size) * np.conj(np.fft.rfft(waveform.numpy(), size))
    assert int(np.fft.irfft(spectrum, size).argmax()) == 0
    assert (got - waveform).square().mean() < 1e-3 * waveform.square().mean()


def test_every_frame_is_kept_and_looks_like_itself(tmp_path):
    frames = moving(40)
    write_clip(tmp_path / "a.mp4", frames, 16.0, torch.zeros(40000), 16000, crf=12)
    got = read_video(tmp_path / "a.mp4", 0.0, 40, 16.0, 64)
    error = (got.float() - frames.float()).square().mean(dim=(0, 2, 3))
    assert float(error.max()) < 100  # 28 dB, every frame: none is another one
    facts = probe(tmp_path / "a.mp4")
    assert (facts.video.frames, facts.video.fps, facts.video.constant_rate) == (40, 16.0, True)
    assert facts.flags == ("silent",)


def test_the_name_appears_with_the_whole_file_only(tmp_path):
    good = moving(4)
    write_clip(tmp_path / "a.mp4", good, 25.0, None, None)
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(UsageError):
        write_clip(tmp_path / "a.mp4", good, 25.0, None, None, times=torch.tensor([0.0, 0.2, 0.1, 0.3]))
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_variable_times_are_written(tmp_path):
    times = torch.tensor([0.0, 0.1, 0.15, 0.4])
    write_clip(tmp_path / "a.mp4", moving(4), 10.0, None, None, times=times)
    facts = probe(tmp_path / "a.mp4")
    assert not facts.video.constant_rate
    assert "variable-rate" in facts.flags


@pytest.mark.parametrize(
    ("frames", "fps", "waveform", "rate"),
    [
        (None, None, None, None),
        (torch.zeros(3, 2, 63, 64, dtype=torch.uint8), 25.0, None, None),
        (torch.zeros(3, 2, 64, 64), 25.0, None, None),
        (torch.zeros(3, 2, 64, 64, dtype=torch.uint8), None, None, None),
        (None, None, torch.zeros(2, 100), 16000),
        (None, None, torch.full((100,), float("nan")), 16000),
        (None, None, torch.zeros(100), 12345),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, frames, fps, waveform, rate):
    with pytest.raises(UsageError):
        write_clip(tmp_path / "a.mp4", frames, fps, waveform, rate)
    assert not list(tmp_path.iterdir())


def test_without_libx264_another_encoder_writes_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(av.codec, "codecs_available", av.codec.codecs_available - {"libx264", "libopenh264"})
    picture_encoder.cache_clear()
    frames = moving(20)
    try:
        with pytest.warns(UserWarning, match="written by mpeg4"):
            write_clip(tmp_path / "a.mp4", frames, 16.0, torch.zeros(20000), 16000)
        got = read_video(tmp_path / "a.mp4", 0.0, 20, 16.0, 64)
        assert float((got.float() - frames.float()).square().mean(dim=(0, 2, 3)).max()) < 100
        assert probe(tmp_path / "a.mp4").video.codec == "mpeg4"
        monkeypatch.setattr(av.codec, "codecs_available", set())
        picture_encoder.cache_clear()
        with pytest.raises(UsageError, match="libx264, libopenh264, mpeg4"):
            write_clip(tmp_path / "b.mp4", frames, 16.0, None, None)
        assert not list(tmp_path.glob("*b.mp4*"))
    finally:
        picture_encoder.cache_clear()
