"""What an order of 5,000 does to everybody else: it is read, checked and queued while single jobs come and go.

Six clients order jobs without any work, one after the other, and another one asks for `/healthz` every 5 ms, which the
event loop answers by itself: first for some seconds alone, then while a batch of `sdxl` is ordered, with a list of
inputs and with one object `n` times. When a worker got a prompt is read from the workers' own logs.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import clients, fleet, logs
from benchmarks.figures import Figure, Scale

_WORKERS = 4
_CLIENTS = 6
_ALONE_SECONDS = 4.0
_TEMPLATE = "sdxl"
_SMALL = {
    "width": 64,
    "height": 64,
}  #: simulators draw real pictures, some before the batch is answered


@dataclass(slots=True, kw_only=True)
class _Others:
    """What everybody else sees."""

    url: str
    pings: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  #: asked, answered
    jobs: list[clients.Done] = field(default_factory=list[clients.Done])
    stopped: bool = False

    async def ask(self, session: aiohttp.ClientSession) -> None:
        while not self.stopped:
            asked = time.monotonic()
            async with session.get(f"{self.url}/healthz") as response:
                await response.read()
            self.pings.append((asked, time.monotonic()))
            await asyncio.sleep(0.005)

    async def order(self, client: clients.Client) -> None:
        while not self.stopped:
            self.jobs.append(await client.run(0.0))


@dataclass(frozen=True, slots=True)
class _Span:
    """From when to when."""

    begin: float
    end: float

    def touches(self, begin: float, end: float) -> bool:
        return begin <= self.end and end >= self.begin


async def batches(scale: Scale) -> list[Figure]:
    """Single jobs and the event loop, alone and beside the order of a batch."""
    n = scale.batch
    inputs = [{**_SMALL, "prompt": f"a red fox, number {seed}", "seed": seed} for seed in range(n)]
    orders: dict[str, dict[str, Any]] = {
        "a list of inputs": {"inputs": inputs},
        "one object": {"inputs": {**_SMALL, "prompt": "a red fox", "seed": 1}, "n": n},
    }
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            fleet.workers(_WORKERS, folder) as urls,
            fleet.gateway(urls, folder) as gateway,
            clients.ThroughGateway(gateway.url) as client,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        ):
            others = _Others(url=gateway.url)
            async with asyncio.TaskGroup() as group:
                group.create_task(others.ask(session))
                for _ in range(_CLIENTS):
                    group.create_task(others.order(client))
                for what, order in orders.items():
                    alone = await _alone()
                    beside = await _ordered(session, gateway.url, order)
                    await asyncio.sleep(0.5)  # what was begun meanwhile comes to its end
                    records = await logs.records(urls)
                    figures += _figures(f"a batch of {n:,}, {what}", others, records, alone, beside)
                others.stopped = True
    return figures


async def _alone() -> _Span:
    await asyncio.sleep(_ALONE_SECONDS)
    now = time.monotonic()
    return _Span(now - _ALONE_SECONDS / 2, now)


async def _ordered(session: aiohttp.ClientSession, url: str, order: Mapping[str, Any]) -> _Span:
    """Order the batch; when it was being ordered. Then it is canceled, so that its jobs are in nobody's way."""
    body = orjson.dumps({"template": _TEMPLATE, **order})
    begin = time.monotonic()
    async with session.post(f"{url}/v1/batches", data=body, headers={"Content-Type": "application/json"}) as response:
        answer = orjson.loads(await response.read())
    span = _Span(begin, time.monotonic())
    if response.status != 201:
        raise RuntimeError(f"the batch was not taken: {answer}")
    async with session.post(f"{url}{answer['urls']['cancel']}") as response:
        await response.read()
    return span


def _figures(
    case: str, others: _Others, records: Sequence[Mapping[str, Any]], alone: _Span, beside: _Span
) -> list[Figure]:
    def figure(what: str, values: Mapping[str, float]) -> Figure:
        return Figure(
            case=case,
            figure=what,
            gateway=values["beside"] * 1000,
            beside=values["alone"] * 1000,
            beside_is="without it",
            unit="ms",
        )

    spans = {"alone": alone, "beside": beside}
    received = sorted(record["received"] for record in records)
    gaps = {
        name: max(after - before for before, after in itertools.pairwise(received) if span.touches(before, after))
        for name, span in spans.items()
    }
    jobs = {
        name: [job.told - job.asked for job in others.jobs if span.touches(job.asked, job.told)]
        for name, span in spans.items()
    }
    pings = {
        name: max(end - begin for begin, end in others.pings if span.touches(begin, end))
        for name, span in spans.items()
    }
    return [
        Figure(case=case, figure="until it is answered", gateway=(beside.end - beside.begin) * 1000, unit="ms"),
        figure("longest time that no worker got a job", gaps),
        figure("longest answer of /healthz", pings),
        figure("other jobs, p50", {name: statistics.median(times) for name, times in jobs.items()}),
        figure("other jobs, longest", {name: max(times) for name, times in jobs.items()}),
    ]
