"""A gateway with simulated workers that a command starts for itself: real processes, ended with the command."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from gateway import supervisor
from gateway.cli import client, failures, output

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_MARK = "gateway_ready"
_CHUNK = 1 << 16


async def workers_ready(gateway: client.Gateway, count: int, *, seconds: float = _START_SECONDS) -> None:
    """Wait until every worker can take a job, so that all of them are at work from the start."""
    try:
        async with asyncio.timeout(seconds):
            while sum(worker["state"] == "idle" for worker in await gateway.workers()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise failures.CommandFailed(f"the workers were not ready within {seconds:g} seconds") from None


@asynccontextmanager
async def running(arguments: Sequence[str], screen: output.Screen, *, name: str) -> AsyncGenerator[str]:
    """A gateway on a free port, started with these arguments, with its data in a temporary folder of this name; ended
    and removed afterwards."""
    data = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"comfy-gateway-{name}-"))
    log = data / "gateway.log"
    keep = True
    try:
        process = await _spawn(arguments, data)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(listen(process, log, ready))
        try:
            yield await _url(ready)
        finally:
            await _stop(process)
            await reading
        keep = False
    except asyncio.CancelledError:
        keep = False
        raise
    finally:
        if keep:
            screen.note(f"What the gateway said is in {log}", style="yellow")
        else:
            await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)


async def _spawn(arguments: Sequence[str], data: Path) -> asyncio.subprocess.Process:
    """`comfy-gateway up`, in no way special, but tied to us: should we be killed, it ends with all its children."""
    tether = Path(supervisor.__file__).with_name("tether.py")
    settings = (*arguments, "--port", "0", "--data-dir", str(data / "data"), "--log", "json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMFY_GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(tether), str(os.getpid())),
        *(sys.executable, "-c", "from gateway import cli; cli.main()", "up", *settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=data,  # no gateway.toml and no workflows of this folder
        env=environment,
        start_new_session=True,  # Ctrl-C is ours
    )


async def listen(process: asyncio.subprocess.Process, log: Path, ready: asyncio.Future[str]) -> None:
    """Keep what it says, and find its URL in that."""
    if process.stderr is None:
        raise RuntimeError("the gateway was started without a pipe")
    rest = b""  #: the beginning of a line
    with await asyncio.to_thread(log.open, "wb") as file:
        while chunk := await process.stderr.read(_CHUNK):
            file.write(chunk)
            file.flush()
            if ready.done():
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            url = next((_record(line).get("url") for line in lines if _MARK.encode() in line), None)
            if url is not None:
                ready.set_result(str(url))
    if not ready.done():
        ready.set_exception(failures.CommandFailed("the gateway of this command did not start"))


def _record(line: bytes) -> Mapping[str, Any]:
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(line)
        if isinstance(found, dict):
            return found
    return {}


async def _url(ready: asyncio.Future[str]) -> str:
    try:
        async with asyncio.timeout(_START_SECONDS):
            return await ready
    except TimeoutError:
        raise failures.CommandFailed(
            f"the gateway of this command was not ready within {_START_SECONDS:g} seconds"
        ) from None


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
