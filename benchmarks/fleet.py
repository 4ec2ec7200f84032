"""Processes to measure: simulated workers, each its own, and a real gateway in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import psutil

_START_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway and its server process."""

    url: str
    supervisor: psutil.Process

    def server(self) -> psutil.Process:
        """The process that answers HTTP and dispatches."""
        children = self.supervisor.children()
        return next(child for child in children if "gateway.server" in " ".join(child.cmdline()))

    def cpu_seconds(self) -> float:
        """CPU that the server has used so far, user and system."""
        times = self.server().cpu_times()
        return times.user + times.system

    def rss_mb(self) -> float:
        """Resident memory of the server, in MiB."""
        return self.server().memory_info().rss / 2**20


@asynccontextmanager
async def process(
    *argv: str, log: Path, env: Mapping[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A program, with these variables beside ours, until the end of the context."""
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out, env={**os.environ, **(env or {})})
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def answers(url: str, what: str) -> None:
    """Until GET `url` answers 200."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(_START_SECONDS):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(what)


@asynccontextmanager
async def workers(count: int, folder: Path, *options: str) -> AsyncGenerator[list[str]]:
    """URLs of `count` simulators without any cost of their own; their files are in memory where the system can."""
    async with AsyncExitStack() as stack:
        shared = Path("/dev/shm")  # not the disk that the gateway's data is measured on
        files = Path(stack.enter_context(TemporaryDirectory(dir=shared if shared.is_dir() else None)))
        urls: list[str] = []
        for index in range(count):
            port = free_port()
            argv = (
                sys.executable,
                "-m",
                "gateway.simulator",
                "--port",
                str(port),
                "--dir",
                str(files / f"sim{index}"),
            )
            await stack.enter_async_context(
                process(*argv, "--card", "instant", *options, log=folder / f"sim{index}.log")
            )
            urls.append(f"http://127.0.0.1:{port}")
        await asyncio.gather(*(answers(f"{url}/system_stats", "a simulator did not start") for url in urls))
        yield urls


@asynccontextmanager
async def gateway(
    urls: Sequence[str],
    folder: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    key: str | None = None,
    depth: int = 1,
) -> AsyncGenerator[Gateway]:
    """A real `comfy-gateway up` over these workers, its data in `folder`. `key`: an admin's, where it asks for keys;
    `depth`: how many jobs each worker is sent at once."""
    port = free_port()
    argv = [
        str(Path(sys.executable).with_name("comfy-gateway")),
        "up",
        "--port",
        str(port),
        "--data-dir",
        str(folder / "data"),
    ]
    for url in urls if depth == 1 else ():
        argv += ["--worker", url]
    async with process(*argv, *options, log=folder / "gateway.log", env=env) as child:
        url = f"http://127.0.0.1:{port}"
        await answers(f"{url}/readyz", "the gateway did not start")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with aiohttp.ClientSession(headers=headers) as session:
            for worker in urls if depth != 1 else ():
                async with session.post(f"{url}/v1/workers", json={"url": worker, "depth": depth}) as response:
                    response.raise_for_status()
            await _idle(session, url, len(urls))
        yield Gateway(url=url, supervisor=psutil.Process(child.pid))


async def _idle(session: aiohttp.ClientSession, url: str, count: int) -> None:
    """Until all workers may take work."""
    async with asyncio.timeout(_START_SECONDS):
        while True:
            async with session.get(f"{url}/v1/workers") as response:
                found = (await response.json())["workers"]
            if sum(worker["state"] == "idle" for worker in found) >= count:
                return
            await asyncio.sleep(0.05)


def cores() -> int:
    """Cores this machine lets us use."""
    return len(os.sched_getaffinity(0))
