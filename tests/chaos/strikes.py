"""Doing what the plan says, and mending what a person would mend."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import psutil

from tests.chaos import ledger, plan, site


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault that was made. `recovered`: seconds until the gateway took work again; workers are judged later."""

    strike: plan.Strike
    at: float  #: wall clock
    recovered: float | None = None


@dataclass(slots=True, kw_only=True)
class Attacker:
    """Makes the faults of a plan when they are due."""

    place: site.Site
    book: ledger.Ledger
    struck: list[Struck] = field(default_factory=list[Struck])
    missed: Counter[str] = field(default_factory=Counter[str])  #: faults that found nothing to strike

    async def run(self, strikes: Sequence[plan.Strike]) -> None:
        """Make all faults; those that last do so beside the others."""
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await self.book.reaches(strike.due)
                group.create_task(self._make(strike))

    async def tend(self) -> None:
        """What a person on call does, and what a run must know: for ever."""
        while True:
            await self.place.find_local_workers()
            for worker in self.place.workers:
                await self.place.read_log(worker)
                if worker.process is not None and worker.process.returncode is not None and not worker.busy.locked():
                    await self._bring_back(worker)
            for view in await self.place.views():
                if view["state"] == "quarantined" and view["kind"] == "remote":
                    await self._replace(view["id"])
            await asyncio.sleep(1.0)

    async def _bring_back(self, worker: site.Worker) -> None:
        async with worker.busy:
            worker.deaths.append(time.time())
            await self.place.start_worker(worker)

    async def _replace(self, worker_id: str) -> None:
        for worker in self.place.workers:
            if worker.ours and worker_id == f"far{worker.index}":
                async with worker.busy:
                    await self._kill(worker)
                    await self.place.start_worker(worker)

    async def _make(self, strike: plan.Strike) -> None:
        at = time.time()
        if strike.fault.on is plan.On.GATEWAY:
            async with self.place.down:
                at = time.time()
                made = await self._on_gateway(strike)
                await self.place.ready()
            recovered = time.time() - at - strike.seconds
        else:
            made = await self._on_worker(strike, self.place.workers[strike.worker])
            recovered = None
        if made:
            self.struck.append(Struck(strike=strike, at=at, recovered=recovered))
        else:
            self.missed[strike.kind] += 1

    # -- the gateway --------------------------------------------------------------------------------------------

    async def _on_gateway(self, strike: plan.Strike) -> bool:
        match strike.kind:
            case "supervisor killed":
                await self._restart_gateway(signal.SIGKILL)
                return True
            case "gateway stopped":
                await self._restart_gateway(signal.SIGTERM)
                return True
            case "database locked":
                return await self._lock_database(strike.seconds)
            case "blobs gone":
                return await self._hide_blobs(strike.seconds)
            case _:
                return await self._on_server(strike)

    async def _restart_gateway(self, number: signal.Signals) -> None:
        await self.place.stop_gateway(number)
        await self.place.start_gateway()
        await self.place.find_local_workers()

    async def _on_server(self, strike: plan.Strike) -> bool:
        server = self.place.server()
        if server is None:
            return False
        try:
            match strike.kind:
                case "server killed":
                    server.kill()
                    await asyncio.to_thread(server.wait, 10)
                case "server frozen":
                    await _frozen(server, strike.seconds)
                case _:
                    await _without_space(server, strike.seconds)
        except psutil.Error:
            return False
        return True

    async def _lock_database(self, seconds: float) -> bool:
        """Somebody else writes to the file, for longer than anyone waits."""
        connection = sqlite3.connect(self.place.data / "gateway.db", timeout=5, check_same_thread=False)
        try:
            await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return True

    async def _hide_blobs(self, seconds: float) -> bool:
        folder = self.place.data / "blobs"
        hidden = folder.with_name("blobs-away")
        folder.rename(hidden)
        folder.touch()  # nobody can make it anew
        try:
            await asyncio.sleep(seconds)
        finally:
            folder.unlink()
            hidden.rename(folder)
        return True

    # -- workers ------------------------------------------------------------------------------------------------

    async def _on_worker(self, strike: plan.Strike, worker: site.Worker) -> bool:
        if worker.busy.locked() or not worker.url:
            return False
        async with worker.busy:
            match strike.kind:
                case "worker killed":
                    killed = await self._kill(worker)
                    if worker.ours:
                        await asyncio.sleep(strike.seconds)
                        await self.place.start_worker(worker)
                    return killed
                case "worker frozen":
                    try:
                        await _frozen(psutil.Process(worker.pid or 0), strike.seconds)
                    except psutil.Error:
                        return False
                    return True
                case _:
                    return await self._scripted(strike, worker)

    async def _kill(self, worker: site.Worker) -> bool:
        await self.place.read_log(worker)
        try:
            process = psutil.Process(worker.pid or 0)
            if worker.pid is None or "simulator" not in " ".join(process.cmdline()):
                return False
            process.kill()
        except psutil.Error:
            return False
        worker.deaths.append(time.time())
        if worker.process is not None:
            await worker.process.wait()
        return True

    async def _scripted(self, strike: plan.Strike, worker: site.Worker) -> bool:
        body = dict(strike.fault.script or {})
        if strike.seconds:
            body["seconds"] = strike.seconds
        if strike.fault.by_prompt:
            prompt = await self.place.running_prompt(worker)
            if prompt is None:
                return False
            if strike.kind == "history forgotten":
                body["prompt_id"] = prompt
                worker.forgotten.add(prompt)
        try:
            async with self.place.session.post(f"{worker.url}/simulator/faults", json=body) as response:
                return response.status == 201
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


async def _frozen(process: psutil.Process, seconds: float) -> None:
    process.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        with contextlib.suppress(psutil.Error):
            process.resume()


async def _without_space(process: psutil.Process, seconds: float) -> None:
    """No file of the process may grow: the kernel refuses its writes, its log's included."""
    _, most = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, most))
    try:
        await asyncio.sleep(seconds)
    finally:
        with contextlib.suppress(psutil.Error):
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, most))
