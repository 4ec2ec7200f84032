"""JSON and websocket frames as bytes, kept apart from who sends them."""

from __future__ import annotations

import json
import struct
from typing import Any

import orjson


def loads(body: bytes) -> tuple[Any, bool]:
    """Parse JSON as leniently as Python's own parser (NaN, huge integers); tell whether that was needed."""
    try:
        return orjson.loads(body), False
    except orjson.JSONDecodeError:
        return json.loads(body), True


def dumps(value: Any) -> bytes:
    """Write JSON; what orjson refuses is left to Python's own writer."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, default=str).encode()


def dumps_lenient(value: Any) -> bytes:
    """Write JSON with NaN and Infinity spelled out, as Python (and so ComfyUI) does."""
    return json.dumps(value, default=str).encode()


def frame(payload: bytes, *, binary: bool = False) -> bytes:
    """Make one whole websocket frame, server to client (unmasked, final)."""
    first = 0x82 if binary else 0x81
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload


def preview_plain(image: bytes, image_type: int = 1) -> bytes:
    """Binary message 1: u32 1, u32 image type (1 JPEG, 2 PNG), image."""
    return struct.pack(">II", 1, image_type) + image


def preview_with_metadata(image: bytes, metadata: dict[str, Any]) -> bytes:
    """Binary message 4: u32 4, u32 length, JSON metadata, image."""
    head = json.dumps(metadata).encode()
    return struct.pack(">II", 4, len(head)) + head + image


def progress_text(node_id: str, text: str) -> bytes:
    """Binary message 3: u32 3, u32 length, node id, UTF-8 text."""
    head = node_id.encode()
    return struct.pack(">II", 3, len(head)) + head + text.encode()
