"""The processes of a run: `comfy-gateway up` with simulators of its own, and simulators that stand elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from tests.chaos import ledger

_START_SECONDS: Final = 60.0
_SIMULATED: Final = ("--card", "instant", "--step-ms", "3", "--node-pack", "wiretest")
#: A worker may come back often and at once: here it is not its fault that it died. Watchdogs bark within seconds.
_SETTINGS: Final = {
    "COMFY_GATEWAY_LOOK_FOR": "",
    "COMFY_GATEWAY_RESTART__FIRST_DELAY": "0.2",
    "COMFY_GATEWAY_RESTART__MOST_DELAY": "1",
    "COMFY_GATEWAY_RESTART__GIVE_UP_AFTER": "1000",
    "COMFY_GATEWAY_WATCH__RUN": "45",
    "COMFY_GATEWAY_WATCH__IDLE": "20",
    "COMFY_GATEWAY_WATCH__DEAD": "15",
    "COMFY_GATEWAY_WEBHOOKS__ALLOW_PRIVATE": "all",
}


class Broken(Exception):
    """The run itself cannot go on; nothing is said about the gateway."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass(slots=True, kw_only=True)
class Worker:
    """One simulator. `folder` is set for those that we start ourselves; the others are the gateway's."""

    index: int
    url: str = ""
    pid: int | None = None
    folder: Path | None = None
    process: asyncio.subprocess.Process | None = None
    deaths: list[float] = field(default_factory=list[float])  #: wall clock
    runs: dict[tuple[str, float], ledger.Run] = field(default_factory=dict[tuple[str, float], ledger.Run])
    forgotten: set[str] = field(default_factory=set[str])  #: prompts whose history we made it forget
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  #: held while it is dead or frozen

    @property
    def ours(self) -> bool:
        """Whether we start it, rather than the gateway's supervisor."""
        return self.folder is not None

    @property
    def depth(self) -> int:
        """How many jobs are sent there at once: every other one has a line, from which idle workers take."""
        return 1 + 2 * (self.index % 2)


@dataclass(slots=True, kw_only=True)
class Site:
    """Everything that runs."""

    folder: Path
    port: int
    workers: Sequence[Worker]
    local: int
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process | None = None
    down: asyncio.Lock = field(default_factory=asyncio.Lock)  #: held while the whole gateway is away

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The gateway's data directory."""
        return self.folder / "data"

    # -- the gateway --------------------------------------------------------------------------------------------

    async def start_gateway(self) -> None:
        """Start it and wait until it takes work."""
        command = Path(sys.executable).with_name("comfy-gateway")
        arguments = ["up", "--port", str(self.port), "--data-dir", str(self.data), "--log", "json"]
        arguments += ["--simulate", str(self.local), "--simulate-args", " ".join(_SIMULATED)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMFY_GATEWAY_")}
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(str(command), *arguments), stdout=log, stderr=log, env={**kept, **_SETTINGS}, cwd=self.folder
            )
        await self.ready()

    async def ready(self) -> None:
        """Wait until the gateway takes work."""
        await self._answers(f"{self.url}/readyz", self.process)

    async def add_workers(self) -> None:
        """Tell it of the workers that stand elsewhere; it remembers them."""
        for worker in self.workers:
            if worker.ours:
                body = {"url": worker.url, "id": f"far{worker.index}", "depth": worker.depth}
                async with self.session.post(f"{self.url}/v1/workers", json=body) as response:
                    if response.status != 201:
                        raise Broken(f"a worker was refused: {await response.text()}")
        async with asyncio.timeout(_START_SECONDS):
            while sum(worker["state"] == "idle" for worker in await self.views()) < len(self.workers):
                await asyncio.sleep(0.05)

    async def views(self) -> list[dict[str, Any]]:
        """What the gateway says of its workers; nothing while it does not answer."""
        try:
            async with self.session.get(f"{self.url}/v1/workers") as response:
                return (await response.json())["workers"] if response.status == 200 else []
        except (aiohttp.ClientError, TimeoutError, OSError):
            return []

    def server(self) -> psutil.Process | None:
        """The process that answers HTTP and dispatches."""
        if self.process is None or self.process.returncode is not None:
            return None
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                if "gateway.server" in " ".join(child.cmdline()):
                    return child
        return None

    async def stop_gateway(self, number: signal.Signals) -> int:
        """Send it a signal and wait for its end; its own workers end with it."""
        if self.process is None:
            raise Broken("the gateway was never started")
        locals_ = [worker for worker in self.workers if not worker.ours]
        await asyncio.gather(*(self.read_log(worker) for worker in locals_))
        self.process.send_signal(number)
        status = await self.process.wait()
        for worker in locals_:
            worker.deaths.append(time.time())
            worker.url, worker.pid = "", None
        return status

    # -- the workers --------------------------------------------------------------------------------------------

    async def start_worker(self, worker: Worker) -> None:
        """Start one of ours on its address and wait until it answers."""
        port = worker.url.rpartition(":")[2]
        arguments = (
            sys.executable,
            "-m",
            "gateway.simulator",
            "--port",
            port,
            "--dir",
            str(worker.folder),
            *_SIMULATED,
        )
        with (self.folder / f"far{worker.index}.log").open("ab") as log:
            worker.process = await asyncio.create_subprocess_exec(*arguments, stdout=log, stderr=log, cwd=self.folder)
        worker.pid = worker.process.pid
        await self._answers(f"{worker.url}/system_stats", worker.process)

    async def find_local_workers(self) -> None:
        """Where the gateway's own workers are by now."""
        seen = {view["id"]: view for view in await self.views()}
        for worker in self.workers:
            view = seen.get(f"sim{worker.index + 1}")
            if view is not None and not worker.ours:
                worker.url, worker.pid = view["url"], view["pid"]

    async def read_log(self, worker: Worker) -> None:
        """Keep what the simulator knows of its prompts: it forgets when it dies."""
        try:
            async with self.session.get(f"{worker.url}/simulator/log", timeout=_SOON) as response:
                records = (await response.json())["prompts"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return
        for record in records:
            run = ledger.Run.of(worker.index, record)
            worker.runs[run.prompt, run.received] = run

    async def running_prompt(self, worker: Worker) -> str | None:
        """The prompt that it runs right now."""
        try:
            async with self.session.get(f"{worker.url}/queue", timeout=_SOON) as response:
                running = (await response.json())["queue_running"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return running[0][1] if running else None

    async def _answers(self, url: str, process: asyncio.subprocess.Process | None) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._is_there(url):
                    if process is not None and process.returncode is not None:
                        raise Broken(f"{url}: its process ended with {process.returncode}; see {self.folder}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Broken(f"{url} did not answer within {_START_SECONDS:g} s; see {self.folder}") from None

    async def _is_there(self, url: str) -> bool:
        try:
            async with self.session.get(url, timeout=_SOON) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


_SOON: Final = aiohttp.ClientTimeout(total=3)


@asynccontextmanager
async def opened(folder: Path, *, local: int, remote: int) -> AsyncGenerator[Site]:
    """A gateway with so many workers of its own and so many elsewhere; everything is killed at the end."""
    port, *ports = free_ports(remote + 1)
    workers = [Worker(index=index) for index in range(local)]
    workers += [
        Worker(index=local + index, url=f"http://127.0.0.1:{port}", folder=folder / f"far{local + index}")
        for index, port in enumerate(ports)
    ]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        site = Site(folder=folder, port=port, workers=workers, local=local, session=session)
        try:
            await asyncio.gather(site.start_gateway(), *(site.start_worker(one) for one in workers if one.ours))
            await site.add_workers()
            await site.find_local_workers()
            yield site
        finally:
            await _killed([site.process, *(worker.process for worker in workers)])


async def _killed(processes: Sequence[asyncio.subprocess.Process | None]) -> None:
    for process in processes:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
