"""What the workers themselves say of the prompts they ran: figures are made of this, not of what clients saw.

Times are of the machine's monotonic clock, which all processes share; so they compare with `time.monotonic()` here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

_PAUSE = 0.2


async def clear(urls: Sequence[str]) -> None:
    """Let every worker forget what it wrote down."""
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.delete(f"{url}/simulator/log") as response:
                response.raise_for_status()


async def records(urls: Sequence[str]) -> list[dict[str, Any]]:
    """All workers' records of prompts that ended, each with its `worker`'s URL."""
    found: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(f"{url}/simulator/log") as response:
                answer = await response.json()
            told = answer["prompts"] if isinstance(answer, dict) else answer
            found += [{**record, "worker": url} for record in told if record["ended"] is not None]
    return found


async def ended(urls: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The records, once so many prompts have ended."""
    while True:
        found = await records(urls)
        if len(found) >= count:
            return found
        await asyncio.sleep(_PAUSE)


def served(records: Sequence[dict[str, Any]]) -> float:
    """Seconds that workers were busy."""
    return sum(record["ended"] - record["started"] for record in records)


def makespan(records: Sequence[dict[str, Any]]) -> float:
    """From the first arrival at a worker to the last end."""
    return max(record["ended"] for record in records) - min(record["received"] for record in records)


def wrong_waits(records: Sequence[dict[str, Any]], urls: Sequence[str]) -> float:
    """Seconds that prompts waited at a busy worker while another was idle, summed over the prompts."""
    busy = {url: sorted((each["started"], each["ended"]) for each in records if each["worker"] == url) for url in urls}
    return sum(
        _covered([_idle(busy[other], each["received"], each["started"]) for other in urls if other != each["worker"]])
        for each in records
    )


def _idle(busy: Sequence[tuple[float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """The parts of this time in which a worker that was busy then did nothing."""
    found: list[tuple[float, float]] = []
    for began, ended in busy:
        if began > start:
            found.append((start, min(began, end)))
        start = max(start, ended)
        if start >= end:
            return found
    return [*found, (start, end)]


def _covered(idle: Sequence[Sequence[tuple[float, float]]]) -> float:
    """How long at least one of them was idle."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(part for parts in idle for part in parts):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
