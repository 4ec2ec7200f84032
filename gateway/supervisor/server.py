"""The life of the server process: started, told its settings, started again at once when it ends."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway import settings
from gateway.domain import errors
from gateway.supervisor import child, restarts

_log = structlog.get_logger("gateway.supervisor")
#: The first restart is immediate; a server that cannot stay up is not to eat the machine.
POLICY = settings.Restart(first_delay=0.25, most_delay=10.0, steady_after=5.0, give_up_after=1_000_000)
CONFIG_STATUS = 2  #: a server that ends with this needs a person, not a restart
_STOP = (
    signal.SIGUSR1
)  #: how we ask it to stop; by SIGTERM anybody has it leave, and what runs goes on for the next one


class Gone(Exception):
    """The server ended in a way that a restart would not mend; `status` is to be ours. It said why itself."""

    def __init__(self, *, status: int) -> None:
        super().__init__(f"the server ended with status {status}")
        self.status = status


@dataclass(slots=True, kw_only=True, eq=False)
class Server:
    """The server process. `run` it until it is stopped."""

    given: settings.Settings
    sockets: Sequence[socket.socket]
    supervisor: Path  #: our own socket, for it to ask about local workers
    form: str
    environment: Mapping[str, str]
    restarts: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)  #: it has been ready at least once
    _child: child.Child | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep a server running until it is stopped; Gone when it can never run."""
        record = restarts.Record()
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                status = await self._live()
                if self._stopping.is_set():
                    return
                if status == CONFIG_STATUS or not self.ready.is_set():
                    raise Gone(status=status if status > 0 else 1)
                record = record.after(time.monotonic() - began, POLICY)
                if status == 0:
                    _log.info("server_left", reason="it was asked to, by somebody else; the next one adopts what runs")
                else:
                    _log.error("server_ended", reason=child.describe_end(status))
                if record.failures > 1:
                    await self._pause(record.delay(POLICY, random.random()))  # noqa: S311
                self.restarts += 1
        finally:
            if self._child is not None:
                self.kill()
                await self._child.ended()

    async def _pause(self, seconds: float) -> None:
        """Wait so long, unless it is stopped meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _live(self) -> int:
        """One server from start to end; returns its exit status."""
        reader, writer = os.pipe()
        try:
            self._child = running = await child.spawn(
                self._command(writer),
                stdin=settings.to_json(self.given),
                pass_fds=(writer, *(opened.fileno() for opened in self.sockets)),
            )
        except errors.ConfigError as error:  # no process left, perhaps: that may pass
            _log.error("server_not_started", reason=error.message)
            os.close(reader)
            return 1
        finally:
            os.close(writer)
        if self._stopping.is_set():  # while it was being started, so it was not asked
            self.kill()
        waiting = asyncio.create_task(self._until_ready(reader, running.pid))
        status = await running.ended()
        await waiting
        self._child = None
        return status

    def _command(self, ready: int) -> child.Command:
        listening = [part for opened in self.sockets for part in ("--socket", str(opened.fileno()))]
        return child.Command(
            arguments=(
                *(sys.executable, "-P", "-m", "gateway.server"),
                *("--ready", str(ready), "--supervisor", str(self.supervisor), "--log", self.form),
                *listening,
            ),
            environment=self.environment,
        )

    async def _until_ready(self, reader: int, pid: int) -> None:
        """The server writes a line when it is ready; the pipe closes when it ends before."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reader, "rb")
        )
        try:
            if await stream.readline():
                _log.info("server_ready", pid=pid)
                self.ready.set()
        finally:
            transport.close()

    async def stop(self, *, within: float) -> None:
        """Ask it to finish what runs and hand back the rest; kill it when it has not within that many seconds."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop(within=within, by=_STOP)

    def hasten(self) -> None:
        """Ask again: do not wait for what runs."""
        if self._child is not None:
            self._child.signal(_STOP)

    def kill(self) -> None:
        """End it without asking."""
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)
