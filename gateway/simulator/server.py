"""The simulator as a whole: its parts, its tasks, its port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from gateway.simulator import about, catalog, faults, worklog
from gateway.simulator.execution import Executor
from gateway.simulator.files import Files
from gateway.simulator.nodes import registry
from gateway.simulator.options import CARDS, Card, Options
from gateway.simulator.prompt_queue import PromptQueue
from gateway.simulator.routes import Routes
from gateway.simulator.sockets import Sockets
from gateway.simulator.validation import Validator

_log = structlog.get_logger(__name__)
#: A worker whose publish loop dies takes this long to end, as recorded (26l: one to two seconds).
_POISON_S = 0.5


class Simulator:
    """One ComfyUI stand-in. Use `running(options)`, or `start` and `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._own_directory = options.directory is None
        self.directory = options.directory or Path(tempfile.mkdtemp(prefix="comfy-simulator-"))
        self.files = Files(self.directory.resolve())
        self.script = faults.Script()
        self.worklog = worklog.WorkLog()
        #: Set when the process would have ended; its exit code is 1.
        self.crashed = asyncio.Event()
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Open the port and start to work."""
        self.files.create()
        card = _card(self.options)
        known = catalog.load(self.options, self.files.directory("input"))
        nodes, checks = registry.nodes(known, self.files)
        self.sockets = Sockets(features=about.features(self.options), on_poison=self._poisoned)
        self.queue = PromptQueue(history_size=self.options.history_size, on_change=self._tell_status)
        self.executor = Executor(
            options=self.options,
            card=card,
            catalog=known,
            nodes=nodes,
            files=self.files,
            queue=self.queue,
            sockets=self.sockets,
            script=self.script,
            log=self.worklog,
        )
        self.script.on_socket = self._break_sockets
        self.script.on_crash = self.crash
        routes = Routes(
            options=self.options,
            card=card,
            catalog=known,
            validator=Validator(known, checks, is_new=self.options.is_new),
            files=self.files,
            queue=self.queue,
            sockets=self.sockets,
            executor=self.executor,
            script=self.script,
            log=self.worklog,
        )
        await asyncio.sleep(self.options.start_delay_s)
        server = web.Server(routes.handle, request_factory=routes.make_request, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port, backlog=512)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._tasks = [
            asyncio.create_task(self.sockets.publish(), name="simulator publish"),
            asyncio.create_task(self.executor.run(), name="simulator execution"),
        ]

    async def stop(self) -> None:
        """Cut every connection, close the port, leave no temporary directory behind."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "sockets"):
            self.sockets.close_all()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._own_directory:
            await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    def crash(self) -> None:
        """End as a process does that is killed: connections are reset, nothing is answered any more."""
        for task in self._tasks:
            task.cancel()
        self.sockets.close_all()
        if self._runner is not None and self._runner.server is not None:
            for connection in list(self._runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        for site in list(self._runner.sites) if self._runner is not None else []:
            server: Any = getattr(site, "_server", None)
            if server is not None:
                server.close()
        self.crashed.set()

    def _poisoned(self) -> None:
        asyncio.get_running_loop().call_later(_POISON_S, self.crash)

    def _tell_status(self) -> None:
        self.sockets.send("status", {"status": {"exec_info": {"queue_remaining": len(self.queue)}}})

    def _break_sockets(self, kind: str) -> None:
        for socket in list(self.sockets.open):
            if kind == "drop_socket":
                socket.transport.abort()
                continue
            socket.mute = True
            if kind == "half_open_socket":
                socket.transport.pause_reading()


def _card(options: Options) -> Card:
    card = CARDS[options.card]
    if options.step_ms is None:
        return card
    return Card(
        device=card.device,
        vram_gb=card.vram_gb,
        step_ms=options.step_ms,
        load_s_per_gb=card.load_s_per_gb,
        decode_ms=card.decode_ms,
    )


@contextlib.asynccontextmanager
async def running(options: Options | None = None) -> AsyncGenerator[Simulator]:
    """Run a simulator inside this event loop: `async with simulator.running(options) as sim: sim.url`."""
    simulator = Simulator(options or Options())
    try:
        await simulator.start()
        yield simulator
    finally:
        await simulator.stop()


async def serve(options: Options) -> int:
    """Run until SIGTERM or Ctrl-C (0) or until a scripted crash (1)."""
    async with running(options) as simulator:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        print(f"Simulated ComfyUI {options.version} ({options.name}) at {simulator.url}", flush=True)
        waiting = {asyncio.create_task(event.wait()) for event in (stopped, simulator.crashed)}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if simulator.crashed.is_set():
            os._exit(1)
        for task in waiting:
            task.cancel()
    return 0
