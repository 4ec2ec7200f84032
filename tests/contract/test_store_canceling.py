"""Canceling many jobs at once."""

from __future__ import annotations

import asyncio

from gateway import ports
from gateway.adapters.store import canceling
from gateway.domain import model
from gateway.domain.states import JobStatus
from tests.contract import store_kit as kit


async def cancel_queued(
    store: ports.Store, tenant: model.TenantId | None, clock: kit.Clock, *, running: bool = False
) -> dict[str, JobStatus]:
    found = store.jobs.cancel_queued(tenant, now=clock.now, running=running)
    return {one.job_id: one.status async for chunk in found for one in chunk}


async def test_a_tenants_queue_is_emptied_and_no_other(store: ports.Store, clock: kit.Clock) -> None:
    runs = await kit.submit_one(store, clock)
    await kit.claim(store, await kit.lease(store, "w0"), clock)
    mine = [(await kit.submit_one(store, clock, priority=number)).id for number in range(3)]
    other = await kit.submit_one(store, clock, tenant=kit.OTHER)
    assert await cancel_queued(store, kit.TENANT, clock) == dict.fromkeys(mine, JobStatus.CANCELED)
    assert (await store.jobs.get(kit.OTHER, other.id)).status is JobStatus.QUEUED
    assert (await store.jobs.get(kit.TENANT, runs.id)).status is JobStatus.RUNNING
    job = await store.jobs.get(kit.TENANT, mine[0])
    assert (job.status, job.completed_at) == (JobStatus.CANCELED, clock.now)
    assert [event.type for event in await store.jobs.events(job.id)] == ["submit", "cancel"]
    assert await cancel_queued(store, kit.TENANT, clock) == {}


async def test_everybodys_queue_and_what_runs(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock)
    (claim,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    mine, other = await kit.submit_one(store, clock), await kit.submit_one(store, clock, tenant=kit.OTHER)
    assert await store.queue.canceling() == frozenset()
    assert await cancel_queued(store, None, clock, running=True) == {
        mine.id: JobStatus.CANCELED,
        other.id: JobStatus.CANCELED,
        claim.job_id: JobStatus.CANCELING,
    }
    assert await store.queue.canceling() == {claim.attempt.id}, "whoever drives it can see it"


async def test_a_long_queue_is_canceled_in_pieces_while_others_go_on(store: ports.Store, clock: kit.Clock) -> None:
    """Between two pieces an order is taken and a job is claimed; what was claimed is asked to stop."""
    many = canceling.CHUNK * 2 + 7
    await store.jobs.submit([kit.new_job(clock) for _ in range(many)])
    pieces = store.jobs.cancel_queued(kit.TENANT, now=clock.now)
    first = await anext(pieces)
    (claim,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    late = await kit.submit_one(store, clock)
    rest = [one async for piece in pieces for one in piece]
    assert (len(first), len(rest)) == (canceling.CHUNK, many - canceling.CHUNK)
    told = {one.job_id: one for one in rest}[claim.job_id]
    assert (told.status, told.attempt_id) == (JobStatus.CANCELING, claim.attempt.id)
    assert (await store.jobs.get(kit.TENANT, late.id)).status is JobStatus.QUEUED, "it was ordered afterwards"


async def test_two_that_empty_the_same_queue(opened: kit.OpenStore, clock: kit.Clock) -> None:
    one, two = await opened(), await opened()
    await one.jobs.submit([kit.new_job(clock) for _ in range(30)])
    found = await asyncio.gather(cancel_queued(one, None, clock), cancel_queued(two, kit.TENANT, clock))
    assert sum(map(len, found)) == 30, "each job is canceled once"
