"""FLAC files without a codec: every sample is stored as it is (verbatim subframes), sixteen bits each."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np

_BLOCK = 4096
Samples = np.ndarray[Any, np.dtype[np.int16]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def encode(samples: Samples, sample_rate: int) -> bytes:
    """Encode (time, channels)."""
    count, channels = samples.shape
    big = samples.astype(">i2")
    parts = [b"fLaC", _stream_info(samples, sample_rate)]
    frames = [_frame(index, big[start : start + _BLOCK]) for index, start in enumerate(range(0, count, _BLOCK))]
    by_length: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        by_length.setdefault(len(frame), []).append(index)
    for indices in by_length.values():
        table = np.frombuffer(b"".join(frames[index] for index in indices), np.uint8).reshape(len(indices), -1)
        for index, check in zip(indices, _crc16(table), strict=True):
            frames[index] += struct.pack(">H", int(check))
    del channels
    return b"".join((*parts, *frames))


def _stream_info(samples: Samples, sample_rate: int) -> bytes:
    count, channels = samples.shape
    packed = (sample_rate << 44) | ((channels - 1) << 41) | (15 << 36) | count
    digest = hashlib.md5(samples.astype("<i2").tobytes(), usedforsecurity=False).digest()
    body = struct.pack(">HH", _BLOCK, _BLOCK) + bytes(6) + packed.to_bytes(8, "big") + digest
    return b"\x80" + len(body).to_bytes(3, "big") + body


def _frame(index: int, block: np.ndarray[Any, Any]) -> bytes:
    size, channels = block.shape
    is_full = size == _BLOCK
    head = struct.pack(">HBB", 0xFFF8, (0xC0 if is_full else 0x70), ((channels - 1) << 4) | (4 << 1))
    head += _number(index) + (b"" if is_full else struct.pack(">H", size - 1))
    head += bytes((_crc8(head),))
    return head + b"".join(b"\x02" + block[:, channel].tobytes() for channel in range(channels))


def _number(value: int) -> bytes:
    """Write a frame number in the manner of UTF-8."""
    if value < 0x80:
        return bytes((value,))
    tail: list[int] = []
    room = 0x40
    while value >= room:
        tail.insert(0, 0x80 | (value & 0x3F))
        value >>= 6
        room >>= 1
    return bytes((((~(room * 2 - 1)) & 0xFF) | value, *tail))


def _crc8(data: bytes) -> int:
    check = 0
    for byte in data:
        check ^= byte
        for _ in range(8):
            check = ((check << 1) ^ 0x07) & 0xFF if check & 0x80 else check << 1
    return check


def _crc16(frames: Bytes) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Check all frames of a length side by side."""
    table = np.arange(256, dtype=np.uint32) << 8
    for _ in range(8):
        table = np.where(table & 0x8000, (table << 1) ^ 0x8005, table << 1) & 0xFFFF
    check = np.zeros(len(frames), np.uint32)
    for column in frames.T:
        check = ((check << 8) & 0xFFFF) ^ table[(check >> 8) ^ column]
    return check.astype(np.uint16)
