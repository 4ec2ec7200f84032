"""Pictures are opened before a worker sees them: what is none, is damaged or too large is refused."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from gateway.adapters import images
from gateway.domain import errors


def encoded(kind: str, size: tuple[int, int] = (8, 6), frames: int = 1) -> bytes:
    out = io.BytesIO()
    first, *rest = [Image.new("RGB", size, (40 * index, 0, 0)) for index in range(frames)]
    if rest:
        first.save(out, kind, save_all=True, append_images=rest)
    else:
        first.save(out, kind)
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size; there is next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif"), ("BMP", "image/bmp")],
)
def test_facts(kind: str, media_type: str) -> None:
    facts = images.probe_image(encoded(kind))
    assert facts == images.ImageFacts(width=8, height=6, media_type=media_type, frames=1)


def test_frames_are_counted() -> None:
    assert images.probe_image(encoded("GIF", frames=3)).frames == 3


REFUSED = [
    ("empty", b"", "not_an_image"),
    ("text", b"no picture", "not_an_image"),
    ("a PNG's first bytes only", b"\x89PNG\r\n\x1a\n", "not_an_image"),
    ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n", "not_an_image"),
    ("cut short", encoded("JPEG", (200, 200))[:400], "image_truncated"),
    ("pixels missing", png_of(300, 300), "image_truncated"),
    ("a bomb by its header", png_of(30_000, 30_000), "image_too_large"),
    ("a bomb beyond Pillow's own limit", png_of(2**30, 2**30), "image_too_large"),
    ("many frames", encoded("GIF", (100, 100), frames=5), "image_too_large"),
]


@pytest.mark.parametrize(("case", "data", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(case: str, data: bytes, reason: str) -> None:
    limit = 40_000 if case == "many frames" else images.MAX_PIXELS
    with pytest.raises(errors.InvalidInputs) as caught:
        images.probe_image(data, max_pixels=limit, parameter="image")
    assert [(fault.reason, fault.parameter) for fault in caught.value.faults] == [(reason, "image")]
