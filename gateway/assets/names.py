"""What clients may call their files: paths, media types and hashes as they may come in."""

from __future__ import annotations

import re
from typing import Final

from gateway.domain.comfy import structure

MAX_PATH_BYTES: Final = 1024
HASH: Final = re.compile(r"blake3:[0-9a-f]{64}")
GENERIC: Final = "application/octet-stream"

_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_MEDIA_TYPE: Final = re.compile(
    rf"({_WORD})/({_WORD})((?:\s*;\s*{_WORD}=(?:{_WORD}|\"[\x20\x21\x23-\x5b\x5d-\x7e]*\"))*)"
)
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def path_complaint(path: str) -> str | None:
    """Why this cannot be an asset's `file_path`, or None."""
    if not path.strip():
        return "is empty"
    complaint = structure.text_complaint(path) or structure.path_complaint(path)
    if complaint is not None:
        return complaint
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "contains a control character"
    if "\\" in path:
        return "contains a backslash; folders are separated by /"
    if _DRIVE.match(path):
        return "begins with a drive letter"
    if any(part in {"", "."} for part in path.split("/")):
        return "has an empty part or a part that is a dot"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    return None


def media_type(text: str) -> str | None:
    """A media type as `type/subtype`, its parameters kept, or None when it is none."""
    found = _MEDIA_TYPE.fullmatch(text.strip())
    if found is None or len(text) > 255:
        return None
    return f"{found[1]}/{found[2]}".lower() + found[3]


def content_hash(text: str) -> str | None:
    """A hash as we write them, `blake3:` and 64 hex digits in lower case, or None when it is none."""
    plain = text.strip().lower()
    return plain if HASH.fullmatch(plain) else None
