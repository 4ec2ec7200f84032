"""`python -m benchmarks.deep [--depth N] [--engine E]`: what a deep queue costs; bench-results/deep.json.

An enqueue is one job with a 2 kB graph; a claim is one idle worker that gets one job, which ends before the next. Each
queue is measured in turn with one of 100 jobs, call by call, so that what else the machine does hits both alike; the
figures are medians. All jobs are of 50 tenants. At the head lie, where it says so, jobs that this worker cannot get: of
a tenant that runs as much as it may, of a kind that only another worker runs, or of a paused template.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Generator
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
from gateway.domain.states import Outcome
from tests.contract import store_kit as kit

RESULTS = Path("bench-results/deep.json")
TENANTS: Final = 50
SHALLOW: Final = 100
WARM: Final = 40  #: turns that do not count: PostgreSQL plans a statement for good after some calls on each connection
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
    """Medians of one case, and of the queue of 100 jobs in turn with it."""

    engine: str
    case: str
    queued: int
    enqueue_ms: float
    enqueue_cpu_ms: float
    enqueue_shallow_ms: float
    claim_ms: float
    claim_cpu_ms: float
    claim_shallow_ms: float


@dataclass(slots=True, kw_only=True)
class Queue:
    """A case in a database of its own, and what calls of it took: (wall, CPU of this process), in milliseconds."""

    store: ports.Store
    slots: list[model.Slot]  #: the idle worker's
    enqueues: list[tuple[float, float]] = dataclasses.field(default_factory=list[tuple[float, float]])
    claims: list[tuple[float, float]] = dataclasses.field(default_factory=list[tuple[float, float]])

    async def turn(self) -> None:
        """One enqueue and one claim."""
        with watch(self.enqueues):
            await self.store.jobs.submit([stores.order(tenant="t7")], queue_limit=10**6)
        with watch(self.claims):
            taken = await kit.claim(self.store, self.slots, kit.Clock(time.time()))
        if not taken:
            raise RuntimeError("an idle worker got nothing")
        ending = kit.ending(kit.Clock(time.time()), Outcome.SUCCEEDED)
        await self.store.queue.settle(taken[0].attempt.id, ending)


def cases(depth: int) -> list[Case]:
    """The queues that are looked at."""
    return [
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


async def ready(engine: str, url: str, case: Case) -> Queue:
    """The case in an empty database."""
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
    return Queue(store=store, slots=mine)


async def measure(engine: str, url: Callable[[], str], case: Case, *, n: int) -> Cost:
    """One case, in turn with a short queue."""
    queues = shallow, deep = (
        await ready(engine, url(), Case(name="shallow", depth=SHALLOW)),
        await ready(engine, url(), case),
    )
    for number in range(WARM + n):
        for queue in queues:
            await queue.turn()
            if number < WARM:
                queue.enqueues.clear()
                queue.claims.clear()
    for queue in queues:
        await queue.store.close()
    return Cost(
        engine=engine,
        case=case.name,
        queued=case.depth,
        enqueue_ms=median(deep.enqueues, 0),
        enqueue_cpu_ms=median(deep.enqueues, 1),
        enqueue_shallow_ms=median(shallow.enqueues, 0),
        claim_ms=median(deep.claims, 0),
        claim_cpu_ms=median(deep.claims, 1),
        claim_shallow_ms=median(shallow.claims, 0),
    )


@contextlib.contextmanager
def watch(taken: list[tuple[float, float]]) -> Generator[None]:
    """Add what the block took."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    taken.append(((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))


def median(taken: list[tuple[float, float]], of: int) -> float:
    """The median of wall (0) or CPU (1)."""
    return statistics.median(one[of] for one in taken)


def table(costs: list[Cost]) -> Table:
    """The costs for people."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in (
        "engine",
        "queue",
        "jobs",
        "enqueue ms",
        "CPU ms",
        "at 100",
        "×",
        "claim ms",
        "CPU ms",
        "at 100",
        "×",
    ):
        shown.add_column(column, justify="left" if column in {"engine", "queue"} else "right")
    for cost in costs:
        enqueue, claim = cost.enqueue_ms / cost.enqueue_shallow_ms, cost.claim_ms / cost.claim_shallow_ms
        shown.add_row(
            *(cost.engine, cost.case, f"{cost.queued:,}"),
            *(f"{ms:.2f}" for ms in (cost.enqueue_ms, cost.enqueue_cpu_ms, cost.enqueue_shallow_ms, enqueue)),
            *(f"{ms:.2f}" for ms in (cost.claim_ms, cost.claim_cpu_ms, cost.claim_shallow_ms, claim)),
        )
    return shown


async def measure_all(engines: list[str], *, depth: int, n: int) -> list[Cost]:
    """All cases on these engines."""
    with stores.databases() as makers:
        return [await measure(engine, makers[engine], case, n=n) for engine in engines for case in cases(depth)]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deep", description=__doc__)
    parser.add_argument("--depth", type=int, default=100_000)
    parser.add_argument("--n", type=int, default=100, help="calls a figure")
    parser.add_argument("--engine", action="append", choices=["SQLite", "PostgreSQL"])
    given = parser.parse_args()
    costs = asyncio.run(measure_all(given.engine or ["SQLite", "PostgreSQL"], depth=given.depth, n=given.n))
    Console(width=140).print(table(costs))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(orjson.dumps([dataclasses.asdict(cost) for cost in costs], option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
