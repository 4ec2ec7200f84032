"""Texts of a PNG: `tEXt`, `zTXt` and `iTXt` chunks, and the `comf` chunks of ComfyUI's animations."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from gateway.domain.embedded import exif, parts

MAGIC: Final = b"\x89PNG\r\n\x1a\n"


def texts(data: bytes) -> Iterator[parts.Text]:
    """The texts of this PNG, without a look at its pixels or checksums."""
    position = len(MAGIC)
    for _part in parts.counted("PNG"):
        head = data[position : position + 8]
        if not head:
            return
        length, kind = int.from_bytes(head[:4]), head[4:]
        place = f"PNG chunk {kind.decode('ascii', 'replace')} at byte {position}"
        position += 8
        if len(head) < 8 or position + length > len(data):
            raise parts.truncated(place)
        if kind == b"IEND":
            return
        if kind in {b"tEXt", b"comf", b"zTXt", b"iTXt"}:
            yield from _text(kind, data[position : position + length], place)
        elif kind == b"eXIf":
            yield from exif.texts(data[position : position + length], place)
        position += length + 4


def _text(kind: bytes, content: bytes, place: str) -> Iterator[parts.Text]:
    keyword, found, rest = content.partition(b"\0")
    if not found:
        return
    key = keyword.decode("latin-1")
    if kind == b"zTXt":
        value = parts.decoded(_inflated(rest[1:], place), place, "latin-1")
    elif kind == b"iTXt":
        # A flag, a method, a language, a translated keyword, each of the last two ended by a zero.
        packed = rest[2:].split(b"\0", 2)
        if len(packed) < 3:
            raise parts.truncated(place)
        body = _inflated(packed[2], place) if rest[:1] == b"\1" else packed[2]
        value = parts.decoded(body, place)
    else:
        # The standard says Latin-1; ComfyUI escapes all but ASCII, others write UTF-8.
        value = parts.decoded(rest, place)
    yield parts.Text(key=key, value=value, place=place)


def _inflated(packed: bytes, place: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, parts.MAX_TEXT + 1)
    except zlib.error as error:
        raise parts.Broken("damaged", f"The compressed text is damaged: {error}.", place) from None
    if len(data) > parts.MAX_TEXT:
        raise parts.too_large(place)
    return data
