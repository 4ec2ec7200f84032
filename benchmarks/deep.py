"""`python -m benchmarks.deep [--depth N] [--engine E]`: what a deep queue costs; bench-results/deep.json.

An enqueue is one job with a 2 kB graph; a claim is one idle worker that gets one job. One caller, one after the other;
the figures are medians, with what each is of the same at 100 queued jobs. All jobs are of 50 tenants. At the head lie,
where it says so, jobs that this worker cannot get: of a tenant that runs as much as it may, of a kind that only another
worker runs, or of a paused template.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import store as stores
from gateway import ports
from gateway.adapters.store import open_store
from gateway.domain import model, pauses
from tests.contract import store_kit as kit

RESULTS = Path("bench-results/deep.json")
TENANTS: Final = 50
SHALLOW: Final = 100
AT_HEAD: Final = 5_000
CAPPED: Final = model.TenantId("capped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A queue: how deep, and what lies at its head."""

    name: str
    depth: int
    head: dict[str, object] = dataclasses.field(default_factory=dict[str, object])  #: of the jobs at the head
    paused: bool = False
    capped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Medians of one case."""

    engine: str
    case: str
    queued: int
    enqueue_ms: float
    enqueue_cpu_ms: float
    claim_ms: float
    claim_cpu_ms: float


def cases(depth: int) -> list[Case]:
    """The queues that are looked at."""
    return [
        Case(name="shallow", depth=SHALLOW),
        Case(name="deep", depth=depth),
        Case(name="deep, a capped tenant at the head", depth=depth, head={"tenant": CAPPED}, capped=True),
        Case(name="deep, another worker's at the head", depth=depth, head={"requirements": kit.RARE}),
        Case(name="deep, a paused template at the head", depth=depth, head={"template": "paused"}, paused=True),
    ]


async def fill(store: ports.Store, case: Case) -> None:
    """Queue the case's jobs."""
    at_head = min(AT_HEAD, case.depth // 2) if case.head else 0
    for start in range(0, at_head, 500):
        n = min(500, at_head - start)
        await store.jobs.submit([stores.order(**{"priority": 50, **case.head}) for _ in range(n)])
    each = (case.depth - at_head) // TENANTS
    for tenant in range(TENANTS):
        for start in range(0, each, 500):
            n = min(500, each - start)
            await store.jobs.submit([stores.order(tenant=f"t{tenant}") for _ in range(n)])


async def measure(engine: str, url: str, case: Case, *, n: int) -> Cost:
    """One case on an empty database."""
    store = await open_store(url, clock=time.time)
    await fill(store, case)
    slots = await kit.lease(store, "w0", "busy", seconds=3600, accepts=[kit.PLAIN])
    mine = [slot for slot in slots if slot.worker == "w0"]
    if case.capped:
        await store.tenants.limit({CAPPED: model.TenantLimits(max_running=1)})
        await kit.claim(store, [slot for slot in slots if slot.worker == "busy"], kit.Clock(time.time()))
    if case.paused:
        since = time.time()
        await store.pauses.put(pauses.Pause(kind=pauses.PauseKind.TEMPLATE, name="paused", since=since))
        print(f"{engine}: pausing {AT_HEAD:,} queued jobs took {time.time() - since:.2f} s")

    async def claim() -> None:
        taken = await kit.claim(store, mine, kit.Clock(time.time()))
        if not taken:
            raise RuntimeError(f"{case.name}: an idle worker got nothing")

    async def enqueue() -> None:
        await store.jobs.submit([stores.order(tenant="t7")], queue_limit=10**6)

    await medians(enqueue, 20)
    await medians(claim, 20)
    enqueued, claimed = await medians(enqueue, n), await medians(claim, n)
    await store.close()
    return Cost(
        engine=engine,
        case=case.name,
        queued=case.depth,
        enqueue_ms=enqueued[0],
        enqueue_cpu_ms=enqueued[1],
        claim_ms=claimed[0],
        claim_cpu_ms=claimed[1],
    )


async def medians(call: Callable[[], Awaitable[None]], n: int) -> tuple[float, float]:
    """Milliseconds of wall and of this process's CPU time, each the median of n calls."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(n):
        wall, cpu = time.perf_counter(), time.process_time()
        await call()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    return statistics.median(walls), statistics.median(cpus)


def table(costs: list[Cost]) -> Table:
    """The costs for people."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("engine", "queue", "jobs", "enqueue ms", "CPU ms", "×", "claim ms", "CPU ms", "×"):
        shown.add_column(column, justify="left" if column in {"engine", "queue"} else "right")
    for cost in costs:
        base = next(one for one in costs if one.engine == cost.engine and one.queued == SHALLOW)
        shown.add_row(
            *(cost.engine, cost.case, f"{cost.queued:,}"),
            *(f"{cost.enqueue_ms:.2f}", f"{cost.enqueue_cpu_ms:.2f}", f"{cost.enqueue_ms / base.enqueue_ms:.2f}"),
            *(f"{cost.claim_ms:.2f}", f"{cost.claim_cpu_ms:.2f}", f"{cost.claim_ms / base.claim_ms:.2f}"),
        )
    return shown


async def measure_all(engines: list[str], *, depth: int, n: int) -> list[Cost]:
    """All cases on these engines."""
    with stores.databases() as makers:
        return [await measure(engine, makers[engine](), case, n=n) for engine in engines for case in cases(depth)]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deep", description=__doc__)
    parser.add_argument("--depth", type=int, default=100_000)
    parser.add_argument("--n", type=int, default=40, help="calls a figure; below 45: each takes a job")
    parser.add_argument("--engine", action="append", choices=["SQLite", "PostgreSQL"])
    given = parser.parse_args()
    costs = asyncio.run(measure_all(given.engine or ["SQLite", "PostgreSQL"], depth=given.depth, n=given.n))
    Console(width=140).print(table(costs))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(orjson.dumps([dataclasses.asdict(cost) for cost in costs], option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
