"""`templates convert`: what a saved workflow would be as a graph."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson

from gateway.adapters import comfyui, templates
from gateway.cli import failures, output
from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.embedded import reading
from gateway.domain.workflow import conversion

_WAY_OUT = "name a ComfyUI with --url http://HOST:8188, or save its /object_info and name that with --object-info FILE"


async def convert(
    file: Path, screen: output.Screen, *, object_info: Path | None, url: str | None, allow_unknown: bool
) -> None:
    """Print the API-format graph of a file; what its node classes are is asked only when it is needed."""
    if file.name.endswith(templates.PIPELINE):
        way_out = f"see it with: comfy-gateway templates show {file}"
        raise failures.Wrong(f"{file} is a pipeline: templates in a row, each with a graph of its own", way_out=way_out)
    workflow = await asyncio.to_thread(_workflow, file)
    if not isinstance(workflow, dict) or not graphs.is_ui_format(cast("dict[str, Any]", workflow)):
        screen.json(graphs.parse_graph(workflow))
        return
    info = await _node_classes(object_info, url)
    converted = await asyncio.to_thread(conversion.convert, workflow, info, allow_unknown=allow_unknown)
    for fault in converted.unknown:
        screen.note(fault.message, style="yellow")
    screen.json(converted.graph)


def _workflow(file: Path) -> Any:
    try:
        return reading.read_workflow(file.read_bytes(), source=str(file))
    except OSError as error:
        raise failures.Wrong(f"{file} cannot be read: {error.strerror}") from None


async def _node_classes(file: Path | None, url: str | None) -> Mapping[str, Any]:
    if file is not None:
        return await asyncio.to_thread(read_object_info, file)
    if url is None:
        raise failures.Wrong("converting needs to know the node classes of a ComfyUI", way_out=_WAY_OUT)
    return await _asked(url)


async def _asked(url: str) -> Mapping[str, Any]:
    try:
        client = comfyui.ComfyClient(url)
        try:
            return cast("Mapping[str, Any]", await client.object_info())
        finally:
            await client.close()
    except (errors.WorkerError, aiohttp.InvalidURL, ValueError) as error:
        raise failures.Unreachable(f"{url} does not answer as a ComfyUI does: {error}", way_out=_WAY_OUT) from None


def read_object_info(path: Path) -> Mapping[str, Any]:
    """A saved `/object_info`, as it is or packed by gzip."""
    try:
        data = path.read_bytes()
        info = orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, orjson.JSONDecodeError) as error:
        raise failures.Wrong(f"{path} cannot be read: {error}") from None
    if not isinstance(info, dict) or not any(isinstance(each, dict) for each in cast("dict[str, Any]", info).values()):
        raise failures.Wrong(f"{path} is not what a ComfyUI answers at /object_info")
    return cast("dict[str, Any]", info)
