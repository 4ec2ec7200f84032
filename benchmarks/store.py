"""`python -m benchmarks.store [--jobs N] [--depth N]`: the store alone, on both engines; bench-results/store.json.

A submit is one job with a 2 kB graph, from 16 callers at once. A run is what dispatch does with a job: claim, mark it
posted, record an output, settle, on 8 workers at once. CPU is the whole process's, threads included; a PostgreSQL
server's own is not in it.

While a batch is queued, a worker asks for work again and again and takes nothing, its tenant orders single jobs, and
somebody sleeps for a millisecond: `longest` is the longest that each of them waited, the median of three batches.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from gateway import ports
from gateway.adapters.store import open_store
from gateway.domain import model
from gateway.domain.states import Outcome
from tests import fixtures_postgres
from tests.contract import store_kit as kit

RESULTS = Path("bench-results/store.json")
GRAPH = orjson.dumps({str(n): {"class_type": "KSampler", "inputs": {"text": "x" * 180}} for n in range(8)})
CALLERS = 16
WORKERS = 8
BATCH = 5000
BATCHES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    engine: str
    depth: int
    what: str
    per_second: float
    cpu_ms: float  #: of this process, each
    longest_ms: float | None = None  #: that others waited meanwhile


@dataclass(slots=True)
class Watch:
    """Wall and CPU time since it was made."""

    wall: float
    cpu: float

    @classmethod
    def start(cls) -> Watch:
        return cls(time.perf_counter(), time.process_time())

    def figure(self, engine: str, depth: int, what: str, n: int, *, longest: float | None = None) -> Figure:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        longest_ms = None if longest is None else longest * 1000
        return Figure(
            engine=engine, depth=depth, what=what, per_second=n / wall, cpu_ms=cpu * 1000 / n, longest_ms=longest_ms
        )


def order(**fields: object) -> model.NewJob:
    """A job as submission orders it."""
    now = time.time()
    return kit.new_job(kit.Clock(now), graph=GRAPH, expires_at=now + 86_400, **fields)


async def submits(store: ports.Store, n: int, *, of: int = 1) -> None:
    """Submit `n` jobs, `of` at a time, from many callers at once."""
    left = iter(range(n // of))

    async def caller() -> None:
        for _ in left:
            await store.jobs.submit([order() for _ in range(of)], queue_limit=10**6)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def runs(store: ports.Store, slots: list[model.Slot], n: int) -> None:
    """Claim, post and settle `n` jobs; an idle worker gets its next job in the next claim."""
    idle = {slot.worker: slot for slot in slots}
    open_runs: set[asyncio.Task[None]] = set()
    done = 0

    async def run(claim: model.Claim) -> None:
        await store.queue.mark_posted(claim.attempt.id, at=time.time(), node_errors={})
        output = kit.new_output(kit.Clock(time.time()), claim.job_id)
        await store.queue.add_outputs(claim.attempt.id, [output])
        ending = kit.ending(kit.Clock(time.time()), Outcome.SUCCEEDED)
        await store.queue.settle(claim.attempt.id, ending)
        idle[claim.attempt.worker] = next(slot for slot in slots if slot.worker == claim.attempt.worker)

    while done < n:
        claims = await kit.claim(store, list(idle.values()), kit.Clock(time.time()))
        for claim in claims:
            del idle[claim.attempt.worker]
            open_runs.add(asyncio.create_task(run(claim)))
        if open_runs:
            ended, open_runs = await asyncio.wait(open_runs, return_when=asyncio.FIRST_COMPLETED)
            done += len(ended)
    await asyncio.gather(*open_runs)


async def repeat(call: Callable[[], Awaitable[object]], n: int) -> None:
    """Call it `n` times, from many callers at once."""
    left = iter(range(n))

    async def caller() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def longest(call: Callable[[], Awaitable[object]], until: asyncio.Event) -> float:
    """The longest that one of these calls took, of those made until then."""
    found = 0.0
    while not until.is_set():
        begin = time.perf_counter()
        await call()
        found = max(found, time.perf_counter() - begin)
        await asyncio.sleep(0.001)
    return found


async def batches(store: ports.Store, slots: list[model.Slot]) -> dict[str, float]:
    """Queue batches; the longest that others took meanwhile."""

    async def claim() -> None:
        await store.queue.claim(slots, lambda _candidates, _slots: (), now=time.time(), new_id=kit.new_id)

    async def submit() -> None:
        await store.jobs.submit([order()], queue_limit=10**6)

    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "claim": claim,
        "submit": submit,
        "sleep of 1 ms": lambda: asyncio.sleep(0.001),
    }
    waited: list[list[float]] = []
    for _ in range(BATCHES):
        jobs = [
            order(batch_index=index, priority=model.BATCH_PRIORITY, template="sdxl", inputs={"seed": index})
            for index in range(BATCH)
        ]
        done = asyncio.Event()
        others = asyncio.gather(*(longest(call, done) for call in calls.values()))
        await store.jobs.submit(jobs, batch=kit.new_batch(kit.Clock(time.time())), queue_limit=10**6)
        done.set()
        waited.append(await others)
        gc.collect()
    return {name: statistics.median(times) for name, times in zip(calls, zip(*waited, strict=True), strict=True)}


async def measure(engine: str, url: str, *, jobs: int, depth: int) -> AsyncIterator[Figure]:
    """All figures of one engine at one depth of the queue."""
    store = await open_store(url, clock=time.time)
    slots = await kit.lease(store, *(f"w{number}" for number in range(WORKERS)), seconds=3600)
    await submits(store, depth, of=100)
    await submits(store, 200)  # warm: statements compiled and prepared
    await runs(store, slots, 200)
    watch = Watch.start()
    await submits(store, jobs)
    yield watch.figure(engine, depth, "submit", jobs)
    (last,) = await store.jobs.submit([order()])
    watch = Watch.start()
    await repeat(lambda: store.jobs.get(kit.TENANT, last.id), jobs)
    yield watch.figure(engine, depth, "get", jobs)
    watch = Watch.start()
    await repeat(lambda: store.jobs.queue_position(last.id), jobs // 4)
    yield watch.figure(engine, depth, "queue position", jobs // 4)
    watch = Watch.start()
    await runs(store, slots, jobs)
    yield watch.figure(engine, depth, "run (claim … settle)", jobs)
    watch = Watch.start()
    listed = model.JobFilter()
    await repeat(lambda: store.jobs.page(kit.TENANT, listed, limit=20, cursor=None), jobs // 4)
    yield watch.figure(engine, depth, "page of 20", jobs // 4)
    gc.collect()
    gc.freeze()  # as the server does: what is there to stay is not looked through
    watch = Watch.start()
    for name, seconds in (await batches(store, slots)).items():
        what = f"batch of {BATCH:,}: {name}"
        yield watch.figure(engine, depth, what, BATCH * BATCHES, longest=seconds)
    await store.close()


@contextlib.contextmanager
def databases() -> Generator[dict[str, Callable[[], str]]]:
    """By engine: what gives the URL of an empty database. PostgreSQL commits durably, as SQLite does."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = fixtures_postgres.make_server(durable=True)
        stack.callback(server.remove)
        server.start()
        yield {
            "SQLite": lambda: f"sqlite:///{folder}/{kit.new_id()}.db",
            "PostgreSQL": lambda: server.url(server.create()),
        }


async def measure_all(*, jobs: int, depths: list[int], engines: list[str]) -> list[Figure]:
    """Both engines at each depth."""
    with databases() as makers:
        return [
            figure
            for engine in engines
            for depth in depths
            async for figure in measure(engine, makers[engine](), jobs=jobs, depth=depth)
        ]


def table(figures: list[Figure]) -> Table:
    """The figures for people."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("engine", "queued", "what", "per second", "CPU ms each", "longest ms"):
        shown.add_column(column, justify="left" if column in {"engine", "what"} else "right")
    for figure in figures:
        waited = "" if figure.longest_ms is None else f"{figure.longest_ms:.1f}"
        numbers = (f"{figure.per_second:,.0f}", f"{figure.cpu_ms:.3f}", waited)
        shown.add_row(figure.engine, f"{figure.depth:,}", figure.what, *numbers)
    return shown


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--depth", type=int, action="append", help="default: 0 and 10,000")
    parser.add_argument("--engine", action="append", choices=["SQLite", "PostgreSQL"])
    given = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as the server does
    figures = asyncio.run(
        measure_all(
            jobs=given.jobs, depths=given.depth or [0, 10_000], engines=given.engine or ["SQLite", "PostgreSQL"]
        )
    )
    Console().print(table(figures))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(orjson.dumps([dataclasses.asdict(figure) for figure in figures], option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
