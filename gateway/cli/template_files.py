"""Template files on this machine: shown, written, checked."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from gateway.adapters import templates as folders
from gateway.cli import client, failures, output, template_tables
from gateway.domain import errors
from gateway.domain.comfy import object_info
from gateway.domain.templates import describe, model, sidecar

_ANSWER_SECONDS = 30


async def show(
    name: str, source: template_tables.Source, screen: output.Screen, *, object_info: Path | None, write: bool
) -> None:
    """Show a template of this machine; `write` its parameters as the file to start from."""
    await asyncio.to_thread(_show, name, source, screen, object_info=object_info, write=write)


def _show(
    name: str, source: template_tables.Source, screen: output.Screen, *, object_info: Path | None, write: bool
) -> None:
    path = _path(name, source)
    catalog = None if object_info is None else read_catalog(object_info)
    template = folders.load_template(path, catalog=catalog)
    template_tables.show(describe.detail(template), screen)
    if write:
        beside = path.with_suffix(".toml")
        try:
            with beside.open("x", encoding="utf-8") as file:
                file.write(sidecar.write_sidecar(template))
        except FileExistsError:
            raise failures.Wrong(f"{beside} is there already", way_out="move it away to begin anew") from None
        except OSError as error:
            raise failures.Wrong(f"{beside} cannot be written: {error.strerror}") from None
        screen.note(f"Written to {beside}", style="green")


def _path(name: str, source: template_tables.Source) -> Path:
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise failures.Wrong(f"there is no file {name}")
        return Path(name)
    template = source.local().get(name)
    if template.source is None:
        raise failures.Wrong(f"{name} is not a file on this machine")
    return Path(template.source)


def read_catalog(path: Path) -> object_info.NodeCatalog:
    """A saved `/object_info`."""
    try:
        data = path.read_bytes()
        return object_info.NodeCatalog.parse(orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data))
    except (OSError, EOFError, orjson.JSONDecodeError, errors.WorkerFault) as error:
        raise failures.Wrong(f"{path} is not what a ComfyUI answers at /object_info: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a file; nothing: it is good."""

    path: Path
    faults: tuple[errors.Fault, ...] = ()
    workers: tuple[str, ...] | None = None  #: that could run it; None: nobody was asked

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": str(self.path),
            "ok": not self.faults,
            "faults": [fault.as_dict() for fault in self.faults],
            "workers": None if self.workers is None else list(self.workers),
        }


async def check(
    wanted: Sequence[Path], screen: output.Screen, *, object_info: Path | None, gateway: tuple[str, str | None] | None
) -> int:
    """Check these files, or those in these folders. Returns 1 when something is wrong."""
    paths = await asyncio.to_thread(lambda: [path for place in wanted for path in _files(place)])
    catalogs = {} if gateway is None else await _of_workers(*gateway, screen)
    if object_info is not None:
        catalogs = {**catalogs, object_info.name: await asyncio.to_thread(read_catalog, object_info)}
    found = await asyncio.to_thread(lambda: [_checked(path, catalogs) for path in paths])
    if screen.as_json:
        screen.json({"files": [each.as_dict() for each in found]})
    else:
        _report(found, screen)
    return failures.FAILED if any(each.faults for each in found) else failures.DONE


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        found = sorted({path.with_suffix(".json") for path in place.iterdir() if path.suffix in {".json", ".toml"}})
        if not found:
            raise failures.Wrong(f"there are no templates in {place}")
        yield from found
    elif place.with_suffix(".json").exists():
        yield place.with_suffix(".json")
    else:
        raise failures.Wrong(f"there is no {place}", way_out="name workflows in API format, or a folder of them")


async def _of_workers(url: str, api_key: str | None, screen: output.Screen) -> Mapping[str, object_info.NodeCatalog]:
    """What the gateway's workers have, as they tell it themselves."""
    async with client.connect(url, api_key) as gateway:
        workers = await gateway.workers()
    found: dict[str, object_info.NodeCatalog] = {}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for worker in workers:
            try:
                async with session.get(f"{worker['url']}/object_info") as response:
                    found[str(worker["id"])] = object_info.NodeCatalog.parse(orjson.loads(await response.read()))
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, errors.WorkerFault) as error:
                screen.note(f"{worker['id']} cannot be asked at {worker['url']}: {error}", style="yellow")
    if not found:
        raise failures.Unreachable(f"no worker of {url} can be asked what it has", way_out="use --object-info FILE")
    return found


def _checked(path: Path, catalogs: Mapping[str, object_info.NodeCatalog]) -> Finding:
    try:
        template = folders.load_template(path)
    except errors.TemplateError as error:
        whole = errors.Fault(reason=error.code, message=error.message)
        return Finding(path=path, faults=error.faults or (whole,))
    if not catalogs:
        return Finding(path=path)
    refused = {name: _lacking(template, catalog) for name, catalog in catalogs.items()}
    able = tuple(name for name, faults in refused.items() if not faults)
    return Finding(path=path, faults=() if able else min(refused.values(), key=len), workers=able)


def _lacking(template: model.Template, catalog: object_info.NodeCatalog) -> tuple[errors.Fault, ...]:
    faults = catalog.check(template.graph, partial=False)
    told = {(fault.class_type, fault.field) for fault in faults}
    classes = {fault.class_type for fault in faults if fault.reason == "missing_node_type"}
    lacking = (
        fault
        for fault in catalog.lacks(template.requirements)
        if fault.class_type not in classes and (fault.class_type, fault.field) not in told
    )
    return tuple(map(template.explained, (*faults, *lacking)))


def _report(found: Sequence[Finding], screen: output.Screen) -> None:
    table = output.table(
        "file", "", "workers" if any(each.workers is not None for each in found) else "", keep=["file"]
    )
    for each in found:
        state = output.plain("wrong", style="red") if each.faults else output.plain("ok", style="green")
        table.add_row(output.plain(str(each.path)), state, output.plain(", ".join(each.workers or ())))
    screen.out.print(table)
    for each in found:
        if each.faults:
            screen.out.print()
            screen.out.print(output.plain(str(each.path), style="bold"))
            screen.out.print(output.fault_table(each.faults))
