"""A folder of odd and of deliberately bad media, made with PyAV; tests, docs and other tests can call it."""

from __future__ import annotations

import io
import math
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SECONDS = 2.0


def tone(seconds: float, rate: int, channels: int = 1, gain: float = 0.5) -> np.ndarray:
    """Return float32 (channels, samples), a tone per channel."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([gain * np.sin(2 * math.pi * (220 + 40 * c) * time) for c in range(channels)]).astype(np.float32)


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Return a picture (height, width, 3) that says which frame it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * 3 + index * 5) % 256, (y * 3) % 256, np.full_like(x, index * 2 % 256)], -1).astype(np.uint8)


def write(
    target,
    *,
    format: str | None = None,
    video: str | None = "libx264",
    audio: str | None = "aac",
    seconds: float = SECONDS,
    sound: np.ndarray | None = None,
    rate: int = 44100,
    layout: str = "stereo",
    size: tuple[int, int] = (64, 48),
    times: list[int] | None = None,
    late: float = 0.0,
    options: dict[str, str] | None = None,
) -> None:
    """Write a small file; `times` are frame times in 1/100 s, `late` delays the sound."""
    with av.open(target, "w", format=format, options=options or {}) as container:
        if video:
            stream = container.add_stream(video, rate=25, options={"preset": "ultrafast"} if video == "libx264" else {})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 100)
        if audio:
            track = container.add_stream(audio, rate=rate, layout=layout)
        if video:
            for index, at in enumerate(times or range(0, round(seconds * 100), 4)):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, 100)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if audio:
            channels = len(track.layout.channels)
            data = tone(seconds, rate, channels) if sound is None else sound
            kind = "s16" if audio.startswith("pcm") or audio == "flac" else "fltp"
            for first in range(0, data.shape[1], 1024):
                piece = np.ascontiguousarray(data[:, first : first + 1024])
                if kind == "s16":
                    piece = np.ascontiguousarray((piece.T.reshape(1, -1) * 32767).astype(np.int16))
                frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = first + round(late * rate)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))


class _Pipe(io.RawIOBase):
    """A target that cannot seek, as a live stream's."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, piece) -> int:
        self.data += bytes(piece)
        return len(piece)


def rotate(path: Path) -> None:
    """Write a quarter turn into the matrix of an MP4 file's picture track, as telephones do."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    matrix = header + 4 + 4 + 20 + 16  # version 0: two times, track, reserved, duration; layer, group, volume
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def make_bad_media(folder: Path) -> dict[str, str]:
    """Fill a folder, and return for every file its reason ("!word"), its flag ("word"), "" for none, "-" if ignored."""
    deep = folder / "deep" / "er"
    deep.mkdir(parents=True)
    write(str(folder / "good.mp4"))
    write(str(deep / "good.mkv"), video="mpeg4", audio="flac")
    whole = (folder / "good.mp4").read_bytes()
    write(str(folder / "fast.mp4"), seconds=4, options={"movflags": "faststart"})
    fast = (folder / "fast.mp4").read_bytes()
    write(str(folder / "film.webm"), format="webm", video="libvpx", audio="libopus", rate=48000)
    webm = (folder / "film.webm").read_bytes()

    # Odd but good: kept, each with its flag.
    write(str(folder / "silent.mp4"), sound=np.zeros((2, 88200), np.float32))
    write(str(folder / "no-sound.mp4"), audio=None)
    write(str(folder / "no-picture.wav"), video=None, audio="pcm_s16le")
    write(str(folder / "five-one.mkv"), audio="flac", layout="5.1", rate=48000)
    write(str(folder / "five-kilohertz.wav"), video=None, audio="pcm_s16le", rate=5000, layout="mono")
    write(str(folder / "late.mp4"), late=0.7)
    write(str(folder / "uneven.mp4"), times=[0, 4, 8, 20, 22, 24, 50, 52, 90, 94, 98, 150, 154, 190, 194])
    write(str(folder / "rotated.mp4"))
    rotate(folder / "rotated.mp4")
    pipe = _Pipe()
    write(pipe, format="matroska", video="mpeg4", audio="flac")
    (folder / "endless.mkv").write_bytes(pipe.data)
    (folder / "really-webm.mp4").write_bytes(webm)
    (folder / "film.dat").write_bytes(whole)

    # Bad: quarantined, each with its reason.
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no film\n" * 200, encoding="utf-8")
    (folder / "noise.mkv").write_bytes(np.random.default_rng(0).integers(0, 256, 20000, np.uint8).tobytes())
    (folder / "beheaded.mp4").write_bytes(whole[: len(whole) * 2 // 3])  # its table of contents was at the end
    (folder / "half.mp4").write_bytes(fast[: len(fast) * 3 // 5])
    (folder / "header-only.mp4").write_bytes(fast[: fast.index(b"mdat") + 12])
    (folder / "half.webm").write_bytes(webm[: len(webm) // 2])
    wave = (folder / "no-picture.wav").read_bytes()
    (folder / "no-samples.wav").write_bytes(wave[: wave.index(b"data")] + b"data" + bytes(4))
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "spoilt.m4a").write_bytes(_spoilt(folder))

    # No media at all.
    (folder / "notes.txt").write_text("notes", encoding="utf-8")
    (folder / "README").write_text("read me", encoding="utf-8")
    (folder / ".hidden.mp4").write_bytes(whole)
    return {
        "good.mp4": "", "deep/er/good.mkv": "", "fast.mp4": "", "film.webm": "copy", "silent.mp4": "silent",
        "no-sound.mp4": "no-audio", "no-picture.wav": "no-video", "five-one.mkv": "multichannel",
        "five-kilohertz.wav": "odd-rate", "late.mp4": "late-audio", "uneven.mp4": "variable-rate",
        "rotated.mp4": "rotated", "endless.mkv": "no-duration", "really-webm.mp4": "wrong-extension",
        "film.dat": "wrong-extension",
        "empty.mp4": "!empty", "text.mp4": "!not-media", "noise.mkv": "!not-media", "beheaded.mp4": "!truncated",
        "half.mp4": "!truncated", "header-only.mp4": "!truncated", "half.webm": "!truncated",
        "no-samples.wav": "!zero-length", "gone.mp4": "!missing", "spoilt.m4a": "!undecodable",
        "notes.txt": "-", "README": "-", ".hidden.mp4": "-",
    }  # fmt: skip


def _spoilt(folder: Path) -> bytes:
    """Return a sound file whose table is whole and whose contents are rubbish."""
    path = folder / "spoilt.m4a"
    write(str(path), format="mp4", video=None)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    length = struct.unpack(">I", data[begin - 8 : begin - 4])[0] - 8
    rubbish = np.random.default_rng(1).integers(0, 256, length, np.uint8).tobytes()
    data[begin : begin + length] = rubbish
    return bytes(data)
