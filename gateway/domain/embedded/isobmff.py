"""Texts of MP4, MOV and M4A: keyed metadata (`keys` and `ilst`), as ComfyUI's SaveVideo writes it, and iTunes' own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.domain.embedded import parts

#: Boxes that hold boxes on the way to the metadata; all others are stepped over.
HOLDERS: Final = frozenset({b"moov", b"udta", b"meta", b"ilst"})
COMMENT: Final = b"\xa9cmt"
FREE_FORM: Final = b"----"


def texts(data: bytes) -> Iterator[parts.Text]:
    """The texts of this file's metadata; films themselves are stepped over by their lengths."""
    keys: list[str] = []
    position, end_of_list = 0, 0
    for _part in parts.counted("MP4"):
        box = _box(data, position)
        if box is None:
            return
        kind, start, end = box
        place = f"MP4 box {kind.decode('latin-1')!r} at byte {position}"
        if end > len(data):
            raise parts.truncated(place)
        if position < end_of_list:
            key = _key(kind, keys, data[start : min(end, start + 1024)])
            value = None if key is None else _value(data, start, end, place)
            if key is not None and value is not None:
                yield parts.Text(key=key, value=value, place=f"MP4 metadata {key[:40]!r} at byte {position}")
            position = end
        elif kind in HOLDERS:
            end_of_list = end if kind == b"ilst" else end_of_list
            # ISO's `meta` has four bytes of version and flags before its boxes; QuickTime's has none.
            has_version = kind == b"meta" and data[start + 4 : start + 8] != b"hdlr"
            position = start + 4 if has_version else start
        else:
            if kind == b"keys":
                keys = list(_keys(data[start : min(end, start + parts.MAX_TEXT)]))
            position = end


def _box(data: bytes, position: int) -> tuple[bytes, int, int] | None:
    """Kind, start of content and end of the box here; None where there is none."""
    head = data[position : position + 16]
    if len(head) < 8:
        return None
    length, kind, start = int.from_bytes(head[:4]), head[4:8], position + 8
    if length == 1:
        length, start = int.from_bytes(head[8:16]), position + 16
    elif length == 0:
        length = len(data) - position
    if position + length < start:
        raise parts.Broken("damaged", "A box is shorter than its head.", f"MP4 byte {position}")
    return kind, start, position + length


def _keys(content: bytes) -> Iterator[str]:
    position = 8
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4])
        if length < 8:
            return
        yield content[position + 8 : position + length].decode("utf-8", "replace")
        position += length


def _key(kind: bytes, keys: list[str], content: bytes) -> str | None:
    """What an item of the list is called: by number among the keys, or by its own kind."""
    if kind == COMMENT:
        return "comment"
    if kind == FREE_FORM:
        at = content.find(b"name")
        length = int.from_bytes(content[at - 4 : at]) if at >= 4 else 0
        return content[at + 8 : at - 4 + length].decode("utf-8", "replace")
    index = int.from_bytes(kind)
    return keys[index - 1] if 1 <= index <= len(keys) else None


def _value(data: bytes, position: int, end: int, place: str) -> str | None:
    """The text of the item's `data` box."""
    for _part in parts.counted(place):
        box = _box(data, position) if position < end else None
        if box is None:
            return None
        kind, start, position = box
        if position > end:
            raise parts.truncated(place)
        if kind == b"data":
            return parts.decoded(data[start + 8 : position], place)
    return None
