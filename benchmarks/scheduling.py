"""What placement is worth: the same jobs through the gateway, its own `least_connections`, and without any queue.

Every figure comes from the workers' own logs. "Round robin" is a client that posts to the workers in turn; "nginx
least_conn" is nginx in front of them, which only sees POSTs that are answered at once. Each of the two gateways gets
fresh data; figures of a gateway are of its second run of the same jobs, once costs are learned, unless said.
"""

from __future__ import annotations

import asyncio
import itertools
import re
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

from benchmarks import fleet, logs, virtual
from benchmarks.figures import Figure, Goal, Scale

_LOAD = 1.0
_RUN = 0.1
_WORKERS = 8
_KINDS = 6
PLAIN = types.MappingProxyType({"COMFY_GATEWAY_PLACEMENT__POLICY": "least_connections"})
_seeds = itertools.count(1)

Run = Callable[[Sequence[virtual.Work], Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of all jobs, by the workers' logs."""

    makespan: float
    loads: int
    served: float  #: seconds that workers were busy
    wrong_waits: float  #: seconds that prompts waited at a busy worker while another was idle


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


async def outcome(run: Run, works: Sequence[virtual.Work], urls: Sequence[str]) -> Outcome:
    """Let every worker forget what it holds, run all jobs, and read what the workers say."""
    await logs.clear(urls)
    async with aiohttp.ClientSession() as session:
        for url in urls:
            await session.post(f"{url}/free", json={"unload_models": True, "free_memory": True})
    await asyncio.sleep(0.2)
    await run(works, urls)
    records = await logs.ended(urls, len(works))
    return Outcome(
        makespan=logs.makespan(records),
        loads=sum(record["loads"] for record in records),
        served=logs.served(records),
        wrong_waits=logs.wrong_waits(records, urls),
    )


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


def all_at_once(gateway: fleet.Gateway) -> Run:
    """Submit all of them while the queue is paused, then let it go: all wait from the beginning, as for the bound."""

    async def run(works: Sequence[virtual.Work], urls: Sequence[str]) -> None:
        del urls
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await _queue(session, gateway.url, "pause", 200)
            tasks = [asyncio.create_task(_submit(session, gateway.url, work)) for work in works]
            await _until_queued(session, gateway.url, len(works))
            await _queue(session, gateway.url, "resume", 204)
            await asyncio.gather(*tasks)

    return run


async def _queue(session: aiohttp.ClientSession, url: str, verb: str, status: int) -> None:
    async with session.post(f"{url}/v1/queue/{verb}") as response:
        if response.status != status:
            raise RuntimeError(await response.text())


async def _until_queued(session: aiohttp.ClientSession, url: str, count: int) -> None:
    """Until so many jobs wait in the gateway."""
    while True:
        async with session.get(f"{url}/metrics") as response:
            found = re.search(r'^comfy_gateway_jobs\{status="queued"\} (\S+)$', await response.text(), re.MULTILINE)
        if found is not None and float(found[1]) >= count:
            return
        await asyncio.sleep(0.1)


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


def models() -> list[str]:
    """Options of workers that have the checkpoints."""
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
    """Six checkpoints after Zipf's law, loading 1.0 s, running 0.1 s, 8 workers; all jobs wait from the beginning."""
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
        options = ["--load-ms", str(_LOAD * 1000), "--models-held", str(row.held), *models()]
        async with fleet.workers(_WORKERS, folder, *options) as urls:
            first, ours = await through_gateway(works, urls, folder / "earliest", rounds=scale.rounds, way=all_at_once)
            one_by_one, _ = await through_gateway(works, urls, folder / "earliest", rounds=0)
            others = await peers(works, urls, folder) if row is _ROWS[0] else {}
            plain, _ = await through_gateway(works, urls, folder / "plain", env=PLAIN, rounds=0, way=all_at_once)
    figures = [
        _loads(row, ours, plain),
        _makespan(row.name, "makespan", ours, best, row.goal),
        _makespan(row.name, "the same, nothing learned before", first, best, None),
        _makespan(row.name, "the same, ordered while workers are idle", one_by_one, best, None),
        _makespan(row.name, "the same, least_connections", plain, best, None),
    ]
    for name, peer in others.items():
        figures.append(Figure(case=row.name, figure=f"model loads, {name}", gateway=peer.loads))
        figures.append(_makespan(row.name, f"makespan, {name}", peer, best, None))
    return figures


def _loads(case: Case, ours: Outcome, plain: Outcome) -> Figure:
    return Figure(
        case=case.name,
        figure="model loads",
        gateway=ours.loads,
        beside=plain.loads,
        beside_is="least_connections",
        goal=Goal(most=0.1, of_ratio=True) if case is _ROWS[0] else None,
    )


def _makespan(case: str, figure: str, outcome: Outcome, best: float, goal: float | None) -> Figure:
    return Figure(
        case=case,
        figure=figure,
        gateway=outcome.makespan,
        beside=best,
        beside_is="clairvoyant bound",
        unit="s",
        goal=None if goal is None else Goal(most=goal, of_ratio=True),
    )


async def peers(works: Sequence[virtual.Work], urls: Sequence[str], folder: Path) -> dict[str, Outcome]:
    """The same jobs without a queue in front of the workers' own, by the peer's name."""
    found = {"round robin": await outcome(round_robin, works, urls)}
    async with _nginx(urls, folder) as front:
        if front is not None:
            found["nginx least_conn"] = await outcome(through_nginx(front), works, urls)
    return found


async def through_gateway(
    works: Sequence[virtual.Work],
    urls: Sequence[str],
    folder: Path,
    *,
    rounds: int,
    env: Mapping[str, str] | None = None,
    way: Callable[[fleet.Gateway], Run] = through,
) -> tuple[Outcome, Outcome]:
    """The first run, and the median one of those after it. Each is of a gateway that was started anew on the same
    data: it knows what was learned, and takes nothing for loaded."""
    folder.mkdir(exist_ok=True)
    outcomes: list[Outcome] = []
    for _ in range(rounds + 1):
        async with fleet.gateway(urls, folder, env=env) as gateway:
            outcomes.append(await outcome(way(gateway), works, urls))
    later = sorted(outcomes[1:] or outcomes, key=lambda outcome: outcome.makespan)
    return outcomes[0], later[(len(later) - 1) // 2]


def made(folder: Path) -> Path:
    """The folder, which was not there before."""
    folder.mkdir()
    return folder


async def speeds(scale: Scale) -> list[Figure]:
    """A fast and a slow card, 1 : 3; the work done over what both could have done, each at its speed."""
    ratios: list[float] = []
    count = scale.speeds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            fleet.workers(1, made(folder / "fast"), *models()) as fast,
            fleet.workers(1, made(folder / "slow"), "--slowness", "3", *models()) as slow,
        ):
            urls = [*fast, *slow]
            works = [virtual.Work(number=number, at=0.0, models="model0", seconds=_RUN) for number in range(count)]
            async with fleet.gateway(urls, folder) as gateway:
                for _ in range(scale.rounds + 1):
                    found = await outcome(through(gateway), works, urls)
                    ratios.append(sum(work.seconds for work in works) / ((1 + 1 / 3) * found.makespan))
    learned = statistics.median(ratios[1:])
    return [
        Figure(
            case="a fast and a slow card (1 : 3)",
            figure="efficiency weighted by speed",
            gateway=learned,
            goal=Goal(least=0.97),
        )
    ]
