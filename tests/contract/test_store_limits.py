"""How much may wait: in jobs and in bytes, of everybody together and of each tenant."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway import ports
from gateway.adapters.store import depth, statements
from gateway.domain import errors, model
from tests.contract import store_kit as kit

GRAPH = b'{"1":{"class_type":"SaveImage","inputs":{}}}'
SIZE = len(GRAPH)


async def limit(store: ports.Store, tenant: model.TenantId = kit.TENANT, **limits: int) -> None:
    await store.tenants.limit({tenant: model.TenantLimits(**limits)})


async def test_the_bytes_of_queued_graphs_are_bounded(store: ports.Store, clock: kit.Clock) -> None:
    order = kit.new_job(clock, graph=GRAPH)
    await store.jobs.submit([order, kit.new_job(clock, graph=GRAPH)], queue_bytes=3 * SIZE)
    with pytest.raises(errors.QueueFull) as caught:
        await store.jobs.submit([kit.new_job(clock, graph=GRAPH) for _ in range(2)], queue_bytes=3 * SIZE)
    assert caught.value.details == {
        "scope": "all",
        "jobs": 2,
        "max_jobs": None,
        "bytes": 2 * SIZE,
        "max_bytes": 3 * SIZE,
    }
    assert caught.value.message == (
        f"The queue is full: 2 jobs waiting, their graphs {2 * SIZE} of {3 * SIZE} bytes; "
        f"2 more of {2 * SIZE} bytes do not fit."
    )
    await store.jobs.cancel(kit.TENANT, order.id, now=clock.now)
    await store.jobs.submit([kit.new_job(clock, graph=GRAPH) for _ in range(2)], queue_bytes=3 * SIZE)


async def test_a_tenants_jobs_and_bytes_are_bounded(store: ports.Store, clock: kit.Clock) -> None:
    await limit(store, max_queued=2)
    await limit(store, kit.OTHER, max_queued_bytes=SIZE)
    await store.jobs.submit([kit.new_job(clock), kit.new_job(clock)])
    with pytest.raises(errors.QueueFull) as caught:
        await kit.submit_one(store, clock)
    assert caught.value.details is not None
    assert (caught.value.details["scope"], caught.value.details["max_jobs"]) == ("tenant", 2)
    assert caught.value.message == "You have 2 of 2 allowed jobs waiting; 1 more does not fit."
    await kit.submit_one(store, clock, tenant=kit.OTHER, graph=GRAPH)
    with pytest.raises(errors.QueueFull, match="bytes"):
        await kit.submit_one(store, clock, tenant=kit.OTHER, graph=GRAPH)


async def test_limits_can_be_lifted_and_survive_a_restart(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store = await opened()
    await limit(store, max_queued=0)
    again = await opened()
    with pytest.raises(errors.QueueFull):
        await kit.submit_one(again, clock)
    await limit(again)
    await kit.submit_one(again, clock)


async def test_what_others_queued_is_seen_after_a_while(opened: kit.OpenStore, clock: kit.Clock) -> None:
    one, two = await opened(), await opened()
    await one.jobs.submit([kit.new_job(clock)], queue_limit=3)
    await two.jobs.submit([kit.new_job(clock), kit.new_job(clock)], queue_limit=3)
    clock.now += 10
    with pytest.raises(errors.QueueFull):
        await one.jobs.submit([kit.new_job(clock)], queue_limit=3)


async def test_shares_and_caps_hold_in_the_claims(store: ports.Store, clock: kit.Clock) -> None:
    await store.tenants.limit(
        {kit.TENANT: model.TenantLimits(weight=2.0), kit.OTHER: model.TenantLimits(max_running=1)}
    )
    for _ in range(4):
        await kit.submit_one(store, clock)
        await kit.submit_one(store, clock, tenant=kit.OTHER)
    slots = await kit.lease(store, "w0", "w1", "w2")
    claims = await kit.claim(store, slots, clock)
    assert sorted(claim.tenant for claim in claims) == [kit.TENANT, kit.TENANT, kit.OTHER]


async def test_a_long_queue_is_counted_beside_the_writing(opened: kit.OpenStore, clock: kit.Clock) -> None:
    one, two = await opened(), await opened()
    n = depth.LONG
    await one.jobs.submit([kit.new_job(clock) for _ in range(n)])
    await two.jobs.submit([kit.new_job(clock)], queue_limit=n + 5)
    clock.now += depth.FRESH_SECONDS / 2
    orders = (two.jobs.submit([kit.new_job(clock)], queue_limit=n + 5) for _ in range(8))  # the first has it counted
    told = await asyncio.gather(*orders, return_exceptions=True)
    taken = len([jobs for jobs in told if not isinstance(jobs, BaseException)])
    assert taken <= 4  # what is counted twice for a while may refuse more
    clock.now += depth.FRESH_SECONDS
    await two.jobs.submit([kit.new_job(clock) for _ in range(4 - taken)], queue_limit=n + 5)
    with pytest.raises(errors.QueueFull):
        await two.jobs.submit([kit.new_job(clock)], queue_limit=n + 5)


def test_what_is_queued_while_a_reader_counts_is_counted() -> None:
    known = depth.Depth(whole=depth.Load(jobs=depth.LONG), tenants={"a": depth.Load(jobs=depth.LONG)}, counted_at=0.0)
    mine = depth.Load(jobs=1, bytes=10)
    nothing = cast(statements.Transaction, None)  # it is not asked
    assert not known.begin(1.0, [])
    assert known.begin(3.0, [("b", mine)])
    assert not known.begin(3.0, [])
    known.add(nothing, "a", mine, depth.Bounds(jobs=depth.LONG + 1), depth.Bounds(), now=9.0)
    with pytest.raises(errors.QueueFull):
        known.add(nothing, "a", mine, depth.Bounds(jobs=depth.LONG + 1), depth.Bounds(jobs=0), now=0.5)
    known.end({"a": depth.Load(jobs=7, bytes=70)}, 3.0)
    assert known.tenants == {"a": depth.Load(jobs=8, bytes=80), "b": mine}
    assert (known.whole, known.counted_at) == (depth.Load(jobs=9, bytes=90), 3.0)
    assert not known.begin(3.1, [])
