"""How many training samples one CPU-second yields, straight from long-GOP files, and how near that is to the decoder.

    python benchmarks/loader.py [--folder FOLDER] [--samples 96] [--workers 0]
    python benchmarks/loader.py --stored [--steps 400]     # from features on disk: see stored_features.py

Files (made once in the folder): 24 pictures of 340 x 256 at 25 and 30 frames per second by turns, 10 s, H.264 (preset
fast, CRF 23, a key frame every 250 frames), sound AAC stereo 44.1 kHz. A quarter each of test patterns, a zoom into a
fractal, a cellular automaton, and gradients with luma grain (deviation 8); sounds: tone, sweep, pink and brown noise.
Sample: 8 frames of 112 x 112 at 16 per second, from a random start, and 1 s of sound as 128 log-mel bands.

CPU-seconds are user + system time of this process and its finished children; wall time is not reported, because it
says more about the other users of a shared computer.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import stored_features
import torch

from coview.data.augment.settings import PRESETS
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.preprocess import Preprocess
from coview.data.source import cropped
from coview.data.views import AudioView, VideoView
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import read_clip

SECONDS, RATE, BATCH = 10, 44100, 8
PICTURES = {
    "patterns": "testsrc2=s=340x256:r={fps}",
    "fractal": "mandelbrot=s=340x256:r={fps}",
    "automaton": "cellauto=s=340x256:r={fps}:rule=110:seed={n}",
    "grain": "gradients=s=340x256:r={fps}:seed={n}:speed=0.05,format=yuv420p,noise=c0s=8:c0f=t:all_seed={n}",
}
SOUNDS = (
    "sine=f={hz}:r=44100",
    "aevalsrc=0.4*sin(2*PI*(200+{hz}*t)*t):s=44100",
    "anoisesrc=r=44100:c=pink:a=0.4:seed={n}",
    "anoisesrc=r=44100:c=brown:a=0.4:seed={n}",
)
VIEWS = {"video": VideoView(frames=8, fps=16.0, size=112), "audio": AudioView(seconds=1.0)}


def make_files(folder: Path, count: int = 24, gop: int = 250) -> list[Path]:
    """Write the files that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n:02d}-{list(PICTURES)[n % 4]}.mp4" for n in range(count)]
    for n, path in enumerate(paths):
        if not path.exists():
            fill = {"fps": (25, 30)[n // 4 % 2], "n": n, "hz": 220 + 40 * n}
            part = path.with_suffix(".part")
            _write(
                part, list(PICTURES.values())[n % 4].format(**fill), SOUNDS[n // 8 % 4].format(**fill), fill["fps"], gop
            )
            part.rename(path)
    return paths


def _write(path: Path, picture: str, sound: str, fps: int, gop: int) -> None:
    with (
        av.open(picture, format="lavfi") as pictures,
        av.open(sound, format="lavfi") as sounds,
        av.open(str(path), "w", format="mp4") as out,
    ):
        video = out.add_stream("libx264", rate=fps, options={"preset": "fast", "crf": "23", "g": str(gop)})
        video.width, video.height, video.pix_fmt = 340, 256, "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="stereo")
        for k, frame in enumerate(islice(pictures.decode(video=0), SECONDS * fps)):
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base, frame.pict_type = k, Fraction(1, fps), 0
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        resampler = av.AudioResampler("fltp", "stereo", RATE, 1024)
        for block in islice(_blocks(sounds, resampler), SECONDS * RATE // 1024):
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))


def _blocks(sounds: Any, resampler: Any) -> Iterator[Any]:
    for frame in sounds.decode(audio=0):
        yield from resampler.resample(frame)


def cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in use)


def per_second(work: Callable[[], int]) -> float:
    """Samples per CPU-second of `work`, which returns how many it made."""
    begin = cpu_seconds()
    count = work()
    return count / (cpu_seconds() - begin)


def decode_everything(path: Path, start: float) -> None:
    """Decode as a plain loader does: every frame from the key frame to the clip's last, to full-size RGB at the end."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        container.seek(int(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time >= start:
                frame.to_ndarray(format="rgb24")
            if frame.time >= start + 0.5:
                break


def main() -> None:
    """Make the files, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-loader")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--stored", action="store_true")
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.stored:
        print(json.dumps(stored_features.measure(arguments.folder / "stored", arguments.steps), indent=2))
        return

    paths = make_files(arguments.folder / "clips")
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    collection = index_source(str(arguments.folder / "clips"), arguments.folder / "index", workers=0, overwrite=True)
    source = cropped(MediaSource(collection, VIEWS), VIEWS, PRESETS["xid"])
    loader = Loader(source, batch_size=BATCH, seed=0, clips_per_recording=4, workers=arguments.workers)
    preprocess = Preprocess(VIEWS, PRESETS["xid"])
    starts = torch.rand(arguments.samples, generator=torch.Generator().manual_seed(0)).mul(9).tolist()
    cuts = [(paths[k % len(paths)], start) for k, start in enumerate(starts)]

    def plain() -> int:
        for path, start in cuts:
            decode_everything(path, start)
        return len(cuts)

    def picture(backend_sound: bool) -> int:
        for path, start in cuts:
            sound = AudioCut(start=start, seconds=1.0, sample_rate=16000) if backend_sound else None
            read_clip(path, VideoCut(start=start, count=8, fps=16.0, size=VIEWS["video"].decode_size), sound)
        return len(cuts)

    def load(prepare: bool) -> int:
        for batch in islice(loader.stream(0), arguments.samples // BATCH):
            if prepare:
                preprocess(batch, True)
        return arguments.samples // BATCH * BATCH

    load(True)  # warm: files in the page cache, libraries loaded
    result = {
        "file_megabytes": size,
        "plain_picture_decode": per_second(plain),
        "picture_only": per_second(lambda: picture(False)),
        "picture_and_sound": per_second(lambda: picture(True)),
        "loader": per_second(lambda: load(False)),
        "loader_and_preprocess": per_second(lambda: load(True)),
    }
    for kind in PICTURES:
        some = [(path, start) for path, start in cuts if kind in path.name]
        result[f"picture_and_sound/{kind}"] = per_second(
            lambda some=some: len(
                [
                    read_clip(
                        path,
                        VideoCut(start=start, count=8, fps=16.0, size=VIEWS["video"].decode_size),
                        AudioCut(start=start, seconds=1.0, sample_rate=16000),
                    )
                    for path, start in some
                ]
            )
        )
    print(json.dumps({name: round(value, 2) for name, value in result.items()}, indent=2))


if __name__ == "__main__":
    main()
