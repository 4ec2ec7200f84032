"""MP4 files of motion JPEG: a picture a frame, with no codec but Pillow's."""

from __future__ import annotations

import struct

_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mux(frames: list[bytes], width: int, height: int, fps: float) -> bytes:
    """Put JPEG pictures into one file."""
    scale = 90_000
    step = max(1, round(scale / fps))
    head = _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isomiso2mp41")
    offsets: list[int] = []
    position = len(head) + 8
    for frame in frames:
        offsets.append(position)
        position += len(frame)
    return head + _box(b"mdat", b"".join(frames)) + _movie(frames, offsets, (width, height), (scale, step))


def _movie(frames: list[bytes], offsets: list[int], size: tuple[int, int], timing: tuple[int, int]) -> bytes:
    scale, step = timing
    duration = step * len(frames)
    movie = struct.pack(">IIII", 0, 0, scale, duration) + struct.pack(">ihhII", 0x10000, 0x100, 0, 0, 0)
    movie += _MATRIX + bytes(24) + struct.pack(">I", 2)
    track = struct.pack(">IIIII", 0, 0, 1, 0, duration) + bytes(8) + struct.pack(">hhhh", 0, 0, 0, 0) + _MATRIX
    track += struct.pack(">II", size[0] << 16, size[1] << 16)
    media = struct.pack(">IIIIHH", 0, 0, scale, duration, 0x55C4, 0)
    handler = struct.pack(">I4s", 0, b"vide") + bytes(12) + b"video\0"
    data = _box(b"dinf", _full(b"dref", struct.pack(">I", 1) + _full(b"url ", b"", flags=1)))
    info = _box(b"minf", _full(b"vmhd", bytes(8), flags=1) + data + _samples(frames, offsets, size, step))
    inner = _full(b"mdhd", media) + _full(b"hdlr", handler) + info
    return _box(
        b"moov",
        _full(b"mvhd", movie) + _box(b"trak", _full(b"tkhd", track, flags=3) + _box(b"mdia", inner)),
    )


def _samples(frames: list[bytes], offsets: list[int], size: tuple[int, int], step: int) -> bytes:
    entry = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HHIIIH", *size, 0x480000, 0x480000, 0, 1)
    entry += b"\x0cMotion JPEG".ljust(32, b"\0") + struct.pack(">Hh", 24, -1)
    count = len(frames)
    return _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1) + _box(b"jpeg", entry))
        + _full(b"stts", struct.pack(">III", 1, count, step))
        + _full(b"stsc", struct.pack(">IIII", 1, 1, 1, 1))
        + _full(b"stsz", struct.pack(f">II{count}I", 0, count, *map(len, frames)))
        + _full(b"stco", struct.pack(f">I{count}I", count, *offsets)),
    )


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def _full(kind: bytes, data: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags) + data)
