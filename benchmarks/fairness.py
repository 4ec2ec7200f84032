"""Nobody is buried: a tenant's few jobs behind another's many, and people who wait among batches."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks import cases, clients, fleet, logs
from benchmarks.figures import Figure, Goal, Scale

_WORKERS: Final = 8
_KEYS: Final = {"root": "r" * 32, "a": "a" * 32, "b": "b" * 32}
_KEY_FILE: Final = "root:{root} admin\na@a:{a}\nb@b:{b}\n"

_BATCH_SECONDS: Final = 0.4
_BATCH_LOAD: Final = 0.75
_PERSON_SECONDS: Final = 0.1
_PERSON_LOAD: Final = 0.2  #: of all workers together; with the batches 95 %
_BATCH_PRIORITY: Final = -10
_SETTLED: Final = 2.0  #: seconds after which nobody notices any more that all workers began at one moment


def _bearer(who: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {_KEYS[who]}"}


async def tenants(scale: Scale) -> list[Figure]:
    """A queues many jobs, then B a few. While B orders, the queue is paused, so that B's come all at one moment; then
    every claim is counted, by when the workers received the prompts. Of two equal tenants every second is B's."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        keys = folder / "keys"
        keys.write_text(_KEY_FILE.format(**_KEYS))
        options = ("--api-keys-file", str(keys))
        async with (
            fleet.workers(_WORKERS, folder) as urls,
            fleet.gateway(urls, folder, *options, key=_KEYS["root"]) as gateway,
        ):
            ranks = await _ranks(gateway.url, urls, scale)
    ideal = 2 * scale.few
    return [
        Figure(
            case=f"tenant A queues {scale.crowd:,} jobs, then B {scale.few}",
            figure="claims until B's are done",
            gateway=max(ranks),
            beside=ideal,
            beside_is="ideal",
            goal=Goal(most=1.1, of_ratio=True),
        )
    ]


async def _ranks(url: str, urls: Sequence[str], scale: Scale) -> list[int]:
    """At which claim after B's coming each of B's jobs was claimed."""
    async with aiohttp.ClientSession() as session:
        await cases.enqueue(url, [0.005] * scale.crowd, headers=_bearer("a"))
        await _post(session, f"{url}/v1/queue/pause")
        while await _running(session, url):
            await asyncio.sleep(0.05)
        before = {record["prompt_id"] for record in await logs.records(urls)}
        await cases.enqueue(url, [0.005] * scale.few, headers=_bearer("b"))
        await _post(session, f"{url}/v1/queue/resume")
        theirs = await _prompts(session, url, scale.few)
    received = sorted(await logs.records(urls), key=lambda record: record["received"])
    claims = [record["prompt_id"] for record in received if record["prompt_id"] not in before]
    return [number for number, prompt in enumerate(claims, start=1) if prompt in theirs]


async def _post(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json={}, headers=_bearer("root")) as response:
        response.raise_for_status()


async def _running(session: aiohttp.ClientSession, url: str) -> bool:
    query = {"status": "running", "limit": "1"}
    async with session.get(f"{url}/api/v2/jobs", params=query, headers=_bearer("a")) as response:
        return bool((await response.json())["jobs"])


async def _prompts(session: aiohttp.ClientSession, url: str, count: int) -> set[str]:
    """Under which ids the workers know B's jobs, once all of them have succeeded."""
    query = {"status": "succeeded", "limit": "100"}
    while True:
        async with session.get(f"{url}/api/v2/jobs", params=query, headers=_bearer("b")) as response:
            jobs: list[dict[str, Any]] = (await response.json())["jobs"]
        if len(jobs) >= count:
            break
        await asyncio.sleep(0.1)
    found: set[str] = set()
    for job in jobs:
        async with session.get(f"{url}/api/v2/jobs/{job['id']}", headers=_bearer("b")) as response:
            found.add((await response.json())["attempts"][-1]["id"])
    return found


async def interactive(scale: Scale) -> list[Figure]:
    """People's jobs of 100 ms (priority 0, a fifth of what the workers can do) among batches of 400 ms jobs (priority
    -10, three quarters of it), all at random moments. How long people's jobs waited until their workers began."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(_WORKERS, folder) as urls, fleet.gateway(urls, folder) as gateway:
            async with clients.Direct(urls) as direct:
                theirs = await _waits(direct, direct, urls, scale)
            async with (
                clients.ThroughGateway(gateway.url) as people,
                clients.ThroughGateway(gateway.url, priority=_BATCH_PRIORITY) as batches,
            ):
                ours = await _waits(people, batches, urls, scale)
    case = "interactive jobs among batches, 95 % load"
    return [
        Figure(
            case=case,
            figure=f"wait p{percent} of interactive jobs",
            gateway=cases.quantile(ours, percent) * 1000,
            beside=cases.quantile(theirs, percent) * 1000,
            beside_is="direct, one queue",
            unit="ms",
            goal=Goal(most=_BATCH_SECONDS * 1000) if percent == 99 else None,
        )
        for percent in (50, 99)
    ]


async def _waits(people: clients.Client, batches: clients.Client, urls: Sequence[str], scale: Scale) -> list[float]:
    """Seconds from the order to the start at a worker, of people's jobs."""
    await logs.clear(urls)
    rate = _PERSON_LOAD * _WORKERS / _PERSON_SECONDS
    batch_rate = _BATCH_LOAD * _WORKERS / _BATCH_SECONDS
    ahead = 2 * _WORKERS  # the workers are busy when the first person comes
    count = round(scale.interactive * batch_rate / rate)
    draw = random.Random(3)
    gaps = [draw.expovariate(1.0) for _ in range(scale.interactive)]
    batch_gaps = [0.0] * ahead + [draw.expovariate(1.0) for _ in range(count)]
    done, _ = await asyncio.gather(
        clients.at_a_rate(people, [_PERSON_SECONDS] * len(gaps), a_second=rate, seed_gaps=gaps),
        clients.at_a_rate(batches, [_BATCH_SECONDS] * len(batch_gaps), a_second=batch_rate, seed_gaps=batch_gaps),
    )
    began = {record["prompt_id"]: record["started"] for record in await logs.records(urls)}
    start = min(one.asked for one in done)
    asked = zip(await people.prompt_ids(done), done, strict=True)
    return [began[prompt] - one.asked for prompt, one in asked if one.asked >= start + _SETTLED]
