"""Whole gateways over folders of templates that change, and what is put into them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
from PIL import Image, PngImagePlugin

PATIENCE = 60  #: seconds, on a machine that has much else to do


def graph(color: int = 0, *, width: Any = 64) -> dict[str, Any]:
    """A picture of one colour."""
    size = {"width": width, "height": 32, "batch_size": 1}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}},
    }


def saved(color: int = 0, *, kind: str = "EmptyImage") -> dict[str, Any]:
    """The same as the editor saves it."""
    return {
        "nodes": [
            {
                "id": 1,
                "type": kind,
                "widgets_values": [64, 32, 1, color],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [7]}],
            },
            {
                "id": 2,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 7}],
                "widgets_values": ["plain"],
            },
        ],
        "links": [[7, 1, 0, 2, 0, "IMAGE"]],
        "version": 0.4,
    }


def picture(**texts: Any) -> bytes:
    """A PNG with these texts in it."""
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, orjson.dumps(value).decode())
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG", pnginfo=info)
    return out.getvalue()


def write(folder: Path, name: str, content: Any) -> Path:
    """A file with this content, JSON unless it is text or bytes."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    return path


async def until(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
    """The first answer for which this holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds(answer := await ask()):
            await asyncio.sleep(0.02)
    return answer


def asking(client: httpx.AsyncClient, path: str) -> Callable[[], Awaitable[Any]]:
    """Asks for this path."""

    async def ask() -> Any:
        return (await client.get(path)).json()

    return ask


def named(items: list[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The one of this name."""
    return next((item for item in items if item["name"] == name), None)


async def ran(client: httpx.AsyncClient, name: str, inputs: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """The job of an order, once it has ended."""
    answer = await client.post(
        f"/v1/templates/{name}/jobs", json={"inputs": inputs or {}}, headers={"Prefer": "wait=20", **more}
    )
    assert answer.status_code in {200, 201, 202}, answer.text
    ended = {"succeeded", "failed", "canceled", "expired"}
    return await until(asking(client, answer.json()["urls"]["self"]), lambda job: job["status"] in ended)
