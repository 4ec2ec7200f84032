"""The life of one local worker: started, watched, started again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from gateway.adapters import gpus
from gateway.domain import errors
from gateway.settings import Restart
from gateway.supervisor import child, logfile, meter, plan, restarts

_log = structlog.get_logger("gateway.supervisor")
NOT_STARTED = 126  #: an exit status, as shells use it
_STOP_SECONDS = 5.0  #: ComfyUI ends at once on SIGTERM unless a node holds it up


class State(StrEnum):
    """How a local worker's process stands. Whether it answers is the server's to find out."""

    RUNNING = "running"
    WAITING = "waiting"  #: it ended and will be started again
    FAILED = "failed"  #: a crash loop: a person has to look
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True, eq=False)
class LocalWorker:
    """A local worker's process. `run` it until it is to end."""

    spec: plan.Spec
    policy: Restart
    chance: Callable[[], float] = random.random
    state: State = State.STOPPED
    restarts: int = 0
    started_at: float | None = None
    last_exit: str | None = None
    failure: str | None = None
    restart_asked_at: float | None = None
    log_tail: str | None = None  #: the end of its log, once it was given up
    _child: child.Child | None = None
    _meter: meter.CpuMeter | None = None
    _asked: str | None = None  #: why a person or the watchdog wants a new process
    _again: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    async def run(self) -> None:
        """Keep the process running until it is stopped, or we are cancelled."""
        record = restarts.Record()
        logfile.rotate(self.spec.log)
        try:
            while True:
                lived, status = await self._live()
                if self._stopping:
                    return
                record = await self._after(record, lived, status)
                self.restarts += 1
        finally:
            self.state = State.STOPPED
            if self._child is not None:
                self._child.signal_group(signal.SIGKILL)
                await self._child.ended()

    async def _live(self) -> tuple[float, int]:
        """One process from start to end: how long it lived, and its exit status."""
        logfile.rotate(self.spec.log, over=logfile.MOST_BYTES)
        self._served()
        try:
            self.spec = plan.at_free_port(self.spec)
            self._child = running = await child.spawn(self.spec.command)
        except errors.ConfigError as error:  # no process, port or file left: that may pass
            _log.error("worker_not_started", worker=self.spec.id, reason=error.message)
            return 0.0, NOT_STARTED
        self._served()  # who asked while it was being started has a new process
        self._meter = meter.CpuMeter(running.pid, gpu_busy=gpus.Utilisation(self.spec.gpu))
        self.state, self.started_at, self.failure, self.log_tail = State.RUNNING, time.time(), None, None
        began = time.monotonic()
        _log.info("worker_started", worker=self.spec.id, pid=running.pid, url=self.spec.url, gpu=self.spec.gpu)
        status = await running.ended()
        self._child = self._meter = None
        return time.monotonic() - began, status

    def _served(self) -> None:
        """Nobody waits for a new process any more."""
        self._again.clear()
        self._asked = None

    async def _after(self, record: restarts.Record, lived: float, status: int) -> restarts.Record:
        """Wait until it is time for the next process; returns the record it starts with."""
        if self._asked is not None:
            self.last_exit = f"restarted: {self._asked}"
            _log.warning("worker_restarted", worker=self.spec.id, reason=self._asked)
            return restarts.Record()
        self.last_exit = child.describe_end(status)
        record = record.after(lived, self.policy)
        if record.hopeless(self.policy):
            self._give_up(record)
            await self._again.wait()
            return restarts.Record()
        self.state = State.WAITING
        delay = record.delay(self.policy, self.chance())
        _log.warning(
            "worker_ended", worker=self.spec.id, reason=self.last_exit, lived=round(lived, 1), again_in=round(delay, 1)
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._again.wait()
        return record

    def _give_up(self, record: restarts.Record) -> None:
        self.state = State.FAILED
        self.failure = f"it ended {record.failures} times in a row; last, {self.last_exit}"
        self.log_tail = logfile.tail(self.spec.log)
        _log.error(
            "worker_failed",
            worker=self.spec.id,
            reason=self.failure,
            log=str(self.spec.log),
            last_lines=self.log_tail,
            way_out=f"mend the cause, then: comfy-gateway workers restart {self.spec.id}",
        )

    def restart(self, reason: str) -> None:
        """End the process, or the wait for the next one, and start a new one at once."""
        self._asked, self.restart_asked_at = reason, time.time()
        self._again.set()
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the process to end, see that it does, and start no other."""
        self._stopping = True
        if self._child is not None:
            await self._child.stop(within=_STOP_SECONDS)

    def tend(self) -> None:
        """What has to be looked at now and then: used CPU, the size of the log."""
        if self._meter is not None:
            self._meter.sample(time.monotonic())
        logfile.shorten(self.spec.log)

    def as_dict(self) -> dict[str, Any]:
        """How it stands, as JSON."""
        return {
            "id": self.spec.id,
            "url": self.spec.url,
            "kind": self.spec.kind,
            "gpu": self.spec.gpu,
            "device": self.spec.device,
            "pid": self._child.pid if self._child else None,
            "state": self.state,
            "restarts": self.restarts,
            "started_at": self.started_at,
            "log": str(self.spec.log),
            "last_exit": self.last_exit,
            "restart_asked_at": self.restart_asked_at,
            "failure": self.failure,
            "log_tail": self.log_tail,
            "idle_seconds": self._meter.idle_seconds if self._meter else None,
            "gpu_idle_seconds": self._meter.gpu_idle_seconds if self._meter else None,
            "memory_bytes": self._meter.memory_bytes if self._meter else None,
        }
