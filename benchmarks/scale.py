"""What a claim and a submit cost with a short and a long queue whose head the idle worker cannot take.

The queue holds jobs of 50 tenants. At its head are 1,000 jobs of a tenant that may run nothing now, then 5,000 that
only a busy worker can run; a queue of 100 has the same in small. One worker claims and ends jobs, one after the other,
as dispatch does; placement is the default one, with nothing held. SQLite, CPU of this process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.figures import Figure, Goal, Scale
from gateway import ports
from gateway.adapters.store import open_store
from gateway.domain import model, placement
from gateway.domain.comfy.graph import Requirements
from gateway.domain.states import Outcome
from tests.contract import store_kit as kit

_SHORT = 100
_TENANTS = 50
_TIMES = 60
_CAPPED = model.TenantId("capped")


async def scale(scale: Scale) -> list[Figure]:
    """Claim and submit at 100 jobs and at many."""
    with tempfile.TemporaryDirectory() as folder:
        short = await _measure(Path(folder) / "short.db", _SHORT)
        long = await _measure(Path(folder) / "long.db", scale.depth)
    return [
        Figure(
            case=f"{scale.depth:,} jobs queued",
            figure=f"CPU of a {what}",
            gateway=long[what],
            beside=short[what],
            beside_is=f"of {_SHORT}",
            unit="ms",
            goal=Goal(most=2, of_ratio=True),
        )
        for what in ("claim", "submit")
    ]


async def _measure(path: Path, depth: int) -> dict[str, float]:
    """Median CPU milliseconds."""
    store = await open_store(f"sqlite:///{path}", clock=time.time)
    try:
        await _fill(store, depth)
        slots = await kit.lease(store, "w0", accepts=[kit.PLAIN], seconds=3600)
        return {
            "claim": await _median(lambda: _claim(store, slots), lambda: _end(store)),
            "submit": await _median(lambda: _submit(store, model.TenantId("t7"), 1), _nothing),
        }
    finally:
        await store.close()


async def _fill(store: ports.Store, depth: int) -> None:
    await store.tenants.limit({_CAPPED: model.TenantLimits(max_running=0)})
    await _submit(store, _CAPPED, depth // 100, priority=2)
    await _submit(store, model.TenantId("t0"), depth // 20, needs=kit.RARE, priority=1)
    for number in range(_TENANTS):
        await _submit(store, model.TenantId(f"t{number}"), depth * 94 // 100 // _TENANTS + _TIMES // _TENANTS + 1)


async def _submit(
    store: ports.Store, tenant: model.TenantId, count: int, *, needs: Requirements = kit.PLAIN, priority: int = 0
) -> None:
    now = time.time()
    for start in range(0, count, 500):
        jobs = [
            kit.new_job(kit.Clock(now), tenant=tenant, requirements=needs, priority=priority, expires_at=now + 86_400)
            for _ in range(min(500, count - start))
        ]
        await store.jobs.submit(jobs, queue_limit=10**6)


async def _claim(store: ports.Store, slots: Sequence[model.Slot]) -> None:
    await store.queue.requirements()

    def choose(candidates: Sequence[model.Candidate], free: Sequence[model.Slot]) -> Sequence[model.Assignment]:
        return placement.decide(candidates, free, placement.Outlook(), explain=False).assignments

    claimed = await store.queue.claim(slots, choose, now=time.time(), new_id=kit.new_id)
    if len(claimed.claims) != 1:
        raise RuntimeError("an idle worker got nothing, although there are jobs for it")


async def _end(store: ports.Store) -> None:
    (open_claim,) = await store.queue.open_claims([model.WorkerId("w0")])
    await store.queue.settle(open_claim.attempt.id, kit.ending(kit.Clock(time.time()), Outcome.SUCCEEDED))


async def _nothing() -> None:
    return None


async def _median(call: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]) -> float:
    used: list[float] = []
    for _ in range(_TIMES):
        begin = time.process_time()
        await call()
        used.append((time.process_time() - begin) * 1000)
        await after()
    return statistics.median(used)
