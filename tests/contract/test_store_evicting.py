"""Keeping to a disk budget: the oldest ended jobs first, then uploads that nothing needs; what is in use never."""

from __future__ import annotations

import dataclasses
from typing import Any

from gateway import ports
from gateway.domain import model
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit


async def ended(store: ports.Store, clock: kit.Clock, *sizes: int) -> model.Job:
    """A job that succeeded with outputs of these sizes."""
    job = await kit.submit_one(store, clock)
    outputs = [
        kit.new_output(clock, job.id, asset=kit.new_asset(clock, job_id=job.id, size_bytes=size), index=index)
        for index, size in enumerate(sizes)
    ]
    slots = await kit.lease(store, "w0")
    return await kit.run_one(store, clock, slots, Outcome.SUCCEEDED, outputs=tuple(outputs))


async def upload(store: ports.Store, clock: kit.Clock, **fields: Any) -> model.Asset:
    return await store.assets.add(kit.new_asset(clock, **fields))


async def prune(store: ports.Store, clock: kit.Clock) -> set[str]:
    return set(await store.queue.prune(now=clock.now))


async def kept(store: ports.Store) -> set[str]:
    page = await store.jobs.page(kit.TENANT, model.JobFilter(), limit=99, cursor=None)
    return {job.id for job in page.jobs}


async def test_bytes_are_counted_once_a_blob(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.queue.weigh() == 0
    one = await upload(store, clock, size_bytes=100)
    await upload(store, clock, size_bytes=100, hash=one.hash, tenant=kit.OTHER)
    await ended(store, clock, 10, 20)
    assert await store.queue.weigh() == 130


async def test_the_oldest_ended_jobs_go_first_and_no_more_than_needed(store: ports.Store, clock: kit.Clock) -> None:
    jobs = [await ended(store, clock, 10, 20) for _ in range(4)]
    bare = await ended(store, clock)
    photo = await upload(store, clock, size_bytes=1000)
    evicted = await store.queue.evict(now=clock.now, excess=31)
    assert evicted == model.Evicted(jobs=2, bytes=60)
    assert await prune(store, clock) == {output.asset.hash for job in jobs[:2] for output in job.outputs}
    assert await kept(store) == {jobs[2].id, jobs[3].id, bare.id}
    assert await store.assets.get(kit.TENANT, photo.id) == photo


async def test_uploads_go_when_no_ended_job_is_left(store: ports.Store, clock: kit.Clock) -> None:
    first, second = await upload(store, clock, size_bytes=5), await upload(store, clock, size_bytes=5)
    assert await store.queue.evict(now=clock.now, excess=1) == model.Evicted(uploads=1, bytes=5)
    assert await prune(store, clock) == {first.hash}
    assert await store.assets.get(kit.TENANT, second.id) == second


async def test_what_queued_and_running_jobs_need_stays(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w0")
    running = await kit.submit_one(store, clock)
    (claim,) = await kit.claim(store, slots, clock)
    await store.queue.add_outputs(claim.attempt.id, [kit.new_output(clock, running.id)])
    needed = await upload(store, clock)
    await kit.submit_one(store, clock, assets=(needed.id,))
    assert await store.queue.evict(now=clock.now, excess=10**9) == model.Evicted()
    assert await prune(store, clock) == set()


async def test_an_output_that_a_queued_job_needs_outlives_its_own_job(store: ports.Store, clock: kit.Clock) -> None:
    made = await ended(store, clock, 50)
    (output,) = made.outputs
    waiting = await kit.submit_one(store, clock, assets=(output.asset.id,))
    assert (await store.queue.evict(now=clock.now, excess=1)).jobs == 1
    assert await prune(store, clock) == set()
    assert await kept(store) == {waiting.id}
    assert (await store.queue.evict(now=clock.now, excess=1)) == model.Evicted(), "it is not counted again and again"
    await store.jobs.cancel(kit.TENANT, waiting.id, now=clock.now)
    assert await prune(store, clock) == {output.asset.hash}


async def test_what_left_no_bytes_does_not_hold_up_the_rest(store: ports.Store, clock: kit.Clock) -> None:
    """One call forgets as many canceled jobs as there are, though a transaction takes only some."""
    await store.jobs.submit([kit.new_job(clock) for _ in range(25)])
    assert [one async for one in store.jobs.cancel_queued(None, now=clock.now)]
    clock.now += 10_000
    assert await store.queue.prune(now=clock.now, limit=10) == ()
    assert await kept(store) == set()


async def test_steps_go_only_when_their_pipeline_has_ended(store: ports.Store, clock: kit.Clock) -> None:
    parent = kit.new_job(clock)
    plan = moves.Plan(steps=(), outputs=())
    await store.jobs.submit([parent], begin=ports.Begin(owner="one", plans={parent.id: plan.as_dict()}))
    step = dataclasses.replace(kit.new_job(clock), parent_id=parent.id, step="draw")
    await store.jobs.submit([step])
    made = kit.new_output(clock, step.id, asset=kit.new_asset(clock, job_id=step.id, size_bytes=10), index=0)
    await kit.run_one(store, clock, await kit.lease(store, "w0"), Outcome.SUCCEEDED, outputs=(made,))
    assert await store.queue.evict(now=clock.now, excess=1) == model.Evicted()
    await store.pipelines.end(parent.id, moves.End(status=JobStatus.CANCELED), at=clock.now)
    assert await store.queue.evict(now=clock.now, excess=1) == model.Evicted(jobs=1, bytes=10)
