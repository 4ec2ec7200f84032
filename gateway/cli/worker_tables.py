"""Workers as a table, and what can be done with them."""

from __future__ import annotations

import asyncio
import re
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from gateway.adapters import datadir
from gateway.cli import client, failures, output, shapes

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOOK_SECONDS = 1.0
_NARROW = 60  #: columns in which the table has no room for all that it tells
_DEVICE = re.compile(r"(?:cuda:\d+ )?(.*?)(?: : \w+)?")  #: ComfyUI says `cuda:0 NVIDIA L4 : cudaMallocAsync`
_STYLES: Mapping[str, str] = {
    "idle": "green",
    "busy": "cyan",
    "starting": "yellow",
    "draining": "yellow",
    "paused": "yellow",
    "unreachable": "red",
    "quarantined": "red",
}


async def listing(url: str, api_key: str | None, screen: output.Screen, *, watch: bool) -> None:
    """Show the workers, once or until Ctrl-C."""
    async with client.connect(url, api_key) as gateway:
        if watch and not screen.as_json and screen.out.is_terminal:
            await _live(gateway, screen)
            return
        while True:
            workers = await gateway.workers()
            if screen.as_json:
                screen.json({"workers": workers}, lines=watch)
            else:
                screen.out.print(table(workers, now=time.time(), width=screen.out.width))
            if not watch:
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def _live(gateway: client.Gateway, screen: output.Screen) -> None:
    from rich.live import Live

    with Live(console=screen.out, auto_refresh=False) as view:
        while True:
            view.update(table(await gateway.workers(), now=time.time(), width=screen.out.width), refresh=True)
            await asyncio.sleep(_LOOK_SECONDS)


def table(workers: Sequence[Mapping[str, Any]], *, now: float, width: int) -> RenderableType:
    """The workers, one a row, on a very narrow screen only what they do; below, what is wrong with those that take no
    work."""
    from rich.console import Group

    if not workers:
        return output.plain("No workers. Add one with: comfy-gateway workers add http://127.0.0.1:8188", style="yellow")
    names = ("worker", "state", "job", *(("GPU", "loaded", "done", "restarts") if width >= _NARROW else ()))
    made = output.table(*names, right=["done", "restarts"], keep=["worker", "state"])
    for worker in workers:
        state = str(worker["state"])
        cells = (
            output.plain(str(worker["id"])),
            output.plain(state, style=_STYLES.get(state, "")),
            output.plain("\n".join(_job(job, now) for job in worker.get("jobs") or ())),
            output.plain(_gpu(worker)),
            output.plain("\n".join(PurePath(file).stem for file in worker.get("loaded") or ()), style="dim"),
            str(worker.get("jobs_done", 0)),
            str(worker.get("restarts", 0)),
        )
        made.add_row(*cells[: len(names)])
    troubles = [each for worker in workers for each in _troubles(worker)]
    return Group(made, "", *troubles) if troubles else made


def _troubles(worker: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What is wrong with this worker, and the end of its log: of any length, so in lines of their own."""
    if worker.get("last_error") and worker["state"] not in {"idle", "busy"}:
        reason = str(worker["last_error"]).removeprefix(f"{worker.get('url')} ")
        yield output.plain(f"{worker['id']}: {reason}", style="red")
    if worker.get("log_tail"):
        yield output.plain(textwrap.indent(str(worker["log_tail"]), "  "), style="dim")


def _gpu(worker: Mapping[str, Any]) -> str:
    found = _DEVICE.fullmatch(worker.get("device") or "")
    device = found[1] if found else ""
    if worker.get("simulated"):
        return device if "simulated" in device else f"{device} (simulated)".strip()
    pinned = f"{worker['gpu']}: " if worker.get("gpu") not in {None, ""} else ""
    free, total = worker.get("vram_free"), worker.get("vram_total")
    memory = f", {free / 2**30:.0f} of {total / 2**30:.0f} GB free" if free is not None and total else ""
    url = "" if str(worker["id"]) in str(worker["url"]) else worker["url"]
    return f"{pinned}{device}{memory}" if device else f"{pinned}{url}"


def _job(job: Mapping[str, Any], now: float) -> str:
    known = job.get("progress")
    far = ""
    if known:
        progress = shapes.Progress.of(known)
        far = f" {progress.value:.0%} {progress.words}".rstrip()
    return f"{shapes.short(str(job['job_id']))}{far}, {output.duration(max(0.0, now - shapes.epoch(job['since'])))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A worker to take into use."""

    url: str
    id: str | None
    depth: int


async def add(worker: New, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Take a worker into use."""
    async with client.connect(url, api_key) as gateway:
        added = await gateway.add_worker(worker.url, worker_id=worker.id, depth=worker.depth)
    screen.show(output.plain(f"{added['id']} is taken into use ({added['state']})"), added)


async def remove(worker: str, url: str, api_key: str | None, screen: output.Screen, *, drain: bool) -> None:
    """Remove a worker."""
    async with client.connect(url, api_key) as gateway:
        left = await gateway.remove_worker(worker, drain=drain)
    words = f"{worker} is removed" if left is None else f"{worker} is removed when it has finished what it runs"
    screen.show(output.plain(words), {"id": worker, "removed": left is None})


async def restart(worker: str, data_dir: Path, screen: output.Screen) -> None:
    """Ask the supervisor of this data directory to restart one of its processes."""
    path = await asyncio.to_thread(_socket_of, data_dir)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.post(f"http://supervisor/workers/{quote(worker, safe='')}/restart") as response,
        ):
            answer = await response.json()
    except (aiohttp.ClientError, OSError):
        raise _not_running(data_dir) from None
    if response.status == 404:
        way_out = "one that runs elsewhere is restarted there; `comfy-gateway workers` lists them all"
        raise failures.Wrong(f"this gateway runs no worker called {worker}", way_out=way_out)
    if response.status >= 400:
        raise failures.CommandFailed(str(answer.get("error") or f"the supervisor answered {response.status}"))
    screen.show(output.plain(f"{worker} is restarted"), answer)


def _socket_of(data_dir: Path) -> Path:
    path = datadir.DataDir(path=data_dir.expanduser().absolute()).socket
    if not path.exists():
        raise _not_running(data_dir)
    return path


def _not_running(data_dir: Path) -> failures.Unreachable:
    return failures.Unreachable(
        f"no gateway runs on {data_dir}", way_out="say where its data is: --data-dir, on the machine it runs on"
    )
