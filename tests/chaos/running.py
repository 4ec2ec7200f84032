"""One run from its seed to its findings."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos import clients, hooks, judge, ledger, plan, site, strikes

_TOLD_SECONDS: Final = 60.0  #: for webhooks that are owed at the end
_STUCK_SECONDS: Final = 150.0  #: without any job's end: what is open by then is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a run is."""

    jobs: int = 2000
    faults: int = 100
    local: int = 2  #: workers that the gateway's own supervisor runs
    remote: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """How a run stands, for a progress bar."""

    ended: int
    jobs: int
    faults: int


Watcher = Callable[[Glance], None]


async def run(seed: int, size: Size, folder: Path, watcher: Watcher) -> judge.Findings:
    """Draw the plan of a seed, let it happen, judge."""
    drawn = plan.draw(seed, jobs=size.jobs, workers=size.local + size.remote, faults=size.faults)
    book = ledger.Ledger()
    began = time.monotonic()
    opened = site.opened(folder, local=size.local, remote=size.remote)
    async with hooks.receiving() as receiver, opened as place:
        attacker = strikes.Attacker(place=place, book=book)
        async with clients.Clients(place.url, book, hook=receiver.url) as users:
            await _let_happen(drawn, users, attacker, watcher)
            await _until_told(users)
            for worker in place.workers:
                await place.read_log(worker)
            listed = await users.everything()
            again = [job["id"] for job in listed if job["tries"] > 1 or job["status"] not in ledger.ENDS]
            retried = {job_id: await users.job(job_id) for job_id in again}
        await place.stop_gateway(signal.SIGTERM)
        return judge.judge(
            judge.Evidence(
                drawn=drawn,
                book=book,
                listed=listed,
                retried=retried,
                workers=place.workers,
                struck=attacker.struck,
                missed=attacker.missed,
                told=receiver,
                database=place.data / "gateway.db",
                seconds=time.monotonic() - began,
                log_errors=_errors_of(folder / "gateway.log"),
            )
        )


async def _let_happen(drawn: plan.Plan, users: clients.Clients, attacker: strikes.Attacker, watcher: Watcher) -> None:
    """Until every job has ended, or none has for a long while."""
    tending = asyncio.create_task(attacker.tend())
    ordering = asyncio.create_task(users.run(drawn.orders))
    striking = asyncio.create_task(attacker.run(drawn.strikes))
    try:
        while not ordering.done():
            await asyncio.wait({ordering, tending, striking}, timeout=0.25, return_when=asyncio.FIRST_COMPLETED)
            watcher(Glance(ended=attacker.book.ended, jobs=drawn.jobs, faults=len(attacker.struck)))
            for task in (tending, striking):
                if task.done():
                    await task
            if time.monotonic() - attacker.book.ended_at > _STUCK_SECONDS:
                return
        await ordering
        async with asyncio.timeout(60):
            await striking
    finally:
        for task in (tending, ordering, striking):
            task.cancel()
        await asyncio.gather(tending, ordering, striking, return_exceptions=True)


async def _until_told(users: clients.Clients) -> None:
    """Until no webhook is owed any more; what still is after a while counts as not told."""
    end = time.monotonic() + _TOLD_SECONDS
    while await users.hurry_deliveries() and time.monotonic() < end:
        await asyncio.sleep(1.0)


def _errors_of(log: Path) -> dict[str, int]:
    """Lines of the gateway's log that tell of an error."""
    found: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = _entry(line)
        if entry is None:
            found["not a log line"] += bool(line.strip())
        elif entry.get("level") in {"error", "critical"}:
            found[str(entry.get("event"))] += 1
    return dict(+found)


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
