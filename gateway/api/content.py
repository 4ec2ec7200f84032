"""Serving stored bytes: ranges, validators, names, and headers that keep a browser from running any of it.

What was made or uploaded is a download, not a page (decision 14 of the design): whatever a file claims to be, it is
sent with `nosniff` and a sandboxing policy, and only pictures, sound and film are shown in place.
"""

from __future__ import annotations

import mimetypes
import re
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from gateway import assets
from gateway.api import errors as api_errors
from gateway.domain import errors, model

INLINE: Final = frozenset({
    "image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp",
    "video/mp4", "video/webm", "video/quicktime",
    "audio/mpeg", "audio/wav", "audio/x-wav", "audio/flac", "audio/x-flac", "audio/ogg", "audio/opus", "audio/mp4",
    "audio/aac", "audio/webm",
    "text/plain",
})  # fmt: skip

_SAFETY: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_RANGES: Final = re.compile(r"bytes\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_RANGE: Final = re.compile(r"\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)


async def respond(request: Request, library: assets.Assets, asset: model.Asset, *, name: str | None = None) -> Response:
    """The asset's bytes, or the part that `Range` asks for; `name` is the file name to offer."""
    headers = _headers(asset, name)
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        part = _asked_part(request, asset, headers["ETag"])
    except errors.RangeNotSatisfiable as error:
        beyond = {"Content-Range": f"bytes */{asset.size_bytes}", "Accept-Ranges": "bytes"}
        return api_errors.envelope(error.status, error.code, error.message, headers=beyond)
    start, end = part or (0, asset.size_bytes)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{asset.size_bytes}"
    headers["Content-Length"] = str(end - start)
    headers["Content-Type"] = asset.content_type  # as it is: the framework would add a charset
    status = 200 if part is None else 206
    if end == start:
        return Response(b"", status_code=status, headers=headers)
    chunks = library.chunks(asset, start=start, end=end)
    first = await anext(chunks, b"")  # bytes that are gone are an error before the answer begins
    if len(first) == end - start:
        return Response(first, status_code=status, headers=headers)
    return StreamingResponse(_continued(first, chunks), status_code=status, headers=headers)


def _headers(asset: model.Asset, name: str | None) -> dict[str, str]:
    plain_type = asset.content_type.partition(";")[0].strip().lower()
    kind = "inline" if plain_type in INLINE else "attachment"
    return {
        **_SAFETY,
        "Accept-Ranges": "bytes",
        "ETag": f'"{asset.hash.removeprefix("blake3:")}"',
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": disposition(kind, name or asset.file_path or _made_up_name(asset, plain_type)),
    }


def _made_up_name(asset: model.Asset, plain_type: str) -> str:
    return f"{asset.id}{mimetypes.guess_extension(plain_type) or ''}"


def disposition(kind: str, path: str) -> str:
    """A Content-Disposition (RFC 6266) that offers the last part of `path` as file name."""
    name = "".join(character for character in path.replace("\\", "/").rpartition("/")[2] if character.isprintable())
    name = name.encode(errors="replace").decode()[:200].strip(" .") or "file"
    plain = re.sub(r"[^A-Za-z0-9!#$&+.^_`|~ ()\[\]{}@,=-]", "_", name)
    header = f'{kind}; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{urllib.parse.quote(name, safe='')}"


def _is_known(request: Request, etag: str) -> bool:
    asked = request.headers.get("if-none-match")
    if asked is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    return "*" in tags or etag in tags


def _asked_part(request: Request, asset: model.Asset, etag: str) -> tuple[int, int] | None:
    asked = request.headers.get("range")
    condition = request.headers.get("if-range")
    if asked is None or (condition is not None and condition.strip() != etag):
        return None
    return parse_range(asked, asset.size_bytes)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes, start to end (exclusive), that a Range header asks for; None for all of them.

    Several ranges and other units may be answered with the whole (RFC 9110, 14.2). RangeNotSatisfiable for a range
    that makes no sense or lies outside.
    """
    ranges = _RANGES.fullmatch(header)
    if ranges is None or "," in ranges[1]:
        return None
    found = _RANGE.fullmatch(ranges[1])
    if found is None or not (found[1] or found[2]):
        raise errors.RangeNotSatisfiable(f"{header[:100]!r} is not a range of bytes")
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
    if start >= end:
        raise errors.RangeNotSatisfiable(f"{header[:100]!r} lies outside of {size} bytes")
    return start, end


async def _continued(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
