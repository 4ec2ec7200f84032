"""The uploads of the recordings, made again: their bytes were not kept, only which ones were the same."""

from __future__ import annotations

import ast
import io
import re
from typing import Any

import aiohttp
from PIL import Image

_OTHER = {
    "same name, other bytes": (2, 2, 2),
    "same name, third bytes": (3, 3, 3),
    "overwrite=True (capital): not honoured": (4, 4, 4),
}


def png(colour: tuple[int, ...], size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
    """Make a picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def form(event: dict[str, Any]) -> aiohttp.FormData:
    """Make the multipart body that a recording tells of."""
    told: str = event["body"]
    if "colour" in told:
        name, colour = re.findall(r"(\S+) colour (\(.*?\))", told)[0]
        return _form("image", name, png(ast.literal_eval(colour)), {"overwrite": "true"})
    if told == "multipart: image=<png> filename=wire_in.png":
        return _form("image", "wire_in.png", png((200, 30, 10), (80, 60)), {})
    field, name, fields = re.findall(r"multipart: (\w+)=<.*?> filename=(None|'.*?') fields=(.*)", told)[0]
    if name == "None":
        return _form("note", None, b"", ast.literal_eval(fields))
    return _form(field, ast.literal_eval(name), _bytes(event.get("label") or "", told), ast.literal_eval(fields))


def _bytes(label: str, told: str) -> bytes:
    if "<0 bytes>" in told:
        return b""
    if "not an image" in label:
        return b"hello world"
    if label == "mask":
        return png((0, 0, 0, 128), mode="RGBA")
    return png(_OTHER.get(label, (1, 1, 1)))


def _form(field: str, name: str | None, data: bytes, fields: dict[str, str]) -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False)
    if name is not None:
        form.add_field(field, data, filename=name)
    for key, value in fields.items():
        form.add_field(key, value)
    return form
