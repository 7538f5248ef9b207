"""Damaged media by the hundred, read in a process of their own: `python mutations.py COUNT SEED FOLDER` prints JSON."""

from __future__ import annotations

import io
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from coview.errors import MediaError
from coview.media.container import open_media
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_samples
from coview.media.probe import probe
from coview.media.sounds import read_sound

SECONDS_A_FILE = 20
FILMS = {  # suffix -> picture codec, sound codec
    "mp4": ("libx264", "aac"), "mov": ("libx264", "aac"), "mkv": ("libx264", "flac"), "webm": ("libvpx", "libopus"),
    "avi": ("libx264", "libmp3lame"), "mpg": ("mpeg2video", "mp2"), "ts": ("mpeg2video", "mp2"), "flv": ("flv", "aac"),
    "wmv": ("wmv2", "libmp3lame"),
}  # fmt: skip
SOUNDS = {
    "wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "ogg": "libopus", "m4a": "aac", "aiff": "pcm_s16be",
}  # fmt: skip
STILLS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "avif": "AVIF"}
# Numbers that lengths, counts and rates are not made for, and the words near which they stand in files.
NUMBERS = (0, 1, 2**16, 10**9, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)
WORDS = (b"stsz", b"stts", b"stco", b"stsc", b"ctts", b"mdhd", b"tkhd", b"elst", b"mvhd", b"pasp", b"strf", b"strh",
         b"avih", b"idx1", b"fmt ", b"data", b"COMM", b"SSND", b"IHDR", b"ispe", b"iloc", b"OggS", b"VP8 ")  # fmt: skip


def seeds(folder: Path) -> dict[str, bytes]:
    """Return a small whole file of each kind, by suffix."""
    codecs, found = av.codec.codecs_available, {}
    for suffix, (picture, sound) in [*FILMS.items(), *((kind, ("", codec)) for kind, codec in SOUNDS.items())]:
        if {picture, sound} - {""} <= codecs:
            found[suffix] = _film(folder / f"seed.{suffix}", picture, sound)
    for suffix, kind in STILLS.items():
        out, images = io.BytesIO(), [Image.fromarray(_picture(k)) for k in range(2)]
        images[0].save(out, kind, **({"save_all": True, "append_images": images[1:]} if suffix == "gif" else {}))
        found[suffix] = out.getvalue()
    return found


def _picture(number: int) -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, (x * y + 40 * number) % 256], -1).astype(np.uint8)


def _film(path: Path, picture: str, sound: str) -> bytes:
    rate = 48000 if sound == "libopus" else 44100 if picture else 16000
    with av.open(str(path), "w") as out:
        if picture:
            video = out.add_stream(picture, rate=25, options={"g": "6", "bf": "2"} if picture == "libx264" else {})
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream(sound, rate=rate, layout="mono")
        for k in range(12 if picture else 0):
            frame = av.VideoFrame.from_ndarray(_picture(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(video.encode(frame))
        if picture:
            out.mux(video.encode(None))
        tone = (9000 * np.sin(np.arange(rate // 2) * 0.1)).astype(np.int16)
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=rate)
        size = audio.codec_context.frame_size or 1024
        for at in range(0, len(tone), size):
            frame = av.AudioFrame.from_ndarray(tone[None, at : at + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            for piece in resampler.resample(frame):
                out.mux(audio.encode(piece))
        out.mux(audio.encode(None))
    return path.read_bytes()


def damaged(whole: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of `count` damaged files, every kind of damage for every kind of file in turn."""
    draw, suffixes = random.Random(seed), sorted(whole)
    for number in range(count):
        suffix, damage = suffixes[number % len(suffixes)], DAMAGES[number // len(suffixes) % len(DAMAGES)]
        data = damage(bytearray(whole[suffix]), draw, whole)
        yield f"{number:04d}-{damage.__name__.strip('_')}.{suffix}", bytes(data)


def _bits(data, draw, whole):
    for _ in range(draw.choice((1, 4, 30))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _head_bits(data, draw, whole):
    for _ in range(draw.randint(1, 10)):
        data[draw.randrange(min(512, len(data)))] ^= 1 << draw.randrange(8)
    return data


def _cut(data, draw, whole):
    return data[: draw.randint(1, len(data) - 1)]


def _hole(data, draw, whole):
    begin, size = draw.randrange(len(data)), draw.randint(1, 1 + len(data) // 4)
    data[begin : begin + size] = bytes((0, 255)[draw.randrange(2)] for _ in range(1)) * len(data[begin : begin + size])
    return data


def _number(data, draw, whole):
    present = [word for word in WORDS if word in data]
    at = data.index(draw.choice(present)) + draw.randrange(-4, 36, 4) if present else draw.randrange(len(data))
    at = min(max(0, at), len(data) - 4)
    value = draw.choice((*NUMBERS, draw.getrandbits(32)))
    data[at : at + 4] = value.to_bytes(4, draw.choice(("little", "big")))
    return data


def _other_head(data, draw, whole):
    size = 2 ** draw.randint(2, 8)
    return bytearray(whole[draw.choice(sorted(whole))][:size]) + data[size:]


def _doubled(data, draw, whole):
    begin, size = draw.randrange(len(data)), draw.randint(1, 4000)
    return data[: begin + size] + data[begin : begin + size] * draw.randint(1, 5) + data[begin + size :]


def _noise(data, draw, whole):
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.randint(1, 2000)) + data[at:]


DAMAGES = (_bits, _head_bits, _cut, _hole, _number, _other_head, _doubled, _noise)


def read(path: Path) -> str:
    """Probe a file and cut from it as training does; return "refused", "failed" (a cut) or "read"."""
    try:
        facts = probe(path)
    except MediaError:
        return "refused"
    cuts = []
    for share in (0.0, 0.6):
        if facts.video is not None:
            start = facts.video.start + share * facts.video.duration
            cuts.append((VideoCut(start=max(0.0, start), count=3, fps=16.0, size=32), None))
        if facts.audio is not None and not facts.audio.silent:
            start = max(0.0, facts.audio.start + share * facts.audio.duration)
            cuts.append((None, AudioCut(start=start, seconds=0.2, sample_rate=16000)))
    try:
        [together] = read_samples(path, [cuts], sequential=facts.sequential)
    except MediaError:
        return "failed"
    for (_, cut), (_, sound) in zip(cuts, together, strict=True):
        if sound is not None and sound.valid > 0 and not bool(sound.waveform.any()) and _heard(path, cut):
            raise AssertionError("zeros where there is sound")
    return "read"


def _heard(path: Path, cut: AudioCut) -> bool:
    """Tell whether decoding from the beginning finds sound in a cut."""
    with open_media(path, ("audio",)) as media:
        return bool(np.abs(read_sound(media, cut).waveform.numpy()).max() > 1e-3)


def main(count: int, seed: int, folder: Path) -> None:
    """Damage and read; print what became of the files."""
    tally: dict[str, int] = {}
    uncaught, slowest = [], 0.0
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("hangs")))
    for name, data in damaged(seeds(folder), count, seed):
        path = folder / name
        path.write_bytes(data)
        print(name, file=sys.stderr, flush=True)  # the last one, where the process dies
        begun = time.process_time()
        signal.alarm(SECONDS_A_FILE)
        try:
            outcome = read(path)
        except BaseException as error:
            outcome = "uncaught"
            uncaught.append(f"{name}: {type(error).__name__}: {error}")
        signal.alarm(0)
        slowest = max(slowest, time.process_time() - begun)
        tally[outcome] = tally.get(outcome, 0) + 1
        if outcome != "uncaught":
            path.unlink()
    # Not ru_maxrss: it begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    print(json.dumps({"tally": tally, "uncaught": uncaught, "slowest_s": round(slowest, 2), "peak_mb": round(peak)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
