"""What is measured, and how each figure is made of the workers' own logs and the clients' clocks."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import clients, fleet, scale, scheduling
from benchmarks.figures import Figure, Scale

_SEED = 20261121


async def _log(urls: Sequence[str]) -> list[dict[str, Any]]:
    """All workers' records of ended prompts."""
    records: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(f"{url}/simulator/log") as response:
                answer = await response.json()
            found = answer["prompts"] if isinstance(answer, dict) else answer
            records += [record for record in found if record["ended"] is not None]
    return records


async def _clear(urls: Sequence[str]) -> None:
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.delete(f"{url}/simulator/log") as response:
                response.raise_for_status()


async def _efficiency(client: clients.Client, urls: Sequence[str], services: Sequence[float]) -> float:
    """Sum of service times / (workers × makespan), from the workers' logs."""
    await _clear(urls)
    await clients.all_at_once(client, services, width=len(services))
    records = await _log(urls)
    served = sum(record["ended"] - record["started"] for record in records)
    makespan = max(record["ended"] for record in records) - min(record["received"] for record in records)
    return served / (len(urls) * makespan)


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
    return [
        Figure(
            case="zero-cost jobs, 8 workers",
            figure="jobs a second",
            gateway=statistics.median(ours),
            direct=statistics.median(theirs),
        ),
        Figure(case="zero-cost jobs, 8 workers", figure="server CPU a job", gateway=statistics.median(cpu), unit="ms"),
    ]


async def _a_second(client: clients.Client, services: Sequence[float]) -> float:
    begin = time.monotonic()
    await clients.all_at_once(client, services, width=64)
    return len(services) / (time.monotonic() - begin)


async def uniform(scale: Scale) -> list[Figure]:
    """105 ms jobs over 4 and 8 workers."""
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
                direct=theirs,
                goal="≥ 0.98 of direct",
                met=ours / theirs >= 0.98,
            )
        )
    return figures


async def lognormal(scale: Scale) -> list[Figure]:
    """Log-normal service times, mean 100 ms and sigma 1, over 8 workers."""
    draw = random.Random(_SEED)
    services = [draw.lognormvariate(-2.302585 - 0.5, 1.0) for _ in range(scale.lognormal)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            ours, theirs = await _paired(scale, urls, gateway.url, services)
    return [
        Figure(
            case="log-normal jobs, 8 workers",
            figure="efficiency",
            gateway=ours,
            direct=theirs,
            goal="≥ 0.95 of direct",
            met=ours / theirs >= 0.95,
        )
    ]


async def latency(scale: Scale) -> list[Figure]:
    """Time to the picture's bytes beyond the service time, at half load over 8 workers, in an open loop."""
    draw = random.Random(_SEED)
    seconds = 0.1
    services = [seconds] * scale.latency
    gaps = [draw.expovariate(1.0) for _ in services]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder) as urls, fleet.gateway(urls, folder) as gateway:
            rate = 0.5 * 8 / seconds
            async with clients.Direct(urls) as direct:
                theirs = _beyond(await clients.at_a_rate(direct, services, a_second=rate, seed_gaps=gaps), seconds)
            async with clients.ThroughGateway(gateway.url) as through:
                ours = _beyond(await clients.at_a_rate(through, services, a_second=rate, seed_gaps=gaps), seconds)
    p50, p99 = _quantile(ours, 50), _quantile(ours, 99)
    direct99 = _quantile(theirs, 99)
    case = "half load, 8 workers"
    return [
        Figure(
            case=case,
            figure="added latency p50",
            gateway=p50,
            direct=_quantile(theirs, 50),
            unit="ms",
            goal="≤ 6 ms",
            met=p50 <= 6,
        ),
        Figure(
            case=case,
            figure="added latency p99",
            gateway=p99,
            direct=direct99,
            unit="ms",
            goal="within 10 ms of direct",
            met=p99 - direct99 <= 10,
        ),
    ]


def _beyond(done: Sequence[clients.Done], seconds: float) -> list[float]:
    return [(one.got - one.asked - seconds) * 1000 for one in done]


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def memory(scale: Scale) -> list[Figure]:
    """The server with many jobs queued and no worker that could run them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.gateway([], folder) as gateway:
            before = gateway.rss_mb()
            rate = await _enqueue(gateway.url, scale.queued)
            after = gateway.rss_mb()
    case = f"{scale.queued:,} jobs queued"
    return [
        Figure(case=case, figure="server memory", gateway=after, unit="MiB", goal="≤ 200 MB", met=after <= 190.7),
        Figure(case=case, figure="of it before", gateway=before, unit="MiB"),
        Figure(case=case, figure="submits a second", gateway=rate),
    ]


async def _enqueue(url: str, count: int) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

        async def one() -> None:
            body = orjson.dumps({"workflow": clients.graph(0)})
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/api/v2/jobs", data=body, headers=headers) as response:
                if response.status != 201:
                    raise RuntimeError(await response.text())
                await response.read()

        begin = time.monotonic()
        await asyncio.gather(*(one() for _ in range(count)))
        return count / (time.monotonic() - begin)


CASES = {
    "throughput": throughput,
    "uniform": uniform,
    "lognormal": lognormal,
    "latency": latency,
    "memory": memory,
    "checkpoints": scheduling.checkpoints,
    "speeds": scheduling.speeds,
    "estimates": scheduling.estimates,
    "delays": scheduling.delays,
    "scale": scale.scale,
}
