"""Texts of FLAC, Ogg (Opus, Vorbis, FLAC) and MP3: the comments, as ComfyUI's SaveAudio nodes write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.domain.embedded import parts

COMMENT_BLOCK: Final = 4
#: The packets of an Ogg stream that hold comments begin like this.
COMMENT_PACKETS: Final = (b"OpusTags", b"\x03vorbis")
ENCODINGS: Final = ("latin-1", "utf-16", "utf-16-be", "utf-8")


def flac_texts(data: bytes) -> Iterator[parts.Text]:
    """The comments of this FLAC."""
    position = 4
    for _part in parts.counted("FLAC"):
        head = data[position : position + 4]
        if len(head) < 4:
            return
        length = int.from_bytes(head[1:])
        place = f"FLAC block {head[0] & 0x7F} at byte {position}"
        position += 4
        if position + length > len(data):
            raise parts.truncated(place)
        if head[0] & 0x7F == COMMENT_BLOCK:
            yield from _comments(data[position : position + length], place)
        position += length
        if head[0] & 0x80:
            return


def ogg_texts(data: bytes) -> Iterator[parts.Text]:
    """The comments of this Ogg: in the second packet of its first stream."""
    packet = _second_packet(data)
    for magic in COMMENT_PACKETS:
        if packet.startswith(magic):
            yield from _comments(packet[len(magic) :], "Ogg comments")
            return
    if packet[:1] and packet[0] & 0x7F == COMMENT_BLOCK:  # FLAC in Ogg
        yield from _comments(packet[4:], "Ogg comments")


def _second_packet(data: bytes) -> bytes:
    """The second packet of the stream that the file begins with, put together from its pages."""
    packet = bytearray()
    position, packets, serial = 0, 0, data[14:18]
    for _part in parts.counted("Ogg"):
        head = data[position : position + 27]
        place = f"Ogg page at byte {position}"
        if len(head) < 27:
            return bytes(packet)
        if not head.startswith(b"OggS"):
            raise parts.Broken("damaged", "There is no page here.", place)
        lengths = data[position + 27 : position + 27 + head[26]]
        position += 27 + head[26]
        if position + sum(lengths) > len(data):
            raise parts.truncated(place)
        if head[14:18] != serial:
            lengths, position = b"", position + sum(lengths)
        for length in lengths:
            if packets == 1:
                packet += data[position : position + length]
            position += length
            packets += length < 255
            if packets == 2:
                return bytes(packet)
        if len(packet) > 2 * parts.MAX_TEXT:
            raise parts.too_large(place)
    return bytes(packet)


def _comments(block: bytes, place: str) -> Iterator[parts.Text]:
    """A vendor, then `KEY=text`, each with its length before it."""
    vendor = int.from_bytes(block[:4], "little")
    position = 8 + vendor
    count = int.from_bytes(block[position - 4 : position], "little")
    for index in parts.counted(place):
        if index >= count:
            return
        length = int.from_bytes(block[position : position + 4], "little")
        position += 4
        if position + length > len(block):
            raise parts.truncated(place)
        key, found, value = block[position : position + length].partition(b"=")
        if found:
            name = key[:100].decode("ascii", "replace")
            yield parts.Text(key=name, value=parts.decoded(value, place), place=f"{place}, {name!r}")
        position += length


def mp3_texts(data: bytes) -> Iterator[parts.Text]:
    """The user texts (`TXXX`) and comments of this file's ID3v2 tag."""
    start = data[:10].ljust(10, b"\0")
    version, flags, length = start[3], start[5], _syncsafe(start[6:])
    if version not in {3, 4}:
        return
    tag = data[10 : 10 + length]
    if len(tag) < length:
        raise parts.truncated("ID3 tag at byte 0")
    if version == 3 and flags & 0x80:
        tag = tag.replace(b"\xff\x00", b"\xff")
    position = 0
    if flags & 0x40:  # an extended head; in version 3 its length leaves itself out
        position = int.from_bytes(tag[:4]) + 4 if version == 3 else _syncsafe(tag[:4])
    for _part in parts.counted("ID3"):
        head = tag[position : position + 10]
        if len(head) < 10 or head[0] == 0:
            return
        size = _syncsafe(head[4:8]) if version == 4 else int.from_bytes(head[4:8])
        place = f"ID3 frame {head[:4].decode('ascii', 'replace')} at byte {position + 10}"
        position += 10
        if position + size > len(tag):
            raise parts.truncated(place)
        # Compressed and encrypted frames are nobody's workflow.
        if head[:4] in {b"TXXX", b"COMM"} and not head[9] & (0x0C if version == 4 else 0xC0):
            yield from _frame(head[:4], tag[position : position + size], place)
        position += size


def _frame(kind: bytes, content: bytes, place: str) -> Iterator[parts.Text]:
    encoding = ENCODINGS[content[0]] if content and content[0] < len(ENCODINGS) else None
    if encoding is None:
        return
    body = content[4:] if kind == b"COMM" else content[1:]
    text = parts.decoded(body, place, encoding)
    key, _found, value = text.partition("\0")
    yield parts.Text(
        key="comment" if kind == b"COMM" else key.lstrip("\ufeff"), value=value.strip("\0\ufeff"), place=place
    )


def _syncsafe(data: bytes) -> int:
    """A number of seven bits a byte."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
