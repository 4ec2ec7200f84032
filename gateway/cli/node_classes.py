"""What workers have: asked of a gateway's workers, of one worker, or read from a file."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from gateway.adapters import comfyui, templates
from gateway.cli import client, failures, output
from gateway.domain import errors
from gateway.domain.comfy import object_info
from gateway.domain.templates import drafts, records
from gateway.domain.workflow import conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The node classes of one worker, in full and as checks read them."""

    info: Mapping[str, object]
    catalog: object_info.NodeCatalog


Known = Mapping[str, Classes]  #: by worker


def read(path: Path) -> Mapping[str, Any]:
    """A saved `/object_info`, as it is or packed by gzip."""
    try:
        data = path.read_bytes()
        info = orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise failures.Wrong(f"{path} cannot be read: {reason}") from None
    if not isinstance(info, dict) or not any(isinstance(each, dict) for each in cast("dict[str, Any]", info).values()):
        raise failures.Wrong(f"{path} is not what a ComfyUI answers at /object_info")
    return cast("dict[str, Any]", info)


def of_file(path: Path) -> Classes:
    """A saved `/object_info`."""
    info = read(path)
    try:
        return Classes(info=info, catalog=object_info.NodeCatalog.parse(info))
    except errors.WorkerFault as error:
        raise failures.Wrong(f"{path} is not what a ComfyUI answers at /object_info: {error.message}") from None


async def known(file: Path | None, place: tuple[str, str | None] | None, screen: output.Screen) -> Known:
    """Of the worker or the gateway's workers at `place`, and of the file."""
    found = {} if place is None else await of_workers(*place, screen)
    if file is not None:
        found = {**found, file.name: await asyncio.to_thread(of_file, file)}
    return found


async def of_workers(url: str, api_key: str | None, screen: output.Screen) -> Known:
    """What the workers of this gateway have, as they tell it themselves; or what the worker at this URL has."""
    return await _of_each(await _addresses(url, api_key), url, screen.note)


async def of_gateway(gateway: client.Gateway) -> Known:
    """What the workers of this gateway have."""
    return await _of_each(await _listed(gateway), gateway.base)


async def _of_each(addresses: Mapping[str, str], url: str, tell: Callable[[str], None] | None = None) -> Known:
    found: dict[str, Classes] = {}
    for name, address in addresses.items():
        try:
            found[name] = await _asked(address)
        except errors.WorkerError as error:
            if tell is not None:
                tell(f"{name} cannot be asked at {address}: {error.message}")
    if not found:
        raise failures.Unreachable(f"no worker of {url} can be asked what it has", way_out="use --object-info FILE")
    return found


async def _addresses(url: str, api_key: str | None) -> Mapping[str, str]:
    """URLs of a gateway's workers by their ids; what is no gateway may be a worker itself."""
    try:
        async with client.connect(url, api_key) as gateway:
            return await _listed(gateway)
    except failures.Refused as refused:
        if refused.http_status not in {404, 405}:
            raise
        return {url: url}


async def _listed(gateway: client.Gateway) -> Mapping[str, str]:
    return {str(worker["id"]): str(worker["url"]) for worker in await gateway.workers()}


async def _asked(url: str) -> Classes:
    worker = comfyui.ComfyClient(url)
    try:
        info = await worker.object_info()
    finally:
        await worker.close()
    return Classes(info=info, catalog=await asyncio.to_thread(object_info.NodeCatalog.parse, info))


def converting(found: Known) -> templates.Convert | None:
    """The conversion of editor's files by the first worker that has all classes; None when nobody was asked."""
    if not found:
        return None

    def convert(draft: drafts.Draft) -> records.Converted:
        refused: list[errors.TemplateError] = []
        for classes in found.values():
            try:
                return drafts.converted(draft, classes.info)
            except errors.TemplateError as error:
                refused.append(error)
        raise min(refused, key=lambda error: len(error.faults))

    return convert


def graph_of(workflow: object, found: Known, *, allow_unknown: bool = False) -> conversion.Converted:
    """The graph that an editor's file becomes with the classes of the worker that knows most of its nodes."""
    made: list[conversion.Converted] = []
    refused: list[errors.InvalidWorkflow] = []
    for classes in found.values():
        try:
            made.append(conversion.convert(workflow, classes.info, allow_unknown=allow_unknown))
        except errors.InvalidWorkflow as error:
            refused.append(error)
    if made:
        return min(made, key=lambda one: len(one.unknown))
    raise min(refused, key=lambda error: len(error.faults))
