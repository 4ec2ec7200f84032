"""What `doctor` looks at. A check never raises for what it finds; it says what is there and the way out."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gateway import settings
from gateway.adapters import datadir, gpus, processes, templates
from gateway.domain import errors, model
from gateway.settings import Settings
from gateway.supervisor import comfyui, listening

State = Literal["ok", "note", "wrong"]
_LOW_DISK = 5 * 2**30
_TORCH = (
    "import torch; cuda = torch.cuda.is_available(); "
    "print(torch.__version__, ('with ' + torch.cuda.get_device_name(0)) if cuda else 'without a GPU')"
)
_TORCH_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `note`: nothing wrong, but worth knowing."""

    name: str
    state: State
    found: str
    way_out: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return asdict(self)


def _ok(name: str, found: str) -> Finding:
    return Finding(name=name, state="ok", found=found)


def _note(name: str, found: str, way_out: str | None = None) -> Finding:
    return Finding(name=name, state="note", found=found, way_out=way_out)


def _wrong(name: str, found: str, way_out: str | None = None) -> Finding:
    return Finding(name=name, state="wrong", found=found, way_out=way_out)


async def everything(given: Settings) -> list[Finding]:
    """All checks, in the order in which a person would look."""
    findings = [_python(), *_environment()]
    try:
        data = datadir.at(given.data_dir)
    except errors.ConfigError as error:
        return [*findings, _wrong("data directory", error.message, "choose another with --data-dir")]
    owner = datadir.holder(data)
    findings += [_data(data, owner), _disk(given, data), _listening(given, owner)]
    findings += [finding async for finding in _storage(given, data)]
    findings += [*_templates(given), *_gpus(given)]
    findings += [finding async for finding in _comfyui(given)]
    findings += await _workers(given, () if owner is None else await _running(data), alone=owner is None)
    return [*findings, _nginx()]


def _python() -> Finding:
    return _ok("Python", f"{platform.python_version()}, {sys.executable}")


def _environment() -> Iterator[Finding]:
    for stranger in settings.strangers(os.environ):
        yield _wrong("environment", f"{stranger} is not a setting", "see docs/reference/settings.md, or unset it")


def _data(data: datadir.DataDir, owner: int | None) -> Finding:
    if not os.access(data.path, os.W_OK | os.X_OK):
        return _wrong("data directory", f"{data.path} cannot be written", "mend its owner, or choose --data-dir")
    if owner is not None:
        told = f"{data.path}, in use by a running gateway (process {owner})"
        return _note("data directory", told, "its flags are not known here: the settings below are this command's")
    return _ok("data directory", f"{data.path}, free")


def _disk(given: Settings, data: datadir.DataDir) -> Finding:
    floor = given.limits.free_disk
    free = shutil.disk_usage(data.path).free
    told = f"{free / 2**30:.1f} GB free for pictures and jobs"
    if free < floor:
        told += f", and orders are refused below {floor / 2**30:.1f} GB (limits.free_disk)"
        return _wrong("disk", told, "make room, or choose --data-dir on another disk")
    return _note("disk", told, "that may not last long") if free < _LOW_DISK else _ok("disk", told)


def _listening(given: Settings, owner: int | None) -> Finding:
    try:
        sockets = listening.open_sockets(given.host, given.port)
    except errors.ConfigError as error:
        if owner is not None:
            return _ok("address", f"{given.host}, port {given.port}: taken, as it seems by the running gateway")
        return _wrong("address", error.message)
    told = listening.url(given.host, sockets)
    listening.close(sockets)
    keys = len(given.all_api_keys)
    return _ok("address", f"{told}, free; {f'{keys} API keys' if keys else 'no API key, so this machine only'}")


async def _storage(given: Settings, data: datadir.DataDir) -> AsyncIterator[Finding]:
    from gateway.adapters import blobs, store

    kind = "PostgreSQL" if given.database else "SQLite"
    url = given.database or data.database
    try:
        if await store.is_behind(url):  # and a gateway of that version may be running on it
            way_out = "stop the gateway that uses it; the next start brings it up to date"
            yield _note("database", f"{kind} answers; its schema is that of an older version", way_out)
        else:
            opened = await store.open_store(url, clock=time.time)
            try:
                await opened.check()
            finally:
                await opened.close()
            yield _ok("database", f"{kind} answers, schema up to date")
    except errors.GatewayError as error:
        yield _wrong("database", error.message, "see --database" if given.database else None)
    try:
        await blobs.open_blobs(given.blobs or data.blobs).check()
        yield _ok("blobs", f"{given.blobs or data.blobs} can be written")
    except errors.GatewayError as error:
        yield _wrong("blobs", error.message, "see --blobs")


def _templates(given: Settings) -> Iterator[Finding]:
    try:
        found = templates.load(templates.builtin_folder())
        for folder in given.template_folders:
            found = found.with_over(templates.load(folder))
    except errors.GatewayError as error:
        yield _wrong("templates", error.message, "see --workflows")
        return
    yield _ok("templates", f"{len(found.templates)} can be used")
    for broken in found.broken:
        yield _wrong(f"template {broken.name}", f"{broken.source}: {broken.reason}", "comfy-gateway templates check")


def _gpus(given: Settings) -> Iterator[Finding]:
    found = gpus.find()
    needed = given.comfyui is not None and given.gpus != "none"
    if not found.gpus:
        told = f"none found ({found.missing})" if found.missing else "none found"
        way_out = "install the NVIDIA driver, name the GPUs with --gpus 0,1, or use --gpus none"
        named = not isinstance(given.gpus, str)
        yield _wrong("GPUs", told, way_out) if needed and not named else _note("GPUs", told)
        return
    names = "; ".join(f"{gpu.label}: {gpu.name}, {gpu.memory_bytes / 2**30:.0f} GB, {gpu.uuid}" for gpu in found.gpus)
    yield _ok("GPUs", f"{names} (driver {found.driver})")
    if needed:
        try:
            gpus.choose(given.gpus, found)
        except errors.ConfigError as error:
            yield _wrong("GPUs", error.message)


async def _comfyui(given: Settings) -> AsyncIterator[Finding]:
    if given.comfyui is None:
        return
    try:
        found = await comfyui.inspect(given.comfyui, given.comfyui_python, given.comfyui_args)
    except errors.ConfigError as error:
        yield _wrong("ComfyUI", error.message)
        return
    yield _ok("ComfyUI", f"{found.version or 'of an unknown version'} in {found.folder}, run by {found.python}")
    if "--user-directory" not in found.flags:
        yield _note("ComfyUI", "it cannot give each worker a user directory of its own", "use a newer version")
    yield await _torch(found)


async def _torch(found: comfyui.Installation) -> Finding:
    process = await asyncio.create_subprocess_exec(
        *(found.python, "-c", _TORCH),
        cwd=found.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_TORCH_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return _wrong("PyTorch", f"importing it took more than {_TORCH_SECONDS} s", "look at that Python environment")
    last = (output.decode("utf-8", "replace").strip().splitlines() or ["no answer"])[-1]
    if process.returncode != 0:
        return _wrong("PyTorch", last, f"{found.python} -m pip install -r {found.folder / 'requirements.txt'}")
    return _ok("PyTorch", last)


async def _running(data: datadir.DataDir) -> Sequence[model.WorkerProcess]:
    """The workers that the gateway of this data directory runs on this machine."""
    supervisor = processes.Supervisor(data.socket)
    try:
        return await supervisor.workers()
    except errors.Unavailable:  # it starts, or stops
        return ()
    finally:
        await supervisor.close()


async def _workers(given: Settings, running: Sequence[model.WorkerProcess], *, alone: bool) -> list[Finding]:
    """Those of the running gateway and those of the settings; without any, what could become one."""
    asked = [_own_worker(process) for process in running] + [_worker(url, wanted=True) for url in given.workers]
    found = list(await asyncio.gather(*asked))
    if not asked and given.comfyui is None and not given.simulate and given.look_for and alone:
        found.append(await _worker(given.look_for, wanted=False))
    if not asked and not alone:
        found.append(_note("worker", "the running gateway has none of its own", "comfy-gateway workers lists all"))
    return found


async def _own_worker(process: model.WorkerProcess) -> Finding:
    if process.pid is None:
        told = f"{process.id} does not run ({process.failure or 'it is about to be started'})"
        return _wrong(
            "worker", told, f"comfy-gateway workers shows why; then comfy-gateway workers restart {process.id}"
        )
    return await _worker(process.url, wanted=True, name=process.id)


async def _worker(url: str, *, wanted: bool, name: str | None = None) -> Finding:
    from gateway.adapters import comfyui as client

    place = f"{name} at {url}" if name else url
    worker = client.ComfyClient(url, timeouts=client.Timeouts(answer=5.0))
    try:
        facts = await worker.facts()
    except errors.WorkerError as error:
        told = error.message if url in error.message else f"{url}: {error.message}"
        if name:
            way_out = f"it may be starting; comfy-gateway workers restart {name}"
            return _wrong("worker", f"{name}: {told}", way_out)
        if wanted:
            return _wrong("worker", told, "is it started, with --listen, and not firewalled?")
        return _note("worker", f"no ComfyUI on {url}", "add workers with --comfyui DIR, --worker URL or --simulate 2")
    finally:
        await worker.close()
    kind = "a simulator of ComfyUI" if facts.simulated else "ComfyUI"
    return _ok("worker", f"{place}: {kind} {facts.comfyui_version or ''} on {facts.device or 'an unknown device'}")


def _nginx() -> Finding:
    found = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    return (
        _ok("nginx", f"{Path(found)} (optional)") if found else _note("nginx", "not installed (optional front proxy)")
    )
