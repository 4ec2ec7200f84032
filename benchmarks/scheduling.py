"""What placement is worth: the same jobs through the gateway, its own `least_connections`, and without any queue.

Every figure comes from the workers' own logs. "Round robin" is a client that posts to the workers in turn; "nginx
least_conn" is nginx in front of them, which only sees POSTs that are answered at once. Each of the two gateways gets
fresh data; figures of a gateway are of its second run of the same jobs, once costs are learned, unless said.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import statistics
import tempfile
import types
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import distance, fleet, virtual
from benchmarks.figures import Figure, Scale

_LOAD = 1.0
_RUN = 0.1
_WORKERS = 8
_KINDS = 6
_PLAIN = types.MappingProxyType({"COMFY_GATEWAY_PLACEMENT__POLICY": "least_connections"})
_seeds = itertools.count(1)

Run = Callable[[Sequence[virtual.Work], Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of all jobs, by the workers' logs."""

    makespan: float
    loads: int
    served: float  #: seconds that workers were busy


def graph(work: virtual.Work) -> dict[str, Any]:
    """Work that needs a checkpoint; never the same twice."""
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{work.models}.safetensors"}},
        "1": {
            "class_type": "SimulatedWork",
            "inputs": {"seconds": work.seconds, "seed": next(_seeds), "model": ["4", 0]},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }


async def _outcome(run: Run, works: Sequence[virtual.Work], urls: Sequence[str]) -> Outcome:
    """Let every worker forget what it holds, run all jobs, and read what the workers say."""
    async with aiohttp.ClientSession() as session:
        for url in urls:
            await session.delete(f"{url}/simulator/log")
            await session.post(f"{url}/free", json={"unload_models": True, "free_memory": True})
        await asyncio.sleep(0.2)
        await run(works, urls)
        records = await _records(session, urls, len(works))
    return Outcome(
        makespan=max(record["ended"] for record in records) - min(record["received"] for record in records),
        loads=sum(record["loads"] for record in records),
        served=sum(record["ended"] - record["started"] for record in records),
    )


async def _records(session: aiohttp.ClientSession, urls: Sequence[str], count: int) -> list[dict[str, Any]]:
    """All records, once all have ended."""
    while True:
        records: list[dict[str, Any]] = []
        for url in urls:
            async with session.get(f"{url}/simulator/log") as response:
                answer = await response.json()
            records += answer["prompts"] if isinstance(answer, dict) else answer
        ended = [record for record in records if record["ended"] is not None]
        if len(ended) >= count:
            return ended
        await asyncio.sleep(0.2)


async def round_robin(works: Sequence[virtual.Work], urls: Sequence[str]) -> None:
    """Post them to the workers in turn."""
    await _post(works, urls)


def through_nginx(front: str) -> Run:
    """Post all of them to nginx."""

    async def run(works: Sequence[virtual.Work], urls: Sequence[str]) -> None:
        del urls
        await _post(works, [front])

    return run


async def _post(works: Sequence[virtual.Work], urls: Sequence[str]) -> None:
    turns = itertools.cycle(urls)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:

        async def one(work: virtual.Work, url: str) -> None:
            body = {"prompt": graph(work), "prompt_id": str(uuid.uuid4())}
            async with session.post(f"{url}/prompt", json=body) as response:
                response.raise_for_status()

        await asyncio.gather(*(one(work, next(turns)) for work in works))


def through(gateway: fleet.Gateway) -> Run:
    """Submit all of them to the gateway, in their order, and wait for the last."""

    async def run(works: Sequence[virtual.Work], urls: Sequence[str]) -> None:
        del urls
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.create_task(_submit(session, gateway.url, work)) for work in works]
            await asyncio.gather(*tasks)

    return run


async def _submit(session: aiohttp.ClientSession, url: str, work: virtual.Work) -> None:
    body = orjson.dumps({"workflow": graph(work)})
    headers = {"Content-Type": "application/json", "Prefer": "wait=600"}
    async with session.post(f"{url}/api/v2/jobs", data=body, headers=headers) as response:
        job = orjson.loads(await response.read())
    if job.get("status") != "succeeded":
        raise RuntimeError(f"a job did not succeed: {job}")


@asynccontextmanager
async def _nginx(urls: Sequence[str], folder: Path) -> AsyncGenerator[str | None]:
    """nginx with `least_conn` in front of the workers; None where there is no nginx."""
    binary = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
    if binary is None:
        yield None
        return
    port = fleet.free_port()
    servers = "".join(f"server {url.removeprefix('http://')};" for url in urls)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"upstream workers {{ least_conn; {servers} }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://workers; }} }} }}\n"
    )
    async with fleet.process(binary, "-c", str(config), "-p", str(folder), log=folder / "nginx.log"):
        url = f"http://127.0.0.1:{port}"
        await fleet.answers(f"{url}/system_stats", "nginx did not start")
        yield url


def _models() -> list[str]:
    return [part for rank in range(_KINDS) for part in ("--model", f"checkpoints=model{rank}.safetensors")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of checkpoints."""

    name: str
    held: int
    shift: bool
    goal: float


_ROWS = (
    Case(name="6 checkpoints, 1 in memory", held=1, shift=False, goal=1.15),
    Case(name="6 checkpoints, 2 in memory", held=2, shift=False, goal=1.15),
    Case(name="6 checkpoints, popularity shifts", held=1, shift=True, goal=1.25),
)


async def checkpoints(scale: Scale) -> list[Figure]:
    """Six checkpoints after Zipf's law, loading 1.0 s, running 0.1 s, 8 workers, all jobs queued at once."""
    figures: list[Figure] = []
    for row in _ROWS:
        figures += await _row(row, scale)
    return figures


async def _row(row: Case, scale: Scale) -> list[Figure]:
    works = virtual.zipf(scale.checkpoints, _KINDS, seconds=_RUN, seed=1)
    works = virtual.shifted(works) if row.shift else works
    best = virtual.clairvoyant(works, _WORKERS, load=_LOAD)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = ["--load-ms", str(_LOAD * 1000), "--models-held", str(row.held), *_models()]
        async with fleet.workers(_WORKERS, folder, *options) as urls:
            first, ours = await _through_gateway(works, urls, folder / "earliest", rounds=scale.rounds)
            peers = await _peers(works, urls, folder) if row is _ROWS[0] else {}
            plain, _ = await _through_gateway(works, urls, folder / "plain", env=_PLAIN, rounds=0)
    figures = [
        _loads(row.name, ours, plain),
        _makespan(row.name, "makespan over the clairvoyant bound", ours, best, row.goal),
        _makespan(row.name, "the same, nothing learned before", first, best, None),
        _makespan(row.name, "least_connections: makespan over the bound", plain, best, None),
    ]
    for name, peer in peers.items():
        figures.append(Figure(case=row.name, figure=f"{name}: loads", gateway=peer.loads))
        figures.append(_makespan(row.name, f"{name}: makespan over the bound", peer, best, None))
    return figures


def _loads(case: str, ours: Outcome, plain: Outcome) -> Figure:
    return Figure(
        case=case,
        figure="model loads (beside: least_connections)",
        gateway=ours.loads,
        direct=plain.loads,
        goal="≤ 0.1",
        met=ours.loads <= plain.loads / 10,
    )


def _makespan(case: str, figure: str, outcome: Outcome, best: float, goal: float | None) -> Figure:
    ratio = outcome.makespan / best
    return Figure(
        case=case,
        figure=figure,
        gateway=ratio,
        goal="" if goal is None else f"≤ {goal}",
        met=None if goal is None else ratio <= goal,
    )


async def _peers(works: Sequence[virtual.Work], urls: Sequence[str], folder: Path) -> dict[str, Outcome]:
    found = {"round robin": await _outcome(round_robin, works, urls)}
    async with _nginx(urls, folder) as front:
        if front is not None:
            found["nginx least_conn"] = await _outcome(through_nginx(front), works, urls)
    return found


async def _through_gateway(
    works: Sequence[virtual.Work],
    urls: Sequence[str],
    folder: Path,
    *,
    rounds: int,
    env: Mapping[str, str] | None = None,
) -> tuple[Outcome, Outcome]:
    """The first run, and the median one of those after it."""
    folder.mkdir()
    async with fleet.gateway(urls, folder, env=env) as gateway:
        outcomes = [await _outcome(through(gateway), works, urls) for _ in range(rounds + 1)]
    later = sorted(outcomes[1:] or outcomes, key=lambda outcome: outcome.makespan)
    return outcomes[0], later[(len(later) - 1) // 2]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def estimates(scale: Scale) -> list[Figure]:
    """How well `eta` is calibrated: log-normal jobs, all queued at once; who was done by p50, and who by p90."""
    draw = random.Random(7)
    works = [
        virtual.Work(number=number, at=0.0, models="model0", seconds=draw.lognormvariate(-1.9, 0.7))
        for number in range(scale.speeds)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(4, folder, *_models()) as urls, fleet.gateway(urls, folder) as gateway:
            await _outcome(through(gateway), works, urls)
            guesses = await _guesses(gateway.url, works)
    middle = statistics.mean(end <= p50 for end, p50, _ in guesses)
    late = statistics.mean(end <= p90 for end, _, p90 in guesses)
    case = f"estimates of {len(guesses)} queued jobs, 4 workers"
    return [
        Figure(case=case, figure="done by p50", gateway=middle, goal="0.5"),
        Figure(case=case, figure="done by p90", gateway=late, goal="0.9"),
    ]


async def _guesses(url: str, works: Sequence[virtual.Work]) -> list[tuple[str, str, str]]:
    """For each job that had an estimate while it was queued: when it ended, and its p50 and p90."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:
        expected: dict[str, Any] = {}

        async def order(work: virtual.Work) -> None:
            job = await _read(session, url, await _queue(session, url, work))
            if job["status"] == "queued" and job.get("eta"):
                expected[job["id"]] = job["eta"]

        await asyncio.gather(*map(order, works))
        ended: dict[str, str] = {}
        while len(ended) < len(expected):
            await asyncio.sleep(0.2)
            for job_id in expected.keys() - ended.keys():
                job = await _read(session, url, job_id)
                if job["completed_at"] is not None:
                    ended[job_id] = job["completed_at"]
    return [(ended[job_id], eta["p50"], eta["p90"]) for job_id, eta in expected.items()]


async def _queue(session: aiohttp.ClientSession, url: str, work: virtual.Work) -> str:
    async with session.post(f"{url}/api/v2/jobs", json={"workflow": graph(work)}) as response:
        response.raise_for_status()
        return (await response.json())["id"]


async def _read(session: aiohttp.ClientSession, url: str, job_id: str) -> dict[str, Any]:
    async with session.get(f"{url}/api/v2/jobs/{job_id}") as response:
        response.raise_for_status()
        return await response.json()


_DELAYS = (("sent when the run has ended", {"COMFY_GATEWAY_PLACEMENT__AHEAD": "0"}, None), ("sent ahead", {}, 0.95))


async def delays(scale: Scale) -> list[Figure]:
    """200 ms jobs on 4 workers that are 50 ms away, each way, all queued at once."""
    works = [virtual.Work(number=number, at=0.0, models="model0", seconds=0.2) for number in range(scale.speeds)]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            fleet.workers(4, folder, *_models()) as urls,
            distance.relayed(urls, seconds=0.05) as away,
        ):
            for how, env, goal in _DELAYS:
                async with fleet.gateway(away, _made(folder / how), env=env) as gateway:
                    outcomes = [await _outcome(through(gateway), works, urls) for _ in range(scale.rounds + 1)]
                ratio = statistics.median(len(works) * 0.2 / (len(urls) * outcome.makespan) for outcome in outcomes[1:])
                figures.append(
                    Figure(
                        case="200 ms jobs, workers 50 ms away",
                        figure=f"efficiency, {how}",
                        gateway=ratio,
                        goal="" if goal is None else f"≥ {goal}",
                        met=None if goal is None else ratio >= goal,
                    )
                )
    return figures


async def speeds(scale: Scale) -> list[Figure]:
    """A fast and a slow card, 1 : 3; the work done over what both could have done, each at its speed."""
    ratios: list[float] = []
    count = scale.speeds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            fleet.workers(1, _made(folder / "fast"), *_models()) as fast,
            fleet.workers(1, _made(folder / "slow"), "--slowness", "3", *_models()) as slow,
        ):
            urls = [*fast, *slow]
            works = [virtual.Work(number=number, at=0.0, models="model0", seconds=_RUN) for number in range(count)]
            async with fleet.gateway(urls, folder) as gateway:
                for _ in range(scale.rounds + 1):
                    outcome = await _outcome(through(gateway), works, urls)
                    ratios.append(sum(work.seconds for work in works) / ((1 + 1 / 3) * outcome.makespan))
    learned = statistics.median(ratios[1:])
    return [
        Figure(
            case="a fast and a slow card (1 : 3)",
            figure="efficiency weighted by speed",
            gateway=learned,
            goal="≥ 0.97",
            met=learned >= 0.97,
        )
    ]
