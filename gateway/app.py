"""The composition root: settings in, a running gateway out.

One TaskGroup owns the HTTP server and every loop. A loop that dies ends the program with a clear message instead of
leaving a server that answers and does nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvicorn

from gateway import authoring, building, delivery, dispatch, patience, pipelines, ports, retention
from gateway.adapters import datadir, processes
from gateway.api import app as api
from gateway.api import parts
from gateway.dispatch import reaping
from gateway.domain import errors, model
from gateway.settings import Settings

_log = structlog.get_logger("gateway")
_POLL_SECONDS = 1.0  #: between two looks at our local workers' processes
_GONE_MS = 60_000  #: a client whose machine vanished, or that takes nothing, is let go after so long
_CLOSE_SECONDS = 5  #: for answers that are under way when the server stops
_KEEP_ALIVE_SECONDS = 75  #: idle connections are kept for longer than clients and proxies keep theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Asks a gateway to stop: once for a graceful end, once more to hasten it; or to leave, to be started again."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hastened: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """Stop taking work, let running jobs finish; the second time, do not wait for them."""
        if self.asked.is_set():
            self.hastened.set()
        self.asked.set()

    def leave(self) -> None:
        """End at once and let running jobs be, for the next server to adopt; one that stops already is hastened."""
        if not self.asked.is_set():
            self.leaving.set()
        self.ask()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that is up. For tests, mostly: programs use its URL."""

    url: str
    parts: parts.Parts
    dispatch: dispatch.Dispatch


async def serve(
    settings: Settings,
    *,
    data: datadir.DataDir,
    sockets: Sequence[socket.socket],
    stop: Stop,
    on_ready: Callable[[Gateway], None],
    supervisor: processes.Supervisor | None = None,
    fit: building.Fit = building.as_they_are,
) -> None:
    """Run the gateway on these listening sockets until `stop` is asked. The data directory must be ours."""
    async with AsyncExitStack() as stack:
        foundation = await building.Foundation.open(settings, data, stack, fit)
        built = await _build(foundation, supervisor, stack)
        server = _Server(built.parts)
        address = _address(sockets)
        for each in sockets:
            # asyncio does this for sockets that name their protocol, which listening ones do not. Without it an answer
            # of two writes (headers, body) waits 40 ms for the client's delayed acknowledgement.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_MS)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(_for_ever("HTTP server", server.serve(list(sockets)), stop))
            loops = [group.create_task(_for_ever(name, loop, stop)) for name, loop in built.loops(supervisor)]
            await patience.patiently(lambda: built.take_workers(settings))
            await server.up.wait()
            on_ready(Gateway(url=address, parts=built.parts, dispatch=built.dispatch))
            await stop.asked.wait()
            if stop.leaving.is_set():
                _log.info("gateway_leaving")
                built.parts.stopping.set()
            else:
                await _wind_down(built, stop, settings.grace)
            server.should_exit = True
            await serving
            for loop in loops:
                loop.cancel()


async def _wind_down(built: _Built, stop: Stop, grace: float) -> None:
    """Not ready → stop claiming → finish or hand back. Being hastened cuts the waiting short."""
    _log.info("gateway_draining", grace=grace)
    built.parts.stopping.set()
    waiting = asyncio.create_task(built.dispatch.stop(grace=grace))
    hastened = asyncio.create_task(stop.hastened.wait())
    await asyncio.wait({waiting, hastened}, return_when=asyncio.FIRST_COMPLETED)
    hastened.cancel()
    if not waiting.done():
        waiting.cancel()
        await asyncio.wait({waiting})
        await built.dispatch.stop(grace=0)
    else:
        await waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    parts: parts.Parts
    shelf: authoring.Shelf
    dispatch: dispatch.Dispatch
    retention: retention.Retention
    deliverer: delivery.Deliverer
    leader: pipelines.Leader
    reaper: reaping.Reaper
    clock: ports.Clock
    local_known: asyncio.Event = field(default_factory=asyncio.Event)  #: our supervisor has told what it runs
    remote_known: asyncio.Event = field(default_factory=asyncio.Event)

    def loops(self, supervisor: processes.Supervisor | None) -> Generator[tuple[str, Coroutine[Any, Any, None]]]:
        """Everything that runs beside the HTTP server."""
        yield "dispatch", self.dispatch.run()
        yield "retention", self.retention.run()
        yield "delivery", self.deliverer.run()
        yield "templates", self.shelf.run()
        yield "pipelines", self.leader.run()
        yield "reaping", self._reap()
        if supervisor is None:
            self.local_known.set()
        else:
            yield "local workers", _follow(supervisor, self.dispatch, self.local_known)

    async def _reap(self) -> None:
        """Not before we know who is here: what runs on a worker of ours is to be adopted, not given back."""
        await self.local_known.wait()
        await self.remote_known.wait()
        await self.reaper.run()

    async def take_workers(self, settings: Settings) -> None:
        """Remote workers: those of the settings, and those that were added while we ran."""
        for url in settings.workers:
            await self.dispatch.adopt_worker(remote_worker(url, now=self.clock()))
        await self.dispatch.restore()
        self.remote_known.set()


def remote_worker(url: str, *, now: float) -> model.Worker:
    """A worker of the settings, named after its host and port."""
    name = url.partition("://")[2].rpartition("@")[2].rstrip("/")
    return model.Worker(id=model.WorkerId(name), url=url, kind=model.WorkerKind.REMOTE, created_at=now)


async def _build(
    foundation: building.Foundation, supervisor: processes.Supervisor | None, stack: AsyncExitStack
) -> _Built:
    await patience.patiently(foundation.limit_tenants)
    dispatcher = foundation.dispatch(supervisor)
    stack.push_async_callback(dispatcher.close)
    shelf = await foundation.shelf(dispatcher)
    known = foundation.parts(dispatcher, shelf)
    return _Built(
        parts=known,
        shelf=shelf,
        dispatch=dispatcher,
        retention=foundation.retention(known.tally),
        deliverer=foundation.deliverer(known, stack),
        leader=foundation.leader(known, stack),
        reaper=foundation.reaper(dispatcher),
        clock=foundation.clock,
    )


async def _follow(supervisor: processes.Supervisor, dispatcher: dispatch.Dispatch, known: asyncio.Event) -> None:
    """Keep dispatch informed of our local workers' processes."""
    while True:
        try:
            await dispatcher.processes_changed(await supervisor.workers())
            known.set()
        except errors.Unavailable as error:
            _log.warning("local_workers_unknown", reason=error.message)
        await asyncio.sleep(_POLL_SECONDS)


async def _for_ever(name: str, loop: Coroutine[Any, Any, None], stop: Stop) -> None:
    """A loop whose end is the gateway's, unless we were asked to stop."""
    try:
        await loop
    except Exception as error:
        error.add_note(f"The {name} died of this, and the gateway with it.")
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled us: something that the loop waited for was. A TaskGroup would take it for a quiet end.
        raise RuntimeError(f"The {name} was cancelled from within.") from error
    if not stop.asked.is_set():
        raise RuntimeError(f"The {name} ended by itself.")


class _Server(uvicorn.Server):
    """uvicorn, with our signals instead of its own, and an event where it has a flag."""

    def __init__(self, known: parts.Parts) -> None:
        super().__init__(
            uvicorn.Config(
                api.build_app(known),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_CLOSE_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone."""
        yield


def _address(sockets: Sequence[socket.socket]) -> str:
    host, port = sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[Gateway]:
    """A gateway inside this event loop, without a supervisor, for tests: local workers are not started.

    It listens on `settings.port` (0: a free one). Leaving hands running jobs back without waiting for them.
    """
    stop = Stop()
    ready = asyncio.get_running_loop().create_future()
    with datadir.locked(datadir.at(settings.data_dir)) as data:
        sockets = [socket.create_server((settings.host, settings.port))]
        task = asyncio.create_task(serve(settings, data=data, sockets=sockets, stop=stop, on_ready=ready.set_result))
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if ready.done():
                yield ready.result()
        finally:
            stop.ask()
            stop.ask()
            try:
                await task
            finally:
                for opened in sockets:
                    opened.close()
