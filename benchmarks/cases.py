"""What is measured, and how each figure is made of the workers' own logs and the clients' clocks."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import clients, fleet, logs
from benchmarks.figures import Figure, Goal, Scale

_SEED = 20261121
_WARM_UP = 200  #: jobs before latencies are measured

_Known = tuple[clients.Done, str]  #: a job and its prompt's id


async def _efficiency(client: clients.Client, urls: Sequence[str], services: Sequence[float]) -> float:
    """Sum of service times / (workers × makespan), from the workers' logs."""
    await logs.clear(urls)
    await clients.all_at_once(client, services, width=len(services))
    records = await logs.records(urls)
    return logs.served(records) / (len(urls) * logs.makespan(records))


async def _paired(
    scale: Scale, urls: Sequence[str], gateway_url: str, services: Sequence[float]
) -> tuple[float, float]:
    """Median efficiencies, gateway's and direct's, measured in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(scale.rounds):
        async with clients.Direct(urls) as direct:
            theirs.append(await _efficiency(direct, urls, services))
        async with clients.ThroughGateway(gateway_url) as through:
            ours.append(await _efficiency(through, urls, services))
    return statistics.median(ours), statistics.median(theirs)


async def throughput(scale: Scale) -> list[Figure]:
    """Zero-cost jobs a second over eight workers, and the server's CPU a job."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            ours: list[float] = []
            theirs: list[float] = []
            cpu: list[float] = []
            services = [0.0] * scale.zero_cost
            for _ in range(scale.rounds):
                async with clients.Direct(urls) as direct:
                    theirs.append(await _a_second(direct, services))
                used = gateway.cpu_seconds()
                async with clients.ThroughGateway(gateway.url) as through:
                    ours.append(await _a_second(through, services))
                cpu.append((gateway.cpu_seconds() - used) / len(services) * 1000)
    case = "zero-cost jobs, 8 workers"
    return [
        Figure(
            case=case,
            figure="jobs a second",
            gateway=statistics.median(ours),
            beside=statistics.median(theirs),
            goal=Goal(least=300),
        ),
        Figure(case=case, figure="server CPU a job", gateway=statistics.median(cpu), unit="ms", goal=Goal(most=3)),
    ]


async def _a_second(client: clients.Client, services: Sequence[float]) -> float:
    begin = time.monotonic()
    await clients.all_at_once(client, services, width=64)
    return len(services) / (time.monotonic() - begin)


async def burst(scale: Scale) -> list[Figure]:
    """Jobs of 5 ms, all queued at once, over eight workers; from the first order to the last worker's end."""
    services = [0.005] * scale.burst
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            for _ in range(scale.rounds):
                await logs.clear(urls)
                begin = time.monotonic()
                async with clients.Direct(urls) as direct:
                    await clients.all_at_once(direct, services, width=len(services))
                theirs.append(await _rate_since(begin, urls, len(services)))
                await logs.clear(urls)
                begin = time.monotonic()
                await enqueue(gateway.url, services)
                await emptied(gateway.url)
                ours.append(await _rate_since(begin, urls, len(services)))
    return [
        Figure(
            case=f"{scale.burst:,} jobs of 5 ms at once, 8 workers",
            figure="jobs a second",
            gateway=statistics.median(ours),
            beside=statistics.median(theirs),
            goal=Goal(least=300),
        )
    ]


async def _rate_since(begin: float, urls: Sequence[str], count: int) -> float:
    records = await logs.ended(urls, count)
    return count / (max(record["ended"] for record in records) - begin)


async def emptied(url: str) -> None:
    """Until nothing is queued or running. It asks seldom: the machine is busy with what is measured."""
    async with aiohttp.ClientSession() as session:
        for status in ("queued", "running"):
            while True:
                query = {"status": status, "limit": "1"}
                async with session.get(f"{url}/api/v2/jobs", params=query) as response:
                    if not (await response.json())["jobs"]:
                        break
                await asyncio.sleep(0.25)


async def uniform(scale: Scale) -> list[Figure]:
    """105 ms jobs over 4 and 8 workers. Of equal jobs nobody can know more than their number, so the direct client is a
    clairvoyant dispatcher."""
    figures: list[Figure] = []
    for count in (4, 8):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            async with fleet.workers(count, folder) as urls, fleet.gateway(urls, folder) as gateway:
                services = [0.105] * (scale.uniform * count // 8)
                ours, theirs = await _paired(scale, urls, gateway.url, services)
        figures.append(
            Figure(
                case=f"105 ms jobs, {count} workers",
                figure="efficiency",
                gateway=ours,
                beside=theirs,
                goal=Goal(least=0.985, of_ratio=True),
            )
        )
    return figures


async def lognormal(scale: Scale) -> list[Figure]:
    """Log-normal service times, mean 100 ms and sigma 1, over 8 workers.

    No schedule is done before sum / workers or the longest job, whichever is later; one that begins with the longest
    jobs comes within 0.1 % of it here. What keeps the order in which they came cannot: the longest come when they come.
    """
    services = uneven(scale.lognormal)
    ideal = sum(services) / 8
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            ours, theirs = await _paired(scale, urls, gateway.url, services)
    best = ideal / max(ideal, *services)
    ordered = ideal / in_order(services, 8)
    case = f"{len(services):,} log-normal jobs, 8 workers"
    goal = Goal(least=0.97, of_ratio=True)
    return [
        Figure(case=case, figure="efficiency", gateway=ours, beside=best, beside_is="clairvoyant bound", goal=goal),
        Figure(case=case, figure="the same", gateway=ours, beside=ordered, beside_is="in order, without overhead"),
        Figure(case=case, figure="the same", gateway=ours, beside=theirs),
    ]


def uneven(count: int) -> list[float]:
    """Log-normal service times, mean 100 ms and sigma 1; the same in every run."""
    draw = random.Random(_SEED)
    return [draw.lognormvariate(-2.302585 - 0.5, 1.0) for _ in range(count)]


def in_order(services: Sequence[float], workers: int) -> float:
    """When all are done if each job in its order goes to the worker that is free first, in no time."""
    free = [0.0] * workers
    for seconds in services:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


async def latency(scale: Scale) -> list[Figure]:
    """Time to the picture's bytes beyond the service time, at half load over 8 workers, in an open loop; after some
    jobs that are not measured."""
    draw = random.Random(_SEED)
    seconds = 0.1
    services = [seconds] * scale.latency
    gaps = [draw.expovariate(1.0) for _ in services]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            async with clients.Direct(urls) as direct:
                theirs = await _measured(direct, services, gaps)
            async with clients.ThroughGateway(gateway.url) as through:
                ours = await _measured(through, services, gaps)
            async with clients.ThroughGateway(gateway.url, link=True) as by_link:
                linked = _beyond([done for done, _ in await _measured(by_link, services, gaps)], seconds)
            parts = _parts(ours, theirs, await logs.records(urls))
    ours_ms, theirs_ms = (_beyond([done for done, _ in each], seconds) for each in (ours, theirs))
    p50, p99 = quantile(ours_ms, 50), quantile(ours_ms, 99)
    direct99 = quantile(theirs_ms, 99)
    case = "half load, 8 workers"
    return [
        Figure(
            case=case,
            figure="added latency p50",
            gateway=p50,
            beside=quantile(theirs_ms, 50),
            unit="ms",
            goal=Goal(most=6),
        ),
        Figure(
            case=case,
            figure="added latency p99 (goal: direct's + 10 ms)",
            gateway=p99,
            beside=direct99,
            unit="ms",
            goal=Goal(most=round(direct99 + 10, 1)),
        ),
        *(Figure(case=case, figure=f"of it {what}, p50", gateway=a, beside=b, unit="ms") for what, a, b in parts),
        Figure(case=case, figure="by the job and its link, p50", gateway=quantile(linked, 50), unit="ms"),
        Figure(case=case, figure="by the job and its link, p99", gateway=quantile(linked, 99), unit="ms"),
    ]


async def _measured(client: clients.Client, services: Sequence[float], gaps: Sequence[float]) -> list[_Known]:
    """The jobs at half load, with the ids of their prompts."""
    await clients.all_at_once(client, [0.0] * _WARM_UP, width=8)
    rate = 0.5 * 8 * len(services) / sum(services)
    done = await clients.at_a_rate(client, services, a_second=rate, seed_gaps=gaps)
    return list(zip(done, await client.prompt_ids(done), strict=True))


def _parts(
    ours: Sequence[_Known], theirs: Sequence[_Known], records: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float, float]]:
    """Where the time beyond the service time goes: medians in ms, through the gateway and direct. Workers and clients
    read the same clock."""
    by_prompt = {record["prompt_id"]: record for record in records}

    def median(known: Sequence[_Known], span: Callable[[clients.Done, Mapping[str, Any]], float]) -> float:
        return statistics.median(span(one, by_prompt[prompt]) for one, prompt in known) * 1000

    spans: dict[str, Callable[[clients.Done, Mapping[str, Any]], float]] = {
        "until a worker has it": lambda one, record: record["received"] - one.asked,
        "from its end to the answer": lambda one, record: one.told - record["ended"],
        "the download": lambda one, record: one.got - one.told,
    }
    return [(what, median(ours, span), median(theirs, span)) for what, span in spans.items()]


def _beyond(done: Sequence[clients.Done], seconds: float) -> list[float]:
    return [(one.got - one.asked - seconds) * 1000 for one in done]


def quantile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent are not above, between the nearest two."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def memory(scale: Scale) -> list[Figure]:
    """The server with many jobs queued and no worker that could run them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.gateway([], folder) as gateway:
            before = gateway.rss_mb()
            rate = await enqueue(gateway.url, [0.0] * scale.queued)
            after = gateway.rss_mb()
    case = f"{scale.queued:,} jobs queued"
    return [
        Figure(case=case, figure="server memory", gateway=after, unit="MiB", goal=Goal(most=190.7)),
        Figure(case=case, figure="of it before", gateway=before, unit="MiB"),
        Figure(case=case, figure="submits a second", gateway=rate),
    ]


async def enqueue(url: str, services: Sequence[float], *, headers: Mapping[str, str] | None = None) -> float:
    """Order jobs of these service times, 32 at a time; how many a second."""
    more = {"Content-Type": "application/json", **(headers or {})}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32), headers=more) as session:

        async def one(seconds: float) -> None:
            body = orjson.dumps({"workflow": clients.graph(seconds)})
            async with session.post(f"{url}/api/v2/jobs", data=body) as response:
                if response.status != 201:
                    raise RuntimeError(await response.text())
                await response.read()

        begin = time.monotonic()
        await asyncio.gather(*map(one, services))
        return len(services) / (time.monotonic() - begin)
