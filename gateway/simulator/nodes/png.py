"""PNG files as SaveImage writes them: eight bits, with the prompt and the workflow as text."""

from __future__ import annotations

import binascii
import io
import json
import struct
import zlib
from typing import Any

import numpy as np

from gateway.simulator import wire
from gateway.simulator.nodes.base import Array

#: Pixels up to which our own writer is used; it is several times quicker on tiny pictures.
_TINY = 64 * 64
_HEAD = b"\x89PNG\r\n\x1a\n"
_COLOUR = {1: 0, 3: 2, 4: 6}


def encode(image: Array, texts: dict[str, Any], level: int = 4) -> bytes:
    """Encode one picture (height, width, channel); the texts are written as JSON."""
    pixels = np.clip(image * np.float32(255), 0, 255).astype(np.uint8)
    height, width, channels = pixels.shape
    chunks = [(key, _text(value)) for key, value in texts.items()]
    if height * width <= _TINY and channels in _COLOUR:
        return _write(pixels, chunks, level)
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, text in chunks:
        info.add_text(key, text.decode("latin-1"))
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    picture.save(buffer, "PNG", pnginfo=info, compress_level=level)
    return buffer.getvalue()


def _text(value: Any) -> bytes:
    """Write JSON in ASCII, which is what PNG's plain text chunk can hold."""
    data = wire.dumps(value)
    return data if data.isascii() else json.dumps(value).encode()


def _write(pixels: np.ndarray[Any, np.dtype[np.uint8]], texts: list[tuple[str, bytes]], level: int) -> bytes:
    height, width, channels = pixels.shape
    rows = np.zeros((height, width * channels + 1), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = [_HEAD, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0))]
    parts += [_chunk(b"tEXt", key.encode("latin-1") + b"\0" + text) for key, text in texts]
    parts += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), level)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))
