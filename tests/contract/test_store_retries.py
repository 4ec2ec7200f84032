"""Contract of `ports.Queue` for jobs that are tried again: what a retry needs, and what must stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from gateway import ports
from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit


def broken(clock: kit.Clock, code: str, **fields: object) -> model.Ending:
    return kit.ending(clock, Outcome.BROKEN, error=model.JobError(code=code, message=f"{code}!"), **fields)


def recording(seen: list[model.Candidate]) -> ports.Choose:
    def choose(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> Sequence[model.Assignment]:
        seen.extend(candidates)
        return kit.one_each(candidates, slots)

    return choose


async def test_a_retry_carries_what_it_needs(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, template="portrait", size=4096)
    slots = await kit.lease(store, "w0")
    seen: list[model.Candidate] = []
    (claim,) = await kit.claim(store, slots, clock, recording(seen))
    assert (seen[0].family, seen[0].size, seen[0].room, seen[0].since) == ("portrait", 4096, None, 0.0)
    assert (claim.family, claim.size, claim.tries, claim.room) == ("portrait", 4096, 0, None)
    room = model.Room(alone_on=model.WorkerId("w0"), until=clock.now + 600, more_than=12 * 2**30)
    await store.queue.settle(claim.attempt.id, broken(clock, "out_of_memory", room=room, retry_at=clock.now + 5))
    clock.now += 5
    seen.clear()
    (again,) = await kit.claim(store, slots, clock, recording(seen))
    assert (seen[0].room, seen[0].since) == (room, clock.now)
    assert (again.job_id, again.tries, again.room) == (job.id, 1, room)
    await store.queue.settle(again.attempt.id, broken(clock, "worker_lost"))
    clock.now += 60
    (third,) = await kit.claim(store, slots, clock)
    assert (third.tries, third.room) == (2, None)


async def test_an_attempt_knows_its_limits_and_its_socket(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock, limits=model.Limits(queue=9, run=60, idle=5))
    slots = [dataclasses.replace(slot, client_id="c1") for slot in await kit.lease(store, "w0")]
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.limits == model.Limits(run=60, idle=5)
    assert claim.attempt.client_id == "c1"
    (found,) = await store.queue.open_claims([model.WorkerId("w0")])
    assert (found.limits, found.attempt.client_id, found.resumed) == (claim.limits, "c1", True)


@pytest.mark.parametrize("max_tries", [4, 9])
async def test_a_graph_that_takes_down_two_workers_goes_to_no_third(
    store: ports.Store, clock: kit.Clock, max_tries: int
) -> None:
    job = await kit.submit_one(store, clock, max_tries=max_tries)
    for worker, code in (("w0", "worker_died"), ("w0", "cuda_fault"), ("w1", "worker_lost")):
        (claim,) = await kit.claim(store, await kit.lease(store, worker), clock)
        after = await store.queue.settle(claim.attempt.id, broken(clock, code))
        assert after.status is JobStatus.QUEUED
    (claim,) = await kit.claim(store, await kit.lease(store, "w1"), clock)
    ended = await store.queue.settle(claim.attempt.id, broken(clock, "execution_thread_dead"))
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert (ended.error.code, ended.tries) == ("worker_killer", 4)
    assert set((ended.error.details or {})["workers"]) == {"w0", "w1"}
    codes = [attempt.error.code for attempt in await store.jobs.attempts(job.id) if attempt.error]
    assert codes == ["worker_died", "cuda_fault", "worker_lost", "execution_thread_dead"]


async def test_a_job_past_its_own_queue_limit_expires(store: ports.Store, clock: kit.Clock) -> None:
    hasty = await kit.submit_one(store, clock, limits=model.Limits(queue=10))
    patient = await kit.submit_one(store, clock)
    clock.now += 10
    assert await store.queue.expire(now=clock.now) == ()
    clock.now += 0.5
    assert await store.queue.expire(now=clock.now) == (hasty.id,)
    assert await store.queue.expire(now=clock.now) == ()
    assert (await store.jobs.get(kit.TENANT, hasty.id)).status is JobStatus.EXPIRED
    assert await store.queue.expire(now=clock.now, queued_before=clock.now) == (patient.id,)


async def test_the_queue_limit_begins_anew_when_a_job_is_queued_again(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, limits=model.Limits(queue=10))
    slots = await kit.lease(store, "w0")
    (claim,) = await kit.claim(store, slots, clock)
    clock.now += 100
    assert await store.queue.expire(now=clock.now) == ()
    await store.queue.settle(claim.attempt.id, broken(clock, "worker_lost"))
    clock.now += 9
    assert await store.queue.expire(now=clock.now) == ()
    clock.now += 2
    assert await store.queue.expire(now=clock.now) == (job.id,)


async def test_what_was_given_up_is_remembered_by_its_worker(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock)
    began = clock.now
    (claim,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.LOST))
    (other,) = await kit.claim(store, await kit.lease(store, "w1"), clock)
    await store.queue.settle(other.attempt.id, broken(clock, "cuda_fault"))
    (lost,) = await store.queue.given_up(model.WorkerId("w0"), since=began)
    (fatal,) = await store.queue.given_up(model.WorkerId("w1"), since=began)
    assert (lost.id, lost.outcome) == (claim.attempt.id, Outcome.LOST)
    assert fatal.error is not None
    assert (fatal.id, fatal.error.code) == (other.attempt.id, "cuda_fault")
    assert await store.queue.given_up(model.WorkerId("w0"), since=clock.now + 1) == ()
    (third,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.queue.settle(third.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    assert len(await store.queue.given_up(model.WorkerId("w0"), since=began)) == 1
