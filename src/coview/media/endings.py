"""Whether a file goes on to its end, as far as its bytes can tell: what is cut off is flagged, what stops is refused.

MP4, Matroska, AVI, ASF and FLV state a length in time; these, and WAV, AIFF and MP3 (in a Xing header), state one in
bytes. Ogg and GIF end with a mark; MPEG-TS comes in packets of one size, MPEG-PS in packets that state theirs. An MP3
without that header, ADTS or a raw stream that stops between two packets cannot be told from a shorter one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from coview.media.container import Media
from coview.media.regular import head_of

# A file that ends earlier than its header says, by more than this, was cut off.
CUT_OFF_SECONDS = 0.5
_KNOWS_LENGTH = frozenset({"mov", "matroska", "avi", "wav", "flac", "asf", "flv"})
_TAIL = 1 << 16  # no Ogg page is longer
_UNKNOWN = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # what is written where a length is not known yet
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # GUID of the File Properties Object


def promised(media: Media) -> float:
    """Return the seconds that the headers declare for the chosen streams, or else for the file; 0 for none."""
    declared = [seconds for stream in media.streams if (seconds := _declared(stream)) is not None]
    if not declared and media.container.duration is not None:
        declared = [media.container.duration / 1e6]
    return max(declared, default=0.0)


def check_whole(media: Media, ends: Mapping[int, float]) -> None:
    """Refuse a file of a format that knows its length where the data end earlier.

    Args:
        ends: stream index -> where it ends, in seconds on the recording's clock; of streams that are not chosen too.

    Raises:
        MediaError: "truncated".
    """
    if media.format not in _KNOWS_LENGTH:
        return
    wanted, known = promised(media), any(_declared(stream) is not None for stream in media.streams)
    chosen = {stream.index for stream in media.streams} if known else ends.keys()
    found = max((end for index, end in ends.items() if index in chosen), default=0.0)
    if found < wanted - CUT_OFF_SECONDS:
        raise media.error("truncated", f"the header promises {wanted:.2f} s, and the data end at {found:.2f} s")


def is_cut_off(path: Path, kind: str) -> bool:
    """Tell whether a file's bytes say that there should be more of them.

    Args:
        kind: FFmpeg's name of the container, or a still picture's codec.
    """
    size, head = path.stat().st_size, head_of(path, 1 << 16)
    if kind in ("wav", "aiff", "avi", "webp"):
        stated = int.from_bytes(head[4:8], "big" if kind == "aiff" else "little")
        # Some writers count a byte of padding that they do not write.
        return head[:4] in (b"RIFF", b"FORM") and stated not in _UNKNOWN and size < 7 + stated
    if kind == "asf":
        at = head.find(_ASF_FILE)
        stated = int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0
        live = at >= 0 and head[at + 88] & 1  # broadcasts do not know theirs
        return not live and size < stated
    if kind == "flv":
        at = head.find(b"filesize\x00")
        length = float(struct.unpack_from(">d", head, at + 9)[0]) if 0 <= at <= len(head) - 17 else 0.0
        return size < length < 1e15
    if kind == "mp3":
        return size < _stated_by_xing(head)
    if kind == "mpegts":
        return any(_in_packets(head, step) and size % step for step in (188, 192, 204))
    if kind == "mov":
        return _after_last_box(path, size) > size
    if kind == "matroska":
        return _after_segment(head) > size
    tail = _tail(path, size)
    if kind == "ogg":
        page = tail.rfind(b"OggS")
        return page < 0 or not _whole_last_page(tail[page:])
    if kind == "mpeg":
        return _after_last_packet(tail) > len(tail)
    if kind == "gif":
        return b"\x3b" not in tail[-2:]
    return False


def _declared(stream: object) -> float | None:
    """Return where a stream's header, or its tag in Matroska, says that it ends, in seconds from its start."""
    duration, tags = getattr(stream, "duration", None), getattr(stream, "metadata", {})
    if duration is not None:
        return float(duration * stream.time_base)  # type: ignore[attr-defined]
    try:
        hours, minutes, seconds = tags["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return None


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, size - _TAIL))
        return stream.read(_TAIL)


def _in_packets(head: bytes, step: int) -> bool:
    """Tell whether a sync byte stands at every step; packets of 192 bytes begin with a time of 4 bytes."""
    first = 4 if step == 192 else 0
    marks = head[first : first + 8 * step : step]
    return len(marks) > 1 and set(marks) == {0x47}


def _after_last_box(path: Path, size: int) -> int:
    """Return where the last box of an MP4 says that it ends (ISO/IEC 14496-12, 4.2)."""
    at = 0
    with path.open("rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            head = stream.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the length follows in 8 bytes
                length = int.from_bytes(head[8:16], "big")
            if length < 8 or not head[4:8].isalnum():  # to the file's end, or bytes that are no box
                return size
            at += length
    return at


def _after_segment(head: bytes) -> int:
    """Return where the segment of a Matroska file says that it ends (RFC 8794, section 4); 0 where it does not say."""
    first, length = _variable(head, 4)
    at = 4 + length + first
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, length = _variable(head, at + 4)
    unknown = size == (1 << 7 * length) - 1
    return 0 if unknown or not length else at + 4 + length + size


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and how many bytes it takes; 0 bytes where there is none."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return 0, 0
    return int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1), length


def _after_last_packet(tail: bytes) -> int:
    """Return where the last packet of an MPEG program stream ends (ISO/IEC 13818-1, 2.5), in a piece of the file."""
    at = tail.find(b"\x00\x00\x01\xba")
    while 0 <= at <= len(tail) - 6 and tail[at : at + 3] == b"\x00\x00\x01":
        if tail[at + 3] == 0xB9:
            return at + 4
        if tail[at + 3] == 0xBA:  # a pack's head: 12 bytes in MPEG-1, 14 and some stuffing in MPEG-2
            at += 12 if tail[at + 4] >> 6 == 0 else 14 + (tail[at + 13] & 7 if len(tail) > at + 13 else 0)
        else:
            at += 6 + int.from_bytes(tail[at + 4 : at + 6], "big")
    return at


def _whole_last_page(page: bytes) -> bool:
    """Tell whether an Ogg page (RFC 3533, section 6) is whole and the last of its stream."""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _stated_by_xing(head: bytes) -> int:
    """Return the bytes that an MP3's Xing header states from its frame on, with what lies before; 0 for none."""
    begin = 0
    if head[:3] == b"ID3" and len(head) > 10:
        begin = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    for mark in (b"Xing", b"Info"):
        at = head.find(mark, begin, begin + 200)
        if at >= 0 and len(head) >= at + 16:
            flags = struct.unpack_from(">I", head, at + 4)[0]
            if flags & 2:
                return int(begin + struct.unpack_from(">I", head, at + 8 + 4 * (flags & 1))[0])
    return 0
