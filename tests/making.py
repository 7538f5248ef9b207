"""Media files with a known content, in any container, made by PyAV alone."""

from fractions import Fraction

import av
import numpy as np

SIDE = 64
CLOCK = 90000


def write(
    path,
    *,
    picture_times=None,
    pictures=None,
    sound=None,
    rate=44100,
    sound_start=0.0,
    layout="mono",
    codecs=("libx264", "aac"),
    options=None,
    container_options=None,
    file_format=None,
):
    """Write pictures (T, H, W, 3) shown at picture_times, and sound (channels, samples) from second sound_start."""
    with av.open(str(path), "w", format=file_format, options=container_options or {}) as out:
        video = audio = None
        if pictures is not None:
            video = out.add_stream(codecs[0], rate=25, options={"preset": "veryfast", **(options or {})})
            video.height, video.width, video.pix_fmt = *pictures.shape[1:3], "yuv420p"
            video.codec_context.time_base = Fraction(1, CLOCK)
        if sound is not None:
            quality = {"aac_coder": "fast"} if codecs[1] == "aac" else {}
            audio = out.add_stream(codecs[1], rate=rate, layout=layout, options=quality)
            if codecs[1] == "aac":
                audio.bit_rate = 96000
            audio.codec_context.time_base = Fraction(1, rate)
        if video is not None:
            for time, picture in zip(picture_times, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if audio is not None:
            block = audio.codec_context.frame_size or 1024
            planar = audio.codec_context.format.name.endswith("p")
            for at in range(0, sound.shape[1], block):
                piece = np.ascontiguousarray(sound[:, at : at + block], dtype=np.float32)
                if not planar:
                    piece = np.clip(piece.T.reshape(1, -1) * 32767, -32768, 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(piece, format="fltp" if planar else "s16", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = at + round(sound_start * rate)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def steps(count, side=SIDE):
    """Grey pictures whose level says their number: level 20 + 7 k."""
    levels = (20 + 7 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, side, side, 3))


def numbers(frames):
    """Return the number that each frame (3, T, H, W) of `steps` shows."""
    return [round((level - 20) / 7) for level in frames.float().mean(dim=(0, 2, 3)).tolist()]


def tone(seconds, rate, hz=440.0, channels=1):
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat((0.5 * np.sin(2 * np.pi * hz * time))[None], channels, axis=0).astype(np.float32)


def noise_pictures(count, side=SIDE, seed=0):
    """A textured picture that moves, with a little grain: what makes an encoder use all its kinds of frames."""
    generator = np.random.default_rng(seed)
    texture = np.kron(generator.integers(0, 255, (2 * side // 8, 2 * side // 8, 3)), np.ones((8, 8, 1)))
    moved = np.stack([np.roll(texture, (2 * k, 3 * k), (0, 1))[:side, :side] for k in range(count)])
    return np.clip(moved + generator.normal(0, 4, moved.shape), 0, 255).astype(np.uint8)
