"""FLAC in memory: sound kept without loss, and any part of it decoded without the rest.

A FLAC frame needs no other frame, so that the sizes of the frames are all that a reader needs to fetch a part.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from coview.errors import MediaError

Samples = NDArray[np.int16]
BLOCK = 1024  # samples per FLAC frame: little to decode beside a cut, and 1 % larger than the codec's own choice


@dataclass(frozen=True)
class Flac:
    """An encoded sound: the bytes of a .flac file, the length of its header, and of each frame of `block` samples."""

    data: bytes
    header: int
    frames: list[int]
    block: int


def encode_flac(samples: Samples, rate: int) -> Flac:
    """Encode mono int16 samples (N,), N >= 1, as a whole .flac file."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac", options={"metadata_header_padding": "0"}) as container:
        stream: Any = container.add_stream("flac", rate=rate, layout="mono")
        stream.format = "s16"
        stream.codec_context.options = {"frame_size": str(BLOCK)}
        frames = []
        for at in [*range(0, len(samples), BLOCK), None]:
            frame = None
            if at is not None:
                piece = np.ascontiguousarray(samples[None, at : at + BLOCK])
                frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, at
            for packet in stream.encode(frame):
                if packet.size:
                    frames.append(packet.size)
                    container.mux(packet)
        block = stream.codec_context.frame_size
    data = out.getvalue()
    return Flac(data, len(data) - sum(frames), frames, block)


class FlacDecoder:
    """Decodes frames of FLAC files written by `encode_flac`; one decoder serves any number of files."""

    def __init__(self) -> None:
        self._context: Any = None

    def __call__(self, frames: Sequence[bytes], name: str) -> Samples:
        """Return the int16 samples of consecutive frames of one file, in pieces of one or more.

        Raises:
            MediaError: "undecodable", with `name`.
        """
        if self._context is None:
            self._context = av.CodecContext.create("flac", "r")
            self._context.thread_count = 1
        try:
            # One packet may hold many frames, and a plane is read without the copy that an array of all planes makes.
            packet = av.Packet(b"".join(frames))
            found = [np.frombuffer(f.planes[0], np.int16, f.samples) for f in self._context.decode(packet)]
        except av.error.FFmpegError as error:
            self._context = None
            raise MediaError(name, "undecodable", f"the stored sound is damaged ({error})") from error
        return np.concatenate(found)

    def __getstate__(self) -> dict[str, Any]:
        return {"_context": None}  # a worker makes its own
