"""The supervisor itself: starts everything, waits for a reason to stop, stops everything in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from gateway import logs
from gateway.adapters import comfyui as comfyui_client
from gateway.adapters import datadir
from gateway.domain import errors
from gateway.settings import Settings
from gateway.supervisor import banner, child, comfyui, control, listening, notify, plan, server, worker

_log = structlog.get_logger("gateway.supervisor")
_TEND_SECONDS = 5.0
_SERVER_EXTRA_SECONDS = 15.0  #: for handing back and closing, on top of the grace time


async def supervise(settings: Settings, *, form: logs.Format) -> int:
    """Run the gateway until it is told to stop; returns the exit status. ConfigError before anything is started."""
    with datadir.locked(datadir.at(settings.data_dir)) as data:
        sockets = listening.open_sockets(settings.host, settings.port)
        try:
            return await _supervise(settings, data, sockets, form)
        finally:
            listening.close(sockets)


async def _supervise(
    settings: Settings, data: datadir.DataDir, sockets: Sequence[socket.socket], form: logs.Format
) -> int:
    mark = f"comfy-gateway-{secrets.token_hex(12)}"
    specs = await plan.local_workers(settings, data, mark)
    settings = await _with_found_worker(settings)
    guard, lifeline = await child.post_guard(mark)
    workers = tuple(worker.LocalWorker(spec=spec, policy=settings.restart) for spec in specs)
    program = server.Server(
        given=settings,
        sockets=sockets,
        supervisor=data.socket,
        form=form,
        environment=comfyui.environment(os.environ, visible=None, mark=mark),
    )
    url = settings.public_url or listening.url(settings.host, sockets)
    running = _Running(program=program, workers=workers, grace=settings.grace)
    try:
        async with control.answering(data.socket, workers):
            return await running.run(
                _Greeting(
                    text=banner.block(settings, data, url, specs),
                    url=url,
                    form=form,
                    has_workers=bool(specs or settings.workers),
                )
            )
    finally:
        os.close(lifeline)
        await guard.ended()


async def _with_found_worker(settings: Settings) -> Settings:
    """Without any worker set, a ComfyUI that runs here anyway is used."""
    if settings.comfyui or settings.workers or settings.simulate or not settings.look_for:
        return settings
    client = comfyui_client.ComfyClient(settings.look_for, timeouts=comfyui_client.Timeouts(answer=2.0))
    try:
        await client.facts()
    except errors.WorkerError:
        return settings
    finally:
        await client.close()
    _log.info("comfyui_found", url=settings.look_for)
    return settings.model_copy(update={"workers": (settings.look_for,)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Greeting:
    text: str
    url: str
    form: logs.Format
    has_workers: bool

    def show(self) -> None:
        if self.form == "console":
            sys.stdout.write(f"\n{self.text}\n")
            sys.stdout.flush()
        else:
            _log.info("gateway_ready", url=self.url)
            if not self.has_workers:
                _log.warning("no_workers", hint=banner.NO_WORKERS)


@dataclass(slots=True, kw_only=True)
class _Running:
    """Everything that was started, until it is stopped."""

    program: server.Server
    workers: Sequence[worker.LocalWorker]
    grace: float
    _asked: int = 0  #: how often we were asked to stop
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, greeting: _Greeting) -> int:
        """Until we are asked to stop, or the server cannot run."""
        self._catch_signals()
        status = 0
        try:
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(one.run()) for one in self.workers]
                loops.append(group.create_task(self._tend()))
                loops.append(group.create_task(self._greet(greeting)))
                group.create_task(self.program.run())
                await self._stop.wait()
                await self._end()
                for loop in loops:
                    loop.cancel()
        except* server.Gone as gone:
            # The workers' loops were cancelled with it, and killed their processes.
            status = max(one.status for one in gone.exceptions if isinstance(one, server.Gone))
        return status

    async def _end(self) -> None:
        notify.tell(os.environ.get("NOTIFY_SOCKET"), stopping="1")
        await self.program.stop(within=self.grace + _SERVER_EXTRA_SECONDS)
        await asyncio.gather(*(one.stop() for one in self.workers))
        _log.info("gateway_stopped")

    async def _greet(self, greeting: _Greeting) -> None:
        await self.program.ready.wait()
        notify.tell(os.environ.get("NOTIFY_SOCKET"), ready="1", status=f"Serving {greeting.url}")
        greeting.show()

    async def _tend(self) -> None:
        while True:
            for one in self.workers:
                one.tend()
            await asyncio.sleep(_TEND_SECONDS)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, self._asked_to_stop, number)

    def _asked_to_stop(self, number: signal.Signals) -> None:
        self._asked += 1
        match self._asked:
            case 1:
                _log.info("gateway_stopping", signal=number.name, grace=self.grace, hint="ask again to hasten")
                self._stop.set()
            case 2:
                _log.info("gateway_hastened", hint="running jobs are handed back; ask again to kill")
                self.program.hasten()
            case _:
                self.program.kill()
