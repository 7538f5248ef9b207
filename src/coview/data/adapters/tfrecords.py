"""Records of TensorFlow without TensorFlow: the framing of a file, and the features of an Example.

A file is a row of: length (uint64), its checksum, the bytes, their checksum
(tensorflow.org/tutorials/load_data/tfrecord). The bytes of an Example are a protocol buffer: a map from a
name to a list of bytes, of float32 or of int64 (tensorflow/core/example/feature.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coview.errors import MediaError

Feature: TypeAlias = "list[bytes] | NDArray[np.float32] | NDArray[np.int64]"
_MOST_BYTES = 1 << 28  # of one record
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, reflected
_MASK = 0xA282EAD8


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file one by one.

    The checksum of each length is verified, that of the bytes is not: what they hold has checks of its own.

    Raises:
        MediaError: "damaged": no such file of records, a length is not as its checksum says, or it ends early.
    """
    with path.open("rb") as stream:
        number = 0
        while head := stream.read(12):
            length, check = struct.unpack("<QI", head) if len(head) == 12 else (0, 0)
            if len(head) < 12 or checksum(head[:8]) != check or length > _MOST_BYTES:
                raise MediaError(str(path), "damaged", f"record {number} has no length: it is no TFRecord file, or cut")
            data = stream.read(length)
            if len(data) < length or len(stream.read(4)) < 4:
                raise MediaError(str(path), "damaged", f"it ends inside of record {number}; fetch it again")
            yield data
            number += 1


def checksum(data: bytes) -> int:
    """Return the masked CRC-32C of some bytes, as TFRecord files hold it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def features_of(record: bytes) -> dict[str, Feature]:
    """Return the features of an Example by name.

    Raises:
        ValueError: it is none.
    """
    found: dict[str, Feature] = {}
    for field, entries in _fields(record):
        for _, entry in _fields(entries) if field == 1 else ():
            parts = dict(_fields(entry))
            found[parts[1].decode()] = _values(parts[2]) if 1 in parts and 2 in parts else []
    return found


def _values(feature: bytes) -> Feature:
    for kind, listed in _fields(feature):
        if kind == 1:
            return [value for _, value in _fields(listed)]
        packed = b"".join(value for _, value in _fields(listed))
        if kind == 2:
            return np.frombuffer(packed, "<f4").astype(np.float32)
        if kind == 3:
            return np.array(list(_varints(packed)), dtype=np.uint64).astype(np.int64)
    return []


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, content) of a message's fields; numbers that stand alone yield the bytes they are written in."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, start = key & 7, at
        if kind == 0:
            at = _varint(data, at)[1]
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, start = _varint(data, at)
            at = start + size
        else:
            raise ValueError(f"a field of kind {kind}, which no Example has")
        if at > len(data):
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[start:at]


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number does not end")
