"""What kind of file some bytes are, told from their first bytes, and the ways in which a client can hand them in."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

DATA: Final = "data:"
MAX_HEAD: Final = 1_000  #: characters before the comma of a data URI: its type and parameters
BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
WHITESPACE: Final = str.maketrans("", "", " \t\r\n")

#: Magic bytes at an offset, the media type and the suffix; the first match counts.
SIGNATURES: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (0, b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (8, b"WEBP", "image/webp", ".webp"),
    (0, b"GIF87a", "image/gif", ".gif"),
    (0, b"GIF89a", "image/gif", ".gif"),
    (0, b"BM", "image/bmp", ".bmp"),
    (0, b"II*\x00", "image/tiff", ".tiff"),
    (0, b"MM\x00*", "image/tiff", ".tiff"),
    (4, b"ftypavif", "image/avif", ".avif"),
    (4, b"ftypavis", "image/avif", ".avif"),  # one that moves
    (4, b"ftypheic", "image/heic", ".heic"),
    (4, b"ftypmif1", "image/heif", ".heif"),
    (4, b"ftypM4A", "audio/mp4", ".m4a"),
    (4, b"ftypqt", "video/quicktime", ".mov"),
    (4, b"ftyp", "video/mp4", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm", ".webm"),
    (8, b"AVI ", "video/x-msvideo", ".avi"),
    (8, b"WAVE", "audio/wav", ".wav"),
    (0, b"ID3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xfb", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf1", "audio/aac", ".aac"),
    (0, b"fLaC", "audio/flac", ".flac"),
    (0, b"OggS", "audio/ogg", ".ogg"),
    (0, b"glTF", "model/gltf-binary", ".glb"),
    (0, b"%PDF", "application/pdf", ".pdf"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file."""

    media_type: str
    suffix: str

    @property
    def family(self) -> str:
        """`image`, `audio`, `video` …"""
        return self.media_type.partition("/")[0]


def sniff(data: bytes) -> Kind | None:
    """The kind of file that begins like this, or None."""
    for offset, magic, media_type, suffix in SIGNATURES:
        if data.startswith(magic, offset):
            return Kind(media_type=media_type, suffix=suffix)
    return None


class Unreadable(ValueError):
    """A data URI or base64 text that cannot be decoded, or holds too much; `reason` is a fault's word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def decode_data_uri(text: str, *, max_bytes: int) -> bytes:
    """The bytes of a `data:` URI."""
    comma = text.find(",", 0, MAX_HEAD)
    if comma < 0 or text[: len(DATA)].lower() != DATA:
        raise Unreadable("invalid_data_uri", "A data URI reads data:image/png;base64,… .")
    payload = text[comma + 1 :]
    if ";base64" in text[:comma].lower():
        return decode_base64(_unquoted(payload).decode("latin-1") if "%" in payload else payload, max_bytes=max_bytes)
    return _within(_unquoted(payload), max_bytes)


def _unquoted(text: str) -> bytes:
    """The bytes that percent signs stand for. As Python's own escapes, which are read at once: `urllib` takes more than
    a second, and two hundred bytes a sign, for what one order may hold."""
    escaped = text.encode(errors="replace").replace(b"\\", b"\\\\").replace(b"%", b"\\x")
    try:
        return escaped.decode("unicode_escape").encode("latin-1")
    except UnicodeDecodeError:
        raise Unreadable("invalid_data_uri", "Each % of a data URI is followed by two hexadecimal digits.") from None


def decode_base64(text: str, *, max_bytes: int) -> bytes:
    """The bytes of a base64 text; line breaks, the URL-safe alphabet and absent padding are fine."""
    plain = text.translate(WHITESPACE)
    if len(plain) * 3 // 4 > max_bytes + 2:
        raise Unreadable("too_large", f"More than {max_bytes} bytes; upload it as an asset and give its id.")
    if not BASE64.fullmatch(plain):
        raise Unreadable("invalid_base64", "This is no base64.")
    plain = plain.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("invalid_base64", "This is no base64: its length is wrong.") from None
    return _within(data, max_bytes)


def _within(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise Unreadable("too_large", f"More than {max_bytes} bytes; upload it as an asset and give its id.")
    if not data:
        raise Unreadable("empty", "There are no bytes in it.")
    return data
