"""Texts of WebM and Matroska: the tags, as ComfyUI's SaveWEBM writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.domain.embedded import parts

SEGMENT: Final = 0x18538067
TAG_NAME: Final = 0x45A3
TAG_STRING: Final = 0x4487
#: Elements that are stepped into on the way to the tags: segment, Tags, Tag, SimpleTag.
HOLDERS: Final = frozenset({SEGMENT, 0x1254C367, 0x7373, 0x67C8})


def texts(data: bytes) -> Iterator[parts.Text]:
    """The texts of this file's tags; its clusters are stepped over, or into where a live writer gave no length."""
    position, name = 0, ""
    for _part in parts.counted("WebM"):
        if position >= len(data):
            return
        place = f"WebM element at byte {position}"
        element, start = _number(data, position, place, is_id=True)
        length, start = _number(data, start, place, is_id=False)
        if element in HOLDERS or length is None:
            position = start
            continue
        if start + length > len(data):
            raise parts.truncated(place)
        if element == TAG_NAME:
            name = parts.decoded(data[start : start + length], place)
        elif element == TAG_STRING:
            yield parts.Text(key=name, value=parts.decoded(data[start : start + length], place), place=place)
        position = start + length


def _number(data: bytes, position: int, place: str, *, is_id: bool) -> tuple[int | None, int]:
    """The variable-length number here and where it ends; None for the length that says "unknown"."""
    first = data[position] if position < len(data) else 0
    size = 9 - first.bit_length()
    if size > 8 or position + size > len(data):
        raise parts.Broken("damaged", "There is no element here.", place)
    value = int.from_bytes(data[position : position + size])
    if is_id:
        return value, position + size
    value &= (1 << 7 * size) - 1
    return None if value == (1 << 7 * size) - 1 else value, position + size
