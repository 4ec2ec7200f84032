"""Upload and view: files in, files out, with ComfyUI's odd corners."""

from __future__ import annotations

import asyncio
import hashlib
import io
import mimetypes
import os
from email.utils import formatdate
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from gateway.simulator import wire
from gateway.simulator.files import KINDS, Files

#: What a browser could run is handed out as a download.
_RISKY = frozenset({"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"})
#: The same for 0.33.
_RISKY_NEW = _RISKY | {"image/svg+xml", "application/javascript", "application/xml", "text/xml"}


#: Bytes up to which a file is read and sent in one piece.
_SMALL = 256 * 1024


async def upload(request: web.BaseRequest, files: Files, *, is_mask: bool, limit: int) -> web.Response:
    """Store an uploaded file; the same name with other bytes gets a number."""
    if not request.content_type.startswith("multipart/"):
        return web.Response(status=400)
    fields, name, data = await _read_form(request, limit)
    if name is None:
        return web.Response(status=400)
    kind = fields.get("type") or "input"
    if kind not in KINDS:
        raise ValueError(kind)
    subfolder = fields.get("subfolder", "")
    folder = _upload_folder(files.directory(kind), subfolder, name)
    if folder is None:
        return web.Response(status=400)
    if "/" in name:
        raise OSError(name)
    if is_mask:
        data = await asyncio.to_thread(_merge_mask, files, fields, data)
    overwrite = fields.get("overwrite") in ("true", "1")
    stored = await asyncio.to_thread(_store, folder, name, data, overwrite=overwrite)
    body = wire.dumps({"name": stored, "subfolder": subfolder, "type": kind})
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _upload_folder(root: Path, subfolder: str, name: str) -> Path | None:
    """Return where an upload goes, or None when folder or file would lie outside."""
    folder = Path(os.path.normpath(root / subfolder))
    target = Path(os.path.normpath(folder / name))
    if not folder.is_relative_to(root) or (not target.is_relative_to(root) and not name.startswith("/")):
        return None
    return folder


async def _read_form(request: web.BaseRequest, limit: int) -> tuple[dict[str, str], str | None, bytes]:
    fields: dict[str, str] = {}
    name: str | None = None
    data = b""
    size = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        content = bytes(await part.read(decode=True))
        size += len(content)
        if size > limit:
            raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=size)
        if part.name == "image" and part.filename:
            name, data = part.filename, content
        elif part.name is not None and not part.filename:
            fields[part.name] = content.decode("utf-8", "replace")
    return fields, name, data


def _store(folder: Path, name: str, data: bytes, *, overwrite: bool) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - `.name` has no ending here
    number = 1
    path = folder / name
    while not overwrite and path.exists():
        if _digest(path.read_bytes()) == _digest(data):
            return path.name
        path = folder / f"{stem} ({number}){ending}"
        number += 1
    path.write_bytes(data)
    return path.name


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _merge_mask(files: Files, fields: dict[str, str], data: bytes) -> bytes:
    """Put the uploaded picture's alpha into the picture that it was painted over."""
    from PIL import Image

    reference: Any = wire.loads(fields["original_ref"].encode())[0]
    root = files.directory(reference.get("type") or "output")
    path = Path(os.path.normpath(root / (reference.get("subfolder") or "") / reference["filename"]))
    if not path.is_relative_to(root) or not path.is_file():
        return data
    with Image.open(path) as original, Image.open(io.BytesIO(data)) as mask:
        merged = original.convert("RGBA")
        merged.putalpha(mask.convert("RGBA").getchannel("A").resize(merged.size))
    buffer = io.BytesIO()
    merged.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


async def view(request: web.BaseRequest, files: Files, *, is_new: bool) -> web.StreamResponse:
    """Hand out a file, or a picture of it (`preview=`, `channel=`)."""
    query = request.query
    if "filename" not in query:
        return web.Response(status=404)
    found = _locate(query["filename"], query.get("type"), query.get("subfolder"), files)
    if isinstance(found, web.Response):
        return found
    if not found.is_file():
        return web.Response(status=404)
    disposition = f'filename="{found.name}"'
    if "preview" in query:
        body, kind = await asyncio.to_thread(_preview, found, query["preview"], query.get("channel", "rgba"))
        return web.Response(body=body, content_type=kind, headers={"Content-Disposition": disposition})
    channel = query.get("channel")
    if channel in ("rgb", "a"):
        body = await asyncio.to_thread(_channel, found, channel)
        return web.Response(body=body, content_type="image/png", headers={"Content-Disposition": disposition})
    headers = _headers(found, disposition, is_new=is_new)
    small = None if _is_conditional(request) else _read_small(found, headers)
    return small or web.FileResponse(found, headers=headers)


def _is_conditional(request: web.BaseRequest) -> bool:
    headers = request.headers
    return "Range" in headers or "If-None-Match" in headers or "If-Modified-Since" in headers


def _read_small(path: Path, headers: dict[str, str]) -> web.Response | None:
    """Answer with a small file at once; aiohttp's own way takes a thread and three times as long."""
    stat = path.stat()
    if stat.st_size > _SMALL:
        return None
    headers["Etag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    headers["Last-Modified"] = formatdate(stat.st_mtime, usegmt=True)
    headers["Accept-Ranges"] = "bytes"
    return web.Response(body=path.read_bytes(), headers=headers)


def _locate(name: str, kind: str | None, subfolder: str | None, files: Files) -> Path | web.Response:
    for candidate in KINDS:
        if name.endswith(f" [{candidate}]"):
            name, kind = name[: -len(candidate) - 3], candidate
    if not name or name.startswith("/") or ".." in name:
        return web.Response(status=400)
    kind = kind or "output"
    if kind not in KINDS:
        return web.Response(status=400)
    root = files.directory(kind)
    folder = root
    if subfolder is not None:
        folder = Path(os.path.normpath(root / subfolder))
        if not folder.is_relative_to(root):
            return web.Response(status=403)
    return folder / os.path.basename(name)  # noqa: PTH119 - only the last part counts


def _headers(path: Path, disposition: str, *, is_new: bool) -> dict[str, str]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    headers = {"Content-Disposition": disposition, "Content-Type": kind}
    if is_new:
        headers["X-Content-Type-Options"] = "nosniff"
    if kind in (_RISKY_NEW if is_new else _RISKY):
        headers["Content-Type"] = "application/octet-stream"
        if is_new:
            headers["Content-Disposition"] = f"attachment; {disposition}"
            headers |= {"Vary": "Sec-Fetch-Dest", "Cache-Control": "no-store"}
    return headers


def _preview(path: Path, wish: str, channel: str) -> tuple[bytes, str]:
    from PIL import Image

    parts = wish.split(";")
    image_format = parts[0] if parts[0] in ("webp", "jpeg") else "webp"
    quality = int(parts[-1]) if parts[-1].isdigit() else 90
    buffer = io.BytesIO()
    with Image.open(path) as image:
        if image_format == "jpeg" or channel == "rgb":
            image = image.convert("RGB")  # noqa: PLW2901 - the picture in its other form
        image.save(buffer, format=image_format, quality=quality)
    return buffer.getvalue(), f"image/{image_format}"


def _channel(path: Path, channel: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        if channel == "rgb":
            image.convert("RGB").save(buffer, "PNG")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            picture = Image.new("RGBA", image.size)
            picture.putalpha(alpha)
            picture.save(buffer, "PNG")
    return buffer.getvalue()
