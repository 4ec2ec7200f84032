"""Texts of a picture's EXIF: `prompt:{…}` and `workflow:{…}` in camera fields, as ComfyUI writes them to WebP.

WebP and JPEG are walked to their EXIF; that is a small TIFF, of which the text fields of the first directory and the
user comment are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Literal

from gateway.domain.embedded import parts

ASCII: Final = 2
BYTE_SIZED: Final = frozenset({1, ASCII, 7})  #: bytes, text, undefined
EXIF_DIRECTORY: Final = 0x8769
USER_COMMENT: Final = 0x9286
#: What a user comment begins with, and how the rest is written.
COMMENT_CODES: Final = {b"ASCII\0\0\0": "utf-8", b"UNICODE\0": "utf-16", b"\0" * 8: "utf-8"}
MAX_FIELDS: Final = 1_000

Endian = Literal["big", "little"]


def webp_texts(data: bytes) -> Iterator[parts.Text]:
    """The texts in the EXIF of this WebP."""
    position = 12
    for _part in parts.counted("WebP"):
        head = data[position : position + 8]
        if len(head) < 8:
            return
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        place = f"WebP chunk {kind.decode('ascii', 'replace').strip()} at byte {position}"
        position += 8
        if position + length > len(data):
            raise parts.truncated(place)
        if kind == b"EXIF":
            yield from texts(data[position : position + length], place)
        position += length + length % 2


def jpeg_texts(data: bytes) -> Iterator[parts.Text]:
    """The texts in the EXIF of this JPEG. What comes after the picture's first scan is not looked at."""
    position = 2
    for _part in parts.counted("JPEG"):
        head = data[position : position + 4]
        if len(head) < 4 or head[0] != 0xFF:
            return
        if head[1] == 0xFF:  # padding
            position += 1
            continue
        if head[1] in {0xD9, 0xDA}:
            return
        place = f"JPEG segment {head[1]:02X} at byte {position}"
        length = int.from_bytes(head[2:])
        if length < 2 or position + 2 + length > len(data):
            raise parts.truncated(place)
        content = data[position + 4 : position + 2 + length]
        if head[1] == 0xE1 and content.startswith(b"Exif\0"):
            yield from texts(content, place)
        position += 2 + length


def texts(data: bytes, place: str) -> Iterator[parts.Text]:
    """The texts of these EXIF bytes; those that read `key:text` under that key."""
    tiff = data.removeprefix(b"Exif\0\0")
    endian: Endian | None = {b"II": "little", b"MM": "big"}.get(tiff[:2])  # pyright: ignore[reportAssignmentType]
    if endian is None or len(tiff) < 8:
        raise parts.Broken("damaged", "The EXIF is no TIFF.", place)
    first = int.from_bytes(tiff[4:8], endian)
    for tag, value in _fields(tiff, first, endian, place):
        if isinstance(value, int):
            for inner, content in _fields(tiff, value, endian, place):
                if inner == USER_COMMENT and isinstance(content, bytes):
                    yield _comment(content, place)
        else:
            text = parts.decoded(value.rstrip(b"\0"), place)
            key, found, rest = text.partition(":")
            yield parts.Text(key=key if found else "", value=rest, place=f"{place}, field {tag:04X}")


def _fields(tiff: bytes, offset: int, endian: Endian, place: str) -> Iterator[tuple[int, bytes | int]]:
    """The byte-sized fields of the directory at this offset, and the offset of the directory of EXIF's own."""
    count = int.from_bytes(tiff[offset : offset + 2], endian)
    for index in range(min(count, MAX_FIELDS)):
        entry = tiff[offset + 2 + 12 * index : offset + 14 + 12 * index]
        if len(entry) < 12:
            raise parts.truncated(place)
        tag, kind, length, value = struct.unpack("<HHII" if endian == "little" else ">HHII", entry)
        if tag == EXIF_DIRECTORY:
            yield tag, value
        elif kind == ASCII or (kind in BYTE_SIZED and tag == USER_COMMENT):
            if length > 4 and value + length > len(tiff):
                raise parts.truncated(f"{place}, field {tag:04X}")
            if length > parts.MAX_TEXT:
                raise parts.too_large(f"{place}, field {tag:04X}")
            yield tag, tiff[value : value + length] if length > 4 else entry[8 : 8 + length]


def _comment(content: bytes, place: str) -> parts.Text:
    encoding = COMMENT_CODES.get(content[:8])
    value = parts.decoded(content if encoding is None else content[8:], place, encoding or "utf-8")
    return parts.Text(key="UserComment", value=value.strip("\0 "), place=f"{place}, user comment")
