"""How good the estimates are that a job gets while it is queued."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import cases, fleet, scheduling, virtual
from benchmarks.figures import Figure, Goal, Scale


async def estimates(scale: Scale) -> list[Figure]:
    """How well `eta` is calibrated: log-normal jobs, all queued at once; who was done by p50, and who by p90."""
    draw = random.Random(7)
    works = [
        virtual.Work(number=number, at=0.0, models="model0", seconds=draw.lognormvariate(-1.9, 0.7))
        for number in range(scale.speeds)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(4, folder, *scheduling.models()) as urls, fleet.gateway(urls, folder) as gateway:
            await scheduling.outcome(scheduling.through(gateway), works, urls)
            guesses = await _guesses(gateway.url, works)
    middle = statistics.mean(guess.end <= guess.p50 for guess in guesses)
    late = statistics.mean(guess.end <= guess.p90 for guess in guesses)
    took = statistics.median((guess.end - guess.asked) / (guess.p50 - guess.asked) for guess in guesses)
    case = f"estimates of {len(guesses)} queued jobs, 4 workers"
    return [
        Figure(case=case, figure="done by p50", gateway=middle, goal=Goal(least=0.4, most=0.6)),
        Figure(case=case, figure="done by p90", gateway=late, goal=Goal(least=0.85, most=1.0)),
        Figure(case=case, figure="time to the end over that to p50, median", gateway=took),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    """A job's estimate, and what came of it; by the gateway's clock."""

    asked: float
    end: float
    p50: float
    p90: float


async def _guesses(url: str, works: Sequence[virtual.Work]) -> list[_Guess]:
    """For each job that had an estimate while it was queued: when it ended, and its p50 and p90."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:
        expected: dict[str, Any] = {}

        async def order(work: virtual.Work) -> None:
            job = await _read(session, url, await _queue(session, url, work))
            if job["status"] == "queued" and job.get("eta"):
                expected[job["id"]] = job["eta"]

        await asyncio.gather(*map(order, works))
        await cases.emptied(url)
        ended = [await _read(session, url, job_id) for job_id in expected]
    return [
        _Guess(
            asked=_epoch(job["created_at"]),
            end=_epoch(job["completed_at"]),
            p50=_epoch(expected[job["id"]]["p50"]),
            p90=_epoch(expected[job["id"]]["p90"]),
        )
        for job in ended
    ]


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def _queue(session: aiohttp.ClientSession, url: str, work: virtual.Work) -> str:
    async with session.post(f"{url}/api/v2/jobs", json={"workflow": scheduling.graph(work)}) as response:
        response.raise_for_status()
        return (await response.json())["id"]


async def _read(session: aiohttp.ClientSession, url: str, job_id: str) -> dict[str, Any]:
    async with session.get(f"{url}/api/v2/jobs/{job_id}") as response:
        response.raise_for_status()
        return await response.json()
