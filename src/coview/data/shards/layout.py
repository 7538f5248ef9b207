"""The layout of a prepared set, which writer and reader share.

    shards.json         settings, the collection it was made from, counts; "complete" is true when all is there
    recordings.parquet  the collection's table, without what could not be read
    clips.parquet       the offset table: one row per stored clip
    shard-00000.tar     the clips; KEY.json, KEY.flac, KEY.0000.jpg, KEY.0001.jpg, ... for each, next to each other
    shard-00000.parquet what of clips.parquet lies in this tar, and what could not be read; its presence says "done"

KEY is the recording's row in the original collection and the clip's number, such as 00000042-00. KEY.json says which
recording and seconds these are, and how long each member is, so that a reader needs two reads for any piece of a clip.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from coview.data.recording import Recording

FORMAT = 1
CARD, RECORDINGS, CLIPS = "shards.json", "recordings.parquet", "clips.parquet"
BLOCK = 512  # bytes of a tar header, and what every member is padded to

# One row per stored clip; offset and bytes are those of all its members, so that a reader can skip KEY.json's header.
# A clip that could not be read has no place, but a problem; clips.parquet leaves it out.
CLIP_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("clip", pa.int32()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("shard", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("json_bytes", pa.int32()),
        pa.field("problem", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How recordings are stored.

    Attributes:
        fps, size, quality: of the pictures: rate, short side in pixels (the `decode_size` of the view that will be cut
            from them), JPEG quality from 1 to 100.
        sample_rate: of the sound, mono, 16 bit.
        seconds: about how long a stored clip is. A recording is cut into clips of equal length that follow each other,
            as many as come nearest to this length; one of up to 1.5 times as long stays whole.
        clips: at most this many clips of a recording, spread evenly; None stores all of it.
        recordings_per_shard: what one tar holds.
    """

    fps: float = 16.0
    size: int = 128
    quality: int = 90
    sample_rate: int = 16000
    seconds: float = 10.0
    clips: int | None = None
    recordings_per_shard: int = 100

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.size < 8 or not 1 <= self.quality <= 100 or self.sample_rate < 1000:
            raise ValueError("preparing needs fps > 0, size >= 8, quality in 1..100 and sample_rate >= 1000")
        if self.seconds <= 0 or self.recordings_per_shard < 1 or (self.clips is not None and self.clips < 1):
            raise ValueError("preparing needs seconds > 0, clips >= 1 and recordings_per_shard >= 1")


def shard_name(index: int) -> str:
    """Return the name of a tar."""
    return f"shard-{index:05d}.tar"


def spans(recording: Recording, settings: PrepareSettings) -> list[tuple[float, float]]:
    """Return the begin and end, in seconds, of the clips stored of a recording."""
    whole = recording.end - recording.start
    count = max(1, round(whole / settings.seconds))
    length = whole / count
    edges = [recording.start + k * length for k in range(count)] + [recording.end]
    if settings.clips is None or settings.clips >= count:
        return list(itertools.pairwise(edges))
    room = whole - length
    places = [k / (settings.clips - 1) if settings.clips > 1 else 0.5 for k in range(settings.clips)]
    return [(recording.start + room * share, recording.start + room * share + length) for share in places]


def padded(size: int) -> int:
    """Return how many bytes of a tar a member of `size` bytes takes, its header left out."""
    return -(-size // BLOCK) * BLOCK


def describe(recording: Recording, clip: int, span: tuple[float, float]) -> dict[str, Any]:
    """Return the part of KEY.json that other tools want."""
    words = {name: getattr(recording, name) for name in ("id", "label", "caption", "split", "group")}
    return {**words, "clip": clip, "start": span[0], "end": span[1]}
